"""Check the recipes of the guide with the real frameworks: `python -m tests.frameworks [NAME …]`.

Each framework is installed in an environment of its own, which is removed afterwards.
"""

import argparse
import asyncio
import subprocess
import tempfile
import time
from pathlib import Path

from tests.frameworks.checks import check
from tests.frameworks.environments import PACKAGES, create


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.frameworks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PACKAGES)}; all by default")
    names = parser.parse_args().names or list(PACKAGES)
    if unknown := set(names) - set(PACKAGES):
        parser.error(f"no such framework: {', '.join(sorted(unknown))}")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            python = create(Path(folder), name)
            seconds = time.perf_counter() - started
            size = subprocess.run(["du", "-sm", folder], capture_output=True, text=True, check=True).stdout
            print(f"{name}: installed in {seconds:.0f} s, {size.split()[0]} MiB", flush=True)
            asyncio.run(check(python, name))
            print(f"{name}: works", flush=True)


if __name__ == "__main__":
    main()
