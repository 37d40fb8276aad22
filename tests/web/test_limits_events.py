"""Limits of events: size and number."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from tests.agents.harness import check_promises
from tests.conftest import Serve
from tests.support import INGEST, Served, data
from tests.web.helpers import error_of
from tests.web.test_push import refused

LIMIT = 1024
LIMITS = {"max_event_bytes": LIMIT}
PUSHED_LIMIT = LIMIT - 512


async def log_of(served: Served, run_id: str) -> list[dict[str, Any]]:
    """Read a run to its end, and check the promises."""
    async with served.events(run_id) as reader:
        messages = await reader.all()
    assert all(len(message.data) <= LIMIT for message in messages[:-1])
    events = [data(message) for message in messages]
    check_promises(await served.service.backend.get(run_id), events)
    return events


async def in_async(sizes: list[int], context: StreamContext) -> list[str]:
    refused = []
    for size in sizes:
        try:
            await context.emit_token("x" * size)
        except ValueError as error:
            refused.append(str(error))
    return refused


def in_thread(sizes: list[int], context: StreamContext) -> list[str]:
    refused = []
    for size in sizes:
        try:
            context.sync_emit("mine", text="x" * size)
        except ValueError as error:
            refused.append(str(error))
    return refused


@pytest.mark.parametrize("agent", [in_async, in_thread])
async def test_event_size_is_limited_exactly(serve: Serve, agent: Callable[..., Any]) -> None:
    served = await serve(agent, limits=LIMITS)
    async with served.events(await served.start([0], run_id="a")) as reader:
        room = LIMIT - len((await reader.all())[1].data)
    events = await log_of(served, await served.start([room - 1, room, room + 1, 0], run_id="b"))
    assert len(events) == 5
    (error,) = events[-1]["output"]
    assert f"{LIMIT + 1} bytes" in error
    assert "limits.max_event_bytes" in error


async def test_agent_that_ignores_the_limit_fails(serve: Serve) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.checkpoint("large", "x" * LIMIT)

    served = await serve(agent, limits=LIMITS)
    (_, end) = await log_of(served, await served.start())
    assert (end["code"], end["details"]) == ("AGENT_EXECUTION_ERROR", {"type": "ValueError"})


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1])
async def test_output_size_is_limited_exactly(serve: Serve, size: int) -> None:
    served = await serve(lambda _payload: "x" * (size - 2), limits=LIMITS)
    async with served.stream() as reader:
        end = data((await reader.all())[-1])
    record = await served.record(reader.run_id)
    async with served.client.post("/invoke", json={}) as response:
        if size <= LIMIT:
            assert (end["type"], record["status"], response.status) == ("complete", "completed", 200)
            assert (await response.json())["output"] == end["output"] == record["output"]
            return
        body = await error_of(response, 500, "INVALID_OUTPUT")
    assert (end["type"], end["code"], record["status"]) == ("error", "INVALID_OUTPUT", "failed")
    assert body["error"] == end["error"]
    assert f"{size} bytes" in body["error"]


def sized(size: int, **event: Any) -> dict[str, Any]:
    """Return an event padded to a size as JSON."""
    name = next(name for name, value in event.items() if value == "")
    return event | {name: "x" * (size - len(msgspec.json.encode(event)))}


PUSHED: list[dict[str, Any]] = [
    {"type": "token", "content": ""},
    {"type": "custom:mine", "anything": ""},
    {"type": "complete", "output": ""},
    {"type": "error", "error": "e", "details": ""},
]


@pytest.mark.parametrize("event", PUSHED, ids=lambda event: str(event["type"]))
@pytest.mark.parametrize("lines", [False, True], ids=["array", "lines"])
async def test_pushed_event_size_is_limited_exactly(
    serve: Serve, event: dict[str, Any], *, lines: bool
) -> None:
    served = await serve(streaming={"ingest": INGEST}, limits=LIMITS)
    run_id = await served.start(external="true")
    headers = {"Content-Type": "application/x-ndjson"} if lines else {"Content-Type": "application/json"}
    encode = msgspec.json.Encoder().encode_lines if lines else msgspec.json.encode
    for size, status in ((PUSHED_LIMIT + 1, 400), (PUSHED_LIMIT - 1, 200), (PUSHED_LIMIT, 200)):
        batch = encode([{"type": "heartbeat"}, sized(size, **event)])
        async with served.client.post(f"/runs/{run_id}/events", data=batch, headers=headers) as response:
            if status == 400:
                (problem,) = (await error_of(response, 400, "VALIDATION_ERROR"))["details"]
                assert problem["event"] == 1
                assert f"more than the limit of {PUSHED_LIMIT}" in problem["error"]
                continue
            assert response.status == 200, await response.text()
        if event["type"] in ("complete", "error"):
            break
    else:
        await refused(served, run_id, [sized(PUSHED_LIMIT + 1, **event)])
        async with served.client.post(f"/runs/{run_id}/events", json={"type": "complete"}) as response:
            assert response.status == 200
    assert (await log_of(served, run_id))[0]["type"] == "started"


async def async_tokens(count: int, context: StreamContext) -> None:
    for _ in range(count):
        await context.emit_token("x")


def sync_tokens(count: int, context: StreamContext) -> None:
    for _ in range(count):
        context.sync_emit_token("x")


async def async_yields(count: int) -> AsyncIterator[str]:
    for _ in range(count):
        yield "x"


def sync_yields(count: int) -> Iterator[str]:
    for _ in range(count):
        yield "x"


AGENTS = [async_tokens, sync_tokens, async_yields, sync_yields]


@pytest.mark.parametrize("agent", AGENTS)
async def test_number_of_events_is_limited_exactly(serve: Serve, agent: Callable[..., Any]) -> None:
    served = await serve(agent, limits={"max_events_per_run": 10})
    for count in (8, 9):  # and `started`
        events = await log_of(served, await served.start(count))
        assert len(events) == count + 2
        assert events[-1]["type"] == "complete"


@pytest.mark.parametrize("agent", AGENTS)
async def test_agent_that_emits_more_is_stopped(serve: Serve, agent: Callable[..., Any]) -> None:
    served = await serve(agent, limits={"max_events_per_run": 10})
    run_id = await served.start(10**12)
    events = await log_of(served, run_id)
    assert len(events) == 11
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "LIMIT_EXCEEDED")
    assert "max_events_per_run" in events[-1]["error"]
    record = await served.record(run_id)
    assert (record["status"], record["error"]["code"]) == ("failed", "LIMIT_EXCEEDED")


async def test_filtered_events_do_not_count(serve: Serve) -> None:
    served = await serve(
        sync_tokens, limits={"max_events_per_run": 1}, streaming={"events": {"allowed": "minimal"}}
    )
    events = await log_of(served, await served.start(100))
    assert [event["type"] for event in events] == ["started", "complete"]


async def test_external_run_with_too_many_events_is_ended(serve: Serve) -> None:
    served = await serve(streaming={"ingest": INGEST}, limits={"max_events_per_run": 10})
    run_id = await served.start(external="true")
    batch = [{"type": "token", "content": "x"}] * 20
    async with served.client.post(f"/runs/{run_id}/events", json=batch) as response:
        assert response.status == 200
    events = await log_of(served, run_id)
    assert (len(events), events[-1]["code"]) == (11, "LIMIT_EXCEEDED")
    assert "finished" in (await refused(served, run_id, batch))["error"]
