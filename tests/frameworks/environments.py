"""An environment of its own for each framework, with the framework and Dockrion."""

import re
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

from tests.guide.pages import names, page, rows

ROOT = Path(__file__).parents[2]
_EXTRA = re.compile(r"\[.*\]")  # a provider's package, which a fake model does not need
PACKAGES = {
    names(agent)[0].removesuffix("_agent"): [_EXTRA.sub("", package) for package in names(packages)]
    for _, agent, packages, _ in rows(page("frameworks"), "framework", "`AGENT`", "packages", "key")
}


def create(folder: Path, name: str) -> Path:
    """Install a framework and Dockrion, as a user would, and return the environment's interpreter."""
    venv.create(folder, symlinks=True)
    _install(folder, *PACKAGES[name], "--editable", str(ROOT))
    return folder / "bin/python"


def extend(folder: Path, name: str) -> Path:
    """Install a framework in front of the packages of this environment, which is much faster."""
    venv.create(folder, symlinks=True)
    packages = folder / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    behind = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "behind.pth").write_text("\n".join([*behind, str(ROOT)]))
    _install(folder, *PACKAGES[name])
    return folder / "bin/python"


def _install(folder: Path, *arguments: str) -> None:
    python = sys.executable if find_spec("pip") else f"{sys.base_prefix}/bin/python3"
    pip = [python, "-m", "pip", "--python", str(folder)]
    options = ["--quiet", "--no-warn-conflicts", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *options, *arguments], check=True)
