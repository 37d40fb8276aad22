"""Signals: what ends, when, and what readers get."""

import asyncio
import signal
import socket
import time
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.conftest import Start
from tests.e2e.process import START_SECONDS, Process, get, post, write_dockfile
from tests.exposition import metric
from tests.servers import free_port
from tests.support import Reader, data
from tests.web.wire import request

# Agents that work until the file `go` is there.
WAITS = """
import asyncio, os

async def handle(payload, context):
    await context.emit_token("first")
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    return "went"
"""
NEVER = {
    "async": "import asyncio\nasync def handle(payload, context):\n"
    "    await context.emit_token('first')\n    await asyncio.Event().wait()\n",
    "deaf async": "import asyncio\nasync def handle(payload, context):\n"
    "    await context.emit_token('first')\n    while True:\n        try:\n"
    "            await asyncio.Event().wait()\n        except asyncio.CancelledError:\n            pass\n",
    "sync": "import threading\ndef handle(payload, context):\n"
    "    context.sync_emit_token('first')\n    threading.Event().wait()\n",
    "to_thread": "import asyncio, threading\nasync def handle(payload, context):\n"
    "    await context.emit_token('first')\n    await asyncio.to_thread(threading.Event().wait)\n",
    "own thread": "import threading\ndef handle(payload, context):\n"
    "    thread = threading.Thread(target=threading.Event().wait)\n    thread.start()\n"
    "    context.sync_emit_token('first')\n    thread.join()\n",
}


async def read(session: aiohttp.ClientSession, url: str, method: str = "GET") -> list[str]:
    """Read a stream to its end and return its last two events, with their codes."""
    async with session.request(method, url, json={} if method == "POST" else None) as response:
        assert response.status == 200
        messages = await Reader(response).all()
    return [f"{message.event} {data(message).get('code', '')}".strip() for message in messages]


async def working(process: Process, count: int) -> None:
    """Wait until `count` runs are running."""
    async with asyncio.timeout(START_SECONDS):
        while len((await get(process, "/runs?status=running"))[1]["items"]) < count:
            await asyncio.sleep(0.02)


async def open_streams(process: Process, count: int) -> None:
    async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{process.url}/metrics") as response:
                if metric(await response.text(), "dockrion_open_streams") == count:
                    return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_idle_service_ends_at_once_with_success(start: Start, tmp_path: Path, number: int) -> None:
    process = await start(write_dockfile(tmp_path, WAITS), module="tests.e2e.patient")
    process.signal(number)
    assert await process.exit_code() == 0
    assert process.logged("shut down")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_runs_that_finish_within_the_grace_period_finish_their_streams(
    start: Start, tmp_path: Path, session: aiohttp.ClientSession, signal_file: Path, number: int
) -> None:
    process = await start(write_dockfile(tmp_path, WAITS), module="tests.e2e.patient")
    _, accepted = await post(process, "/runs", {})
    streams = [
        asyncio.create_task(read(session, f"{process.url}/invoke/stream", "POST")),
        asyncio.create_task(read(session, process.url + accepted["events_url"])),
        asyncio.create_task(read(session, process.url + accepted["events_url"])),
    ]
    pending = asyncio.create_task(post(process, "/invoke", {}))
    await working(process, 2)
    await open_streams(process, 3)
    process.signal(number)
    await process.until_logged("shutting down")
    assert (await get(process, "/ready"))[0] == 503
    assert (await get(process, "/health"))[0] == 200
    assert (await post(process, "/runs", {}))[0] == 503
    assert not any(stream.done() for stream in streams)
    signal_file.touch()
    assert await asyncio.gather(*streams) == [["started", "token", "complete"]] * 3
    status, body = await pending
    assert (status, body["output"]) == (200, "went")
    assert await process.exit_code() == 0


async def test_run_that_outlasts_the_grace_period_ends_with_an_error(
    start: Start, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    process = await start(
        write_dockfile(tmp_path, WAITS), module="tests.e2e.quick", arguments=["--grace", "1"]
    )
    _, accepted = await post(process, "/runs", {})
    streams = [
        asyncio.create_task(read(session, f"{process.url}/invoke/stream", "POST")),
        asyncio.create_task(read(session, process.url + accepted["events_url"])),
    ]
    pending = asyncio.create_task(post(process, "/invoke", {}))
    await working(process, 2)
    await open_streams(process, 2)
    process.signal()
    assert await asyncio.gather(*streams) == [["started", "token", "error SHUTDOWN"]] * 2
    status, body = await pending
    assert (status, body["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert await process.exit_code() == 0


@pytest.mark.parametrize("kind", NEVER)
async def test_agent_that_never_returns_does_not_delay_the_exit(
    start: Start, tmp_path: Path, session: aiohttp.ClientSession, kind: str
) -> None:
    process = await start(
        write_dockfile(tmp_path, NEVER[kind]), module="tests.e2e.quick", arguments=["--grace", "0.2"]
    )
    stream = asyncio.create_task(read(session, f"{process.url}/invoke/stream", "POST"))
    await working(process, 1)
    await open_streams(process, 1)
    process.signal()
    assert (await stream)[-1] == "error SHUTDOWN"
    assert await process.exit_code() == 0


async def test_second_signal_ends_it_at_once(
    start: Start, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    process = await start(write_dockfile(tmp_path, WAITS))
    stream = asyncio.create_task(read(session, f"{process.url}/invoke/stream", "POST"))
    await working(process, 1)
    process.signal()
    await process.until_logged("shutting down")
    assert process.popen.poll() is None
    process.signal()
    assert await process.exit_code() == 128 + signal.SIGTERM
    with pytest.raises(aiohttp.ClientError):
        await stream


async def test_killed_process_cuts_its_streams_without_an_end(
    start: Start, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    process = await start(write_dockfile(tmp_path, WAITS))
    async with session.post(f"{process.url}/invoke/stream", json={}) as response:
        reader = Reader(response)
        await reader.until("token")
        process.signal(signal.SIGKILL)
        assert await process.exit_code() == -signal.SIGKILL
        with pytest.raises(aiohttp.ClientPayloadError):
            await reader.all()
    assert b"event: error" not in reader.raw


async def test_idle_connections_do_not_delay_the_exit(
    start: Start, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    process = await start(write_dockfile(tmp_path, WAITS))
    async with session.get(f"{process.url}/health") as response:
        assert response.status == 200
    with socket.create_connection(("127.0.0.1", int(process.url.rpartition(":")[2]))) as half:
        half.sendall(b"POST /invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        await asyncio.sleep(0)
        process.signal()
        assert await process.exit_code() == 0


async def test_stalled_reader_does_not_delay_the_exit(start: Start, tmp_path: Path) -> None:
    code = "def handle(payload):\n    for _ in range(3000):\n        yield 'x' * 5000\n"
    process = await start(write_dockfile(tmp_path, code, limits={"max_event_bytes": 20_000_000}))
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect(("127.0.0.1", int(process.url.rpartition(":")[2])))
        silent.sendall(request("POST", "/invoke/stream", body=b"{}"))
        await process.until_logged("run completed")
        began = time.monotonic()
        process.signal()
        assert await process.exit_code(30) == 0
        assert time.monotonic() - began < 25


async def test_queued_runs_end_with_shutdown_too(
    start: Start, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    dockfile = write_dockfile(tmp_path, WAITS, streaming={"max_concurrent_runs": 1})
    process = await start(dockfile, module="tests.e2e.quick", arguments=["--grace", "0.2"])
    urls = [process.url + (await post(process, "/runs", {}))[1]["events_url"] for _ in range(2)]
    streams = [asyncio.create_task(read(session, url)) for url in urls]
    await open_streams(process, 2)
    process.signal()
    assert [(await stream)[-1] for stream in streams] == ["error SHUTDOWN"] * 2
    assert await process.exit_code() == 0


async def test_port_is_free_again_after_the_exit(start: Start, tmp_path: Path) -> None:
    port = free_port()  # not one that a connection of another test may get
    process = await start(write_dockfile(tmp_path, WAITS), arguments=["--port", str(port)])
    process.signal()
    assert await process.exit_code() == 0
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
