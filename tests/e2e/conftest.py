"""Fixtures for tests that start real processes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.fleet import MODULE, Fleet
from tests.e2e.process import Process, get, write_dockfile

Start = Callable[..., Awaitable[Process]]
Workers = Callable[..., Awaitable[Fleet]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a process, `await start(dockfile)`, and wait until it listens and, by default, is ready."""
    started: list[Process] = []

    async def begin(
        dockfile: Path,
        *,
        module: str = "dockrion",
        arguments: Sequence[str] = (),
        ready: bool = True,
        **variables: str,
    ) -> Process:
        process = Process(dockfile, tmp_path, module, variables, arguments)
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
async def fleet(start: Start, tmp_path: Path) -> AsyncIterator[Workers]:
    """Start workers, `await fleet(code, count)`, and by default wait until all are ready."""
    started: list[Fleet] = []

    async def begin(
        code: str,
        count: int = 2,
        *,
        arguments: Sequence[str] = (),
        ready: bool = True,
        **variables: str,
    ) -> Fleet:
        path = write_dockfile(tmp_path, code)
        temporary = tmp_path / "tmp"
        temporary.mkdir(exist_ok=True)
        variables |= {"WORKERS": str(count), "TMPDIR": str(temporary)}
        process = await start(path, module=MODULE, arguments=arguments, ready=False, **variables)
        fleet = Fleet(process)
        started.append(fleet)
        if ready:
            await fleet.until_logged("worker ready", count)
        return fleet

    yield begin
    for each in started:
        each.end()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def signal_file(tmp_path: Path) -> Path:
    """Return the path of a file that makes waiting agents return."""
    return tmp_path / "go"
