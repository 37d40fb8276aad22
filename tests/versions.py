"""Run the tests with each Python of this machine, and the lowest and the newest dependencies allowed.

    python -m tests.versions [--python PATH]... [--only lowest|newest] [arguments of pytest]

Needs uv. The lowest versions are those of the service and its extras; what only the tests need is the newest.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

from tests.image.constraints import ROOT, project

DEPENDENCIES = ("lowest", "newest")


def supported() -> list[str]:
    """Return the versions of Python in the classifiers."""
    return re.findall(r"Python :: (3\.\d+)", "\n".join(project()["project"]["classifiers"]))


def lower_bounds() -> list[str]:
    """Return the lowest versions of what the service and its extras require, as constraints."""
    metadata = project()["project"]
    extras = metadata["optional-dependencies"]
    texts = [*metadata["dependencies"], *(text for name in extras if name != "dev" for text in extras[name])]
    return [
        f"{requirement.name}=={bound.version}" + (f"; {requirement.marker}" if requirement.marker else "")
        for requirement in map(Requirement, texts)
        for bound in requirement.specifier
        if bound.operator == ">="
    ]


def pythons() -> dict[str, Path]:
    """Return a Python on the PATH, or of pyenv, for each supported version that there is."""
    folders = [*map(Path, os.environ["PATH"].split(os.pathsep)), *Path.home().glob(".pyenv/versions/*/bin")]
    found = {version: [folder / f"python{version}" for folder in folders] for version in supported()}
    working = {version: next(filter(works, paths), None) for version, paths in found.items()}
    return {version: path for version, path in working.items() if path is not None}


def works(python: Path) -> bool:
    """Return whether a path is that of a Python; a shim of pyenv may stand for none."""
    return (
        python.exists()
        and subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0
    )


def run(python: Path, dependencies: str, arguments: Iterable[str]) -> bool:
    """Run tests in a new environment, and return whether they passed."""
    with tempfile.TemporaryDirectory(prefix="dockrion-versions-") as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("\n".join(lower_bounds() if dependencies == "lowest" else ()))
        executable = str(Path(folder, "venv/bin/python"))
        uv(folder, "venv", "--quiet", "--python", str(python), "venv")
        install = ("pip", "install", "--quiet", "--python", executable, "--constraint", str(constraints))
        uv(folder, *install, "--editable", f"{ROOT}[dev]")
        uv(folder, "pip", "check", "--python", executable)
        command = [executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def uv(folder: str, *arguments: str) -> None:
    subprocess.run(["uv", *arguments], cwd=folder, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", type=Path, action="append", help="instead of all Pythons that are found")
    parser.add_argument("--only", choices=DEPENDENCIES, help="instead of both")
    options, arguments = parser.parse_known_args()
    found = options.python or pythons().values()
    results = {
        f"{python}, {dependencies} dependencies": run(python, dependencies, arguments)
        for python in found
        for dependencies in ([options.only] if options.only else DEPENDENCIES)
    }
    for what, passed in results.items():
        print("passed" if passed else "FAILED", what)
    if missing := () if options.python else sorted(set(supported()) - set(pythons())):
        print(f"NOT RUN, as not found on this machine: Python {', '.join(missing)}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
