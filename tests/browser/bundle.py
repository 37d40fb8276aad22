"""The page's modules as one file, in tests whose service is in their process.

Requests for 60 modules are a third of the time that Chromium takes to load the page. The modules themselves
are loaded in tests of `dockrion run`, and wherever a test asks for the fixture `modules`.
"""

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from dockrion.web import page
from tests.interop import node

_OPTIONS = ("--bundle", "--splitting", "--format=esm", "--log-level=warning")


@contextmanager
def bundled() -> Iterator[None]:
    """Let services serve the bundle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "_MODULES", "")
        patch.setattr(page, "_ASSETS", page._ASSETS | _bundle())
        page._index.cache_clear()
        yield
    page._index.cache_clear()


@cache
def _bundle() -> dict[str, Path]:
    """Make the bundle once, and return its files by name."""
    folder = Path(tempfile.mkdtemp(prefix="dockrion-page-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    esbuild = [node.executable(), node.MODULES / "esbuild/bin/esbuild"]
    entry = Path(page.__file__).parent / "app.js"
    done = subprocess.run(
        [*esbuild, entry, *_OPTIONS, f"--outdir={folder}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return {path.name: path for path in folder.iterdir()}
