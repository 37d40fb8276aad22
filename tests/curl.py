"""A replacement for curl that supports what the guide's examples use.

Tests use it on machines without curl 7.82 or newer, the first version with `--json`.
"""

import argparse
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

_JSON_SINCE = (7, 82)


def command() -> list[str]:
    """Return the command that runs curl, or this replacement."""
    curl = shutil.which("curl")
    if curl is not None:
        version = subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout
        if tuple(map(int, version.split()[1].split(".")[:2])) >= _JSON_SINCE:
            return [curl]
    return [sys.executable, str(Path(__file__).resolve())]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--fail-with-body", action="store_true")
    parser.add_argument("-s", "--silent", action="store_true")
    parser.add_argument("-N", "--no-buffer", action="store_true")
    parser.add_argument("-X", "--request")
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("--json")
    options = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in options.header)
    body = None
    if options.json is not None:
        body = options.json.encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"} | headers
    request = urllib.request.Request(options.url, body, headers, method=options.request)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            sys.stdout.write(response.read().decode())
    except urllib.error.HTTPError as error:
        sys.stdout.write(error.read().decode())
        return 22 if options.fail_with_body else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
