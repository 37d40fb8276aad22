"""Peers on unix sockets that take nothing, for which the kernel has no timeout."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.web.aiohttp_internals import connection_factory
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.web.wire import Silent, connections, request

TEXT = "x" * 2000
HIGH_WATER = 64 * 1024  # asyncio's: from here a writer waits


class FillsTheKernel:
    """An agent that emits until the kernel takes no more for its reader, and then waits for `go`."""

    def __init__(self) -> None:
        self.served: Served
        self.filled = asyncio.Event()
        self.go = asyncio.Event()
        self.stopped = asyncio.Event()

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        try:
            while not buffered(self.served):
                await context.emit_token(TEXT)
                await asyncio.sleep(0.001)
            self.filled.set()
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise


def buffered(served: Served) -> int:
    return sum(transport.get_write_buffer_size() for transport in connections(served))


@asynccontextmanager
async def unix(served: Served, folder: Path, data: bytes) -> AsyncIterator[Silent]:
    """Send a request over a unix socket, and read nothing."""
    service, loop = served.service, asyncio.get_running_loop()
    path = str(folder / "socket")
    factory = connection_factory(served.client.server.handler, service.dockfile.limits, service.write_seconds)
    listening = await loop.create_unix_server(factory, path)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, path)
        await loop.sock_sendall(connection, data)
        yield Silent(connection)
    listening.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockrion.web.service._WRITE_SECONDS", 0.5)


@pytest.mark.usefixtures("short")
async def test_stalled_caller_stops_the_agent(serve: Serve, tmp_path: Path) -> None:
    agent = FillsTheKernel()
    agent.served = await serve(agent)
    async with unix(agent.served, tmp_path, request("POST", "/invoke/stream", body=b"{}")):
        await agent.filled.wait()
        assert 0 < buffered(agent.served) < HIGH_WATER
        await asyncio.wait_for(agent.stopped.wait(), TIMEOUT_SECONDS)


@pytest.mark.usefixtures("short")
async def test_stalled_reader_is_closed_without_an_end(serve: Serve, tmp_path: Path) -> None:
    agent = FillsTheKernel()
    served = agent.served = await serve(agent)
    asked = request("POST", "/invoke/stream?on_disconnect=continue", body=b"{}")
    async with unix(served, tmp_path, asked) as client:
        await agent.filled.wait()
        await wait_until(lambda: not served.service.streams._deadlines)
        raw, _ = await client.rest()
    assert raw.count(b"event: token\n") > 1
    assert not raw.endswith(b"0\r\n\r\n")
    agent.go.set()
    (run_id,) = served.backend._logs
    assert (await served.finished(run_id))["status"] == "completed"


@pytest.mark.usefixtures("short")
async def test_response_that_nobody_reads_is_dropped(serve: Serve, tmp_path: Path) -> None:
    served = await serve(lambda _payload: TEXT * 2000)
    async with unix(served, tmp_path, request("POST", "/invoke", body=b"{}")):
        await wait_until(lambda: buffered(served) > 0)
        await wait_until(lambda: not buffered(served))


@pytest.mark.usefixtures("short")
async def test_slow_reader_is_not_disconnected(serve: Serve, tmp_path: Path) -> None:
    served = await serve(lambda _payload: TEXT * 2000)
    async with unix(served, tmp_path, request("POST", "/invoke", body=b"{}")) as client:
        size, slow_until = 0, time.monotonic() + 1.5
        while size < len(TEXT) * 2000:
            data = await client.read(16 * 1024)
            assert data, "closed"
            size += len(data)
            if time.monotonic() < slow_until:
                await asyncio.sleep(0.01)
        assert time.monotonic() > slow_until, "it has read too fast to show anything"


@pytest.mark.usefixtures("short")
async def test_idle_connection_is_not_disconnected(serve: Serve, tmp_path: Path) -> None:
    served = await serve(idle := Idle())
    async with unix(served, tmp_path, request("POST", "/invoke", body=b"{}")) as client:
        began = time.monotonic()
        await wait_until(lambda: time.monotonic() - began > 1)
        idle.go.set()
        assert b" 200 OK" in await client.read()


class Idle:
    """An agent that waits for `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, _payload: Any) -> str:
        await self.go.wait()
        return "done"
