"""Build the image and check it: `python -m tests.image`, as root.

With `--deploy`, `compose.yaml` and the units of systemd in `config/deploy` are run, too: see `compose.py` and
`systemd.py`.
Where the programs are missing, or may not run containers, nothing is checked, and the output says so.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.image import compose
from tests.image.engine import PROGRAMS

FOLDER = Path(__file__).parent


def obstacle(programs: Sequence[str]) -> str | None:
    """Return why the image cannot be built and run here, if it cannot."""
    if missing := [name for name in programs if shutil.which(name) is None]:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid():
        return "this needs root"
    attempt = ("unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt")
    if subprocess.run(attempt, check=False).returncode:
        return "this machine forbids namespaces and mounts"
    return None


def main() -> int:
    arguments = sys.argv[1:]
    programs, files = [*PROGRAMS], [FOLDER / "checks.py"]
    if "--deploy" in arguments:
        arguments.remove("--deploy")
        programs += compose.PROGRAMS
        files += [FOLDER / "compose.py", FOLDER / "systemd.py"]
    if reason := obstacle(programs):
        print(f"SKIPPED: the image was NOT built and NOT checked: {reason}")
        return 0
    options = ("--confcutdir", str(FOLDER), "--numprocesses=0", "-p", "no:randomly", "--durations=5", "-v")
    return int(pytest.main([*map(str, files), *options, *arguments]))


if __name__ == "__main__":
    sys.exit(main())
