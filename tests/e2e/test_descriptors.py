"""File descriptors run out: the service waits without load, logs little, and goes on when there are some."""

import asyncio
import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.conftest import Start, Workers
from tests.e2e.fleet import PID
from tests.e2e.process import TIMEOUT_SECONDS, Process, post, write_dockfile
from tests.e2e.resources import cpu_share, no_descriptors_left
from tests.servers import KINDS, RedisServer
from tests.support import wait_until
from tests.web.wire import request

CLIENTS = 40
BUSY = 0.2  # of a core; a loop without a pause uses all of it
RETRY_SECONDS = 1.5  # in which what failed is tried again at least once
COUNTS = """
async def handle(payload, context):
    for number in range(20):
        await context.emit_token(str(number))
    return 20
"""


def connect(process: Process) -> socket.socket:
    """Open a connection, which the kernel accepts whether or not the service does."""
    client = socket.create_connection(("127.0.0.1", int(process.url.rpartition(":")[2])))
    client.settimeout(TIMEOUT_SECONDS)
    client.sendall(request("GET", "/health"))
    return client


async def test_connections_wait_until_there_are_descriptors(start: Start, tmp_path: Path) -> None:
    process = await start(write_dockfile(tmp_path, COUNTS))
    pid = process.popen.pid
    with ExitStack() as closing:
        with no_descriptors_left(pid):
            clients = [closing.enter_context(connect(process)) for _ in range(CLIENTS)]
            line = await process.until_logged("cannot accept connections at present")
            assert line["reason"] == "Too many open files"
            logged = process.out
            assert await cpu_share(pid, RETRY_SECONDS) < BUSY
            assert process.out == logged
        for client in clients:
            assert b" 200 OK" in await asyncio.to_thread(client.recv, 1000)
    assert "traceback" not in process.out
    assert process.err == ""


async def test_requests_that_need_a_descriptor_are_refused_for_a_while(start: Start, tmp_path: Path) -> None:
    process = await start(write_dockfile(tmp_path, COUNTS))
    async with aiohttp.ClientSession(process.url) as session:
        async with session.get("/health"):
            pass
        with no_descriptors_left(process.popen.pid):  # the session has its connection already
            async with session.post("/runs", json={}) as response:
                assert response.status == 202
            for path in ("/openapi.json", "/docs", "/"):
                async with session.get(path, headers={"Accept": "text/html"}) as response:
                    assert response.status in (200, 503)
                    if response.status == 503:
                        assert "Retry-After" in response.headers
                        assert "resources" in (await response.json())["error"]
        for path in ("/openapi.json", "/docs", "/"):
            async with session.get(path, headers={"Accept": "text/html"}) as response:
                assert response.status == 200
    assert "traceback" not in process.out
    assert process.logged("out of resources")


async def test_service_without_descriptors_still_shuts_down(start: Start, tmp_path: Path) -> None:
    process = await start(write_dockfile(tmp_path, COUNTS))
    with no_descriptors_left(process.popen.pid), connect(process):
        await process.until_logged("cannot accept connections at present")
        process.signal()
        assert await process.exit_code() == 0
    assert "traceback" not in process.out
    assert process.err == ""


@pytest.mark.parametrize("kind", KINDS)
async def test_redis_is_reached_again_with_the_descriptors(start: Start, tmp_path: Path, kind: str) -> None:
    with RedisServer(kind, tmp_path) as server:
        streaming = {"backend": "redis", "redis": {"url": server.url}}
        process = await start(write_dockfile(tmp_path, COUNTS, streaming=streaming))
        pid = process.popen.pid
        with no_descriptors_left(pid):
            server.kill_clients()
            await wait_until(lambda: "redis error" in process.out)
            logged = process.out
            assert await cpu_share(pid, RETRY_SECONDS) < BUSY
            assert len(process.out.splitlines()) <= len(logged.splitlines()) + 2
        await process.until_logged("redis has recovered")
        assert (await post(process, "/runs", {}))[0] == 202
    assert "traceback" not in process.out
    assert process.err == ""


async def test_supervisor_without_descriptors_replaces_a_worker_later(fleet: Workers) -> None:
    workers = await fleet(PID)
    with no_descriptors_left(workers.pid):
        os.kill(min(workers.pids), signal.SIGKILL)
        await workers.until_logged("worker not started")
        assert await cpu_share(workers.pid, RETRY_SECONDS) < BUSY
        assert len(workers.lines("worker not started")) <= 4
        assert (await workers.post())["output"] in workers.pids
    await workers.until_logged("worker ready", 3)
    workers.process.signal()
    assert await workers.process.exit_code() == 0
    assert workers.process.err == ""
