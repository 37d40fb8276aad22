"""Clients that do not read: what they cost, and when they are disconnected."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.loop_clock import advance, advance_until
from tests.support import TIMEOUT_SECONDS, Served, sequences, wait_until
from tests.web.wire import Silent, connections, frames, request, shrink_buffers, silent

EVENTS = 2000
TEXT = "x" * 2000
MAX_BUFFERED = 512 * 1024  # far below the 4 MB of all events
BYTES_PER_SECOND = 40_000  # of a slow reader; what is buffered takes it far less than the 30 s that it has
KEEP_ALL = {"redis": {"max_events_per_run": 10_000}}


class Flood:
    """An agent that emits far more than a connection buffers, then waits for `go`."""

    def __init__(self) -> None:
        self.emitted_all = asyncio.Event()
        self.go = asyncio.Event()
        self.stopped = asyncio.Event()

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        try:
            for _ in range(EVENTS):
                await context.emit_token(TEXT)
            self.emitted_all.set()
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise


class Drip:
    """An agent that emits as much event by event, so that readers wait for each; from `begin` on."""

    def __init__(self) -> None:
        self.begin = asyncio.Event()
        self.emitted_all = asyncio.Event()

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        await self.begin.wait()
        for _ in range(EVENTS // 4):
            await context.emit_token(TEXT)
            for _ in range(5):
                await asyncio.sleep(0)
        self.emitted_all.set()


def request_of(pattern: str) -> bytes:
    if pattern == "A":
        return request("POST", "/invoke/stream?on_disconnect=continue", body=b"{}")
    return request("GET", "/runs/r/events")


@asynccontextmanager
async def stalled_reader(served: Served, pattern: str) -> AsyncIterator[Silent]:
    shrink_buffers(served)
    if pattern == "B":
        await served.start(run_id="r")
    async with silent(served, request_of(pattern)) as client:
        await wait_until(lambda: served.service.streams._deadlines)
        yield client


def buffered(served: Served) -> int:
    return sum(transport.get_write_buffer_size() for transport in connections(served))


def only_run(served: Served) -> str:
    (run_id,) = served.backend._logs
    return run_id


@pytest.mark.parametrize("pattern", ["A", "B"])
async def test_stalled_reader_costs_bounded_memory(serve: Serve, pattern: str) -> None:
    served = await serve(agent := Flood(), streaming=KEEP_ALL)
    async with stalled_reader(served, pattern):
        await agent.emitted_all.wait()
        await wait_until(lambda: buffered(served) > 0)
        assert buffered(served) < MAX_BUFFERED
    agent.go.set()
    await served.finished(only_run(served))


@pytest.mark.parametrize("pattern", ["A", "B"])
async def test_stalled_reader_is_closed_without_an_end(serve: Serve, pattern: str) -> None:
    served = await serve(agent := Flood(), streaming=KEEP_ALL)
    async with stalled_reader(served, pattern) as client:
        await advance_until(ended(served))
        raw, _ = await client.rest()
    assert b"event: complete" not in raw
    assert not raw.endswith(b"0\r\n\r\n")
    agent.go.set()
    assert (await served.finished(only_run(served)))["status"] == "completed"


async def test_disconnected_reader_can_resume(serve: Serve) -> None:
    served = await serve(agent := Flood(), streaming=KEEP_ALL)
    async with stalled_reader(served, "B") as client:
        await advance_until(ended(served))
        raw, _ = await client.rest()
    last = raw.rfind(b"\nid: ")
    seen = int(raw[last:].split(b"\n")[1].removeprefix(b"id: ")) - 1
    agent.go.set()
    async with served.events("r", last_event_id=seen) as reader:
        assert sequences(await reader.all()) == list(range(seen + 1, EVENTS + 3))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel has no such limit")
async def test_stalled_caller_stops_the_agent_however_little_is_buffered(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.web.service._WRITE_SECONDS", 0.5)
    stopped = asyncio.Event()

    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            await context.emit_token("x" * 30_000)  # fits into the service's own buffers
            await asyncio.Event().wait()
        finally:
            stopped.set()

    served = await serve(agent)
    async with silent(served, request("POST", "/invoke/stream", body=b"{}")):
        await asyncio.wait_for(stopped.wait(), TIMEOUT_SECONDS)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel has no such limit")
async def test_response_that_nobody_reads_is_dropped(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockrion.web.service._WRITE_SECONDS", 0.5)
    calls: list[Any] = []

    def agent(payload: Any) -> str:
        calls.append(payload)
        return TEXT * EVENTS

    served = await serve(agent)
    shrink_buffers(served)
    async with silent(served, request("POST", "/invoke", body=b"{}")) as client:
        await wait_until(lambda: calls and not connections(served))
        raw, _ = await client.rest()
    assert len(raw) < len(TEXT) * EVENTS


async def test_stalled_caller_stops_the_agent_by_default(serve: Serve) -> None:
    served = await serve(agent := Flood())
    shrink_buffers(served)
    async with silent(served, request("POST", "/invoke/stream", body=b"{}")):
        await advance_until(agent.stopped.is_set)
    assert (await served.finished(only_run(served)))["status"] == "cancelled"


@pytest.mark.usefixtures("every_backend")
async def test_stalled_readers_do_not_delay_others(serve: Serve) -> None:
    served = await serve(agent := Flood(), streaming=KEEP_ALL)
    async with stalled_reader(served, "B"), silent(served, request_of("B")), silent(served, request_of("B")):
        await wait_until(lambda: len(served.service.streams._deadlines) == 3)
        async with served.events("r") as reader:
            agent.go.set()
            assert sequences(await reader.all()) == list(range(1, EVENTS + 3))
        assert len(served.service.streams._deadlines) == 3


async def test_stalled_reader_does_not_delay_the_agent(serve: Serve) -> None:
    served = await serve(agent := Flood(), streaming=KEEP_ALL)
    async with stalled_reader(served, "B"):
        agent.go.set()
        assert (await served.finished("r"))["status"] == "completed"
        assert served.service.streams._deadlines


async def test_slow_reader_is_not_disconnected(serve: Serve) -> None:
    served = await serve(agent := Flood(), streaming=KEEP_ALL)
    agent.go.set()
    async with stalled_reader(served, "B") as client:
        raw, seconds = bytearray(), 0.0
        while not raw.endswith(b"0\r\n\r\n"):
            data = await client.read(16 * 1024)
            assert data, "closed"
            raw += data
            seconds += len(data) / BYTES_PER_SECOND
            await advance(len(data) / BYTES_PER_SECOND)
    assert seconds > 3 * served.service.write_seconds, "it has read too fast to show anything"
    assert raw.count(b"event: complete\n") == 1


async def test_drain_does_not_wait_for_a_stalled_reader(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.web.service._STREAM_END_SECONDS", 0.2)
    served = await serve(agent := Flood(), streaming=KEEP_ALL)
    served.service.write_seconds = 0.2
    agent.go.set()
    async with stalled_reader(served, "B"):
        await served.finished("r")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await served.service.drain(1)
            await wait_until(ended(served))


def ended(served: Served) -> Callable[[], bool]:
    return lambda: not served.service.streams._deadlines


async def test_frames_before_the_cut_are_complete(serve: Serve) -> None:
    served = await serve(agent := Flood(), streaming=KEEP_ALL)
    async with stalled_reader(served, "B") as client:
        await advance_until(ended(served))
        raw, _ = await client.rest()
    agent.go.set()
    body = raw[: raw.rfind(b"\n\n") + 2]
    complete = [frame for frame in frames(body) if b"\nevent: token\n" in frame]
    assert complete
    await served.finished("r")
