"""Other people's SSE libraries give applications a run's events, and nothing else."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from dockrion.wire import sse
from tests.conftest import Serve
from tests.interop.libraries import (
    CLOSED,
    LIBRARIES,
    RESUME_AFTER_END,
    RESUME_AFTER_LOSS,
    RESUMED_BY_HAND,
    Read,
    Received,
    Request,
)
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.web.wire import connections

WITH_COMMENTS = {"max_concurrent_runs": 1, "events": {"allowed": ["token", "custom"]}}
TEXT = 'separators\n\r\u2028\u2029\x85\x0b, "quotes", 😀'
TYPES = ["started", "token", "custom:x", "complete"]


class Gated:
    """An agent that waits for `gate` between two events; with the payload `block` only for `unblock`."""

    def __init__(self) -> None:
        self.unblock, self.gate = asyncio.Event(), asyncio.Event()

    async def __call__(self, payload: Any, context: StreamContext) -> dict[str, Any]:
        if payload == "block":
            await self.unblock.wait()
            return {}
        await context.emit_token(TEXT)
        await self.gate.wait()
        await context.emit("x", data="last")
        return {"done": True}


@pytest.fixture
def reconnect_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "PREAMBLE", b"retry: 1\n")


@asynccontextmanager
async def collected(messages: AsyncGenerator[Received]) -> AsyncIterator[list[Received]]:
    """Read in the background, and at the end wait for the end of the messages."""
    received: list[Received] = []

    async def read() -> None:
        async with aclosing(messages):
            async for each in messages:
                received.append(each)  # noqa: PERF401  seen by the test at once

    async with asyncio.timeout(TIMEOUT_SECONDS * 3), asyncio.TaskGroup() as group:
        group.create_task(read())
        yield received


def request(served: Served, path: str, body: bytes | None = None, after: str | None = None) -> Request:
    return Request(f"http://127.0.0.1:{served.port}{path}", body, after)


async def newest(served: Served) -> str:
    async with served.client.get("/runs") as response:
        return str((await response.json())["items"][0]["run_id"])


async def log(served: Served, run_id: str) -> list[Received]:
    """Return a run's events, as applications should get them."""
    path = f"/runs/{run_id}/events"
    async with served.client.get(path, headers={"Accept": "application/json"}) as response:
        events = (await response.json())["events"]
    return [Received(each["type"], str(each["sequence"]), each) for each in events]


async def idle(served: Served, run_id: str) -> None:
    """Wait until the readers of a run have been sent comments."""
    async with served.events(run_id) as reader:
        reading = asyncio.create_task(reader.all())
        await wait_until(lambda: reader.decoder.comments > 3)
        reading.cancel()
        await asyncio.wait([reading])


def types(received: list[Received]) -> list[str]:
    return [each.event for each in received]


@pytest.mark.parametrize("pattern", ["A", "B"])
@pytest.mark.parametrize("read", LIBRARIES.values(), ids=LIBRARIES)
async def test_application_gets_exactly_the_events_of_a_stream_that_is_often_idle(
    serve: Serve, read: Read, pattern: str
) -> None:
    served = await serve(agent := Gated(), streaming=WITH_COMMENTS)
    msgspec.structs.force_setattr(served.service.dockfile.streaming.events, "heartbeat_interval", 0.02)
    await served.start("block", run_id="blocks")
    if pattern == "A":
        asked = request(served, "/invoke/stream", b"{}")
    else:
        asked = request(served, f"/runs/{await served.start()}/events")
    async with collected(read(asked)) as received:
        while (run_id := await newest(served)) == "blocks":
            await asyncio.sleep(0.005)
        await idle(served, run_id)
        assert received == []
        agent.unblock.set()
        await wait_until(lambda: len(received) == 2)
        await idle(served, run_id)
        agent.gate.set()
    events = [each for each in received if each != CLOSED]
    assert events == await log(served, run_id)
    assert types(events) == TYPES
    assert events[1].data["content"] == TEXT


@pytest.mark.parametrize("read", RESUMED_BY_HAND.values(), ids=RESUMED_BY_HAND)
async def test_application_resumes_after_the_last_id(serve: Serve, read: Read) -> None:
    served = await serve(agent := Gated())
    await served.start(run_id="r")
    async with collected(read(request(served, "/runs/r/events"))) as first:
        await wait_until(lambda: len(first) == 2)
        await served.service.streams.end(0)
    assert types(first) == ["started", "token", "timeout"]
    agent.gate.set()
    async with collected(read(request(served, "/runs/r/events", after="2"))) as rest:
        pass
    assert first[:2] + rest == await log(served, "r")


@pytest.mark.usefixtures("reconnect_quickly")
@pytest.mark.parametrize("read", RESUME_AFTER_END.values(), ids=RESUME_AFTER_END)
async def test_library_resumes_after_a_stream_that_ended_before_its_run(serve: Serve, read: Read) -> None:
    served = await serve(agent := Gated())
    await served.start(run_id="r")
    async with collected(read(request(served, "/runs/r/events"))) as received:
        await wait_until(lambda: len(received) == 2)
        await served.service.streams.end(0)
        await wait_until(lambda: len(received) == 3)
        agent.gate.set()
    assert received.pop(2).event == "timeout"
    assert received[:4] == await log(served, "r")


@pytest.mark.usefixtures("reconnect_quickly")
@pytest.mark.parametrize("read", RESUME_AFTER_LOSS.values(), ids=RESUME_AFTER_LOSS)
async def test_library_resumes_after_a_lost_connection_and_stops_at_the_end(serve: Serve, read: Read) -> None:
    served = await serve(agent := Gated())
    await served.start(run_id="r")
    async with collected(read(request(served, "/runs/r/events"))) as received:
        await wait_until(lambda: len(received) == 2)
        for transport in connections(served):
            transport.abort()
        agent.gate.set()
    assert received == [*await log(served, "r"), CLOSED]
