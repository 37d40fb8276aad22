"""Write `config/constraints.txt` and `config/constraints-build.txt` anew from pyproject.toml.

    python -m tests.image.constraints

Needs uv. The files are valid for every Python version and platform that the service supports.
"""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "config/constraints.txt"
BUILD = ROOT / "config/constraints-build.txt"
LOWEST_PYTHON = "3.11"


def project() -> dict[str, Any]:
    """Return the content of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pin(requirements: list[str], target: Path) -> None:
    """Pin the newest versions that meet the requirements, and what these require.

    Args:
        requirements: Requirements as in pyproject.toml.
        target: Where they are written.
    """
    command = ["uv", "pip", "compile", "--quiet", "--upgrade", "--universal", "--generate-hashes"]
    command += ["--python-version", LOWEST_PYTHON, "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--no-annotate", "--custom-compile-command", f"python -m {__spec__.name}"]
    command += ["--output-file", str(target), "-"]
    subprocess.run(command, input="\n".join(requirements), text=True, check=True, stdout=subprocess.DEVNULL)


def service_requirements() -> list[str]:
    """Return what the image has installed: traces are turned on by the Dockfile alone."""
    metadata = project()["project"]
    return [*metadata["dependencies"], *metadata["optional-dependencies"]["otel"]]


def main() -> None:
    pin(service_requirements(), SERVICE)
    pin(project()["build-system"]["requires"], BUILD)


if __name__ == "__main__":
    main()
