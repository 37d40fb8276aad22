"""One real Chromium per test process; each test has a profile of its own in it."""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

from tests.servers import TIMEOUT_SECONDS

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)


def executable() -> str:
    """Return the path of the browser; without one the tests fail.

    The headless shell is preferred: Chromium draws a window around each page even when it shows none.
    """
    path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert path, "the tests need Chromium on the PATH (Debian: chromium-headless-shell)"
    return path


@cache
def address() -> str:
    """Start the browser once, and return its DevTools URL."""
    folder = Path(tempfile.mkdtemp(prefix="dockrion-chromium-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [executable(), *_OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    atexit.register(_end, process)
    port = folder / "profile/DevToolsActivePort"
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (port.exists() and port.read_text().count("\n")):
        assert process.poll() is None, (folder / "log").read_text(errors="replace")
        assert time.monotonic() < deadline, "chromium did not start"
        time.sleep(0.01)
    return f"http://127.0.0.1:{port.read_text().splitlines()[0]}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the browser, and the script that has started it."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
