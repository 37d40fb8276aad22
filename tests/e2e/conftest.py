"""Fixtures of the tests that start real processes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.process import Process, get

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a process: `await start(dockfile)`; it listens, and is ready unless asked not to wait."""
    started: list[Process] = []

    async def begin(
        dockfile: Path, *, module: str = "dockrion", ready: bool = True, **variables: str
    ) -> Process:
        process = Process(dockfile, tmp_path, module, variables)
        started.append(process)
        await process.until_listening()
        if ready:
            await process.until_logged("agent loaded")
            assert (await get(process, "/ready"))[0] == 200
        return process

    yield begin
    for process in started:
        process.end()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def signal_file(tmp_path: Path) -> Path:
    """Return the path of a file whose existence lets an agent go."""
    return tmp_path / "go"
