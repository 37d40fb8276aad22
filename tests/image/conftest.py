"""The image that all checks share."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image import base
from tests.image.engine import Engine

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/dockrion"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The programs, with the stand-in for the base image and the image of the Dockerfile as it stands."""
    folder = Path(tempfile.mkdtemp(prefix="dockrion-image-"))
    engine = Engine(folder, "overlay" if _overlay_works(folder) else "vfs")
    try:
        base.make(engine)
        print(engine.build(IMAGE, ROOT))
        yield engine
    finally:
        engine.close()
        shutil.rmtree(folder)


def _overlay_works(folder: Path) -> bool:
    layers = [folder / name for name in ("lower", "upper", "work", "merged")]
    for each in layers:
        each.mkdir()
    lower, upper, work, merged = map(str, layers)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount = ("mount", "-t", "overlay", "overlay", "-o", options, merged)
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        return False
    subprocess.run(("umount", merged), check=True)
    return True
