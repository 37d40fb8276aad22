"""Events of every type on every transport, on every backend: the same bytes for each reader."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from dockrion.client import Client
from dockrion.events import COMMON_FIELDS, CONFIGURABLE, MANDATORY
from dockrion.policies.patterns import MASK
from tests.conftest import Serve
from tests.every_event import ASKED, EVENTS, USAGE, asking
from tests.support import INGEST, Served
from tests.web.policy_agents import SECRET, safety
from tests.web.transports.readers import (
    LINES,
    STREAMS,
    TRANSPORTS,
    WEBSOCKET,
    Received,
    Stream,
    all_of,
    invoking,
    until,
)

pytestmark = pytest.mark.usefixtures("every_backend")


async def read_and_answer(served: Served, stream: Stream, value: Any = True) -> list[Received]:
    """Read a run to its end, and answer its question."""
    got = await until(stream, "input_requested")
    asked = msgspec.json.decode(got[-1].data)
    answer = {"request_id": asked["request_id"], "value": value}
    async with served.client.post(f"/runs/{asked['run_id']}/input", json=answer) as response:
        assert response.status == 202
    return got + await all_of(stream)


async def lines_of(served: Served, run_id: str) -> list[bytes]:
    """Read a run with the client library, and check what it makes of each event."""
    async with Client(f"http://127.0.0.1:{served.port}") as client:
        lines = [line.encode() async for line in client.events(run_id).lines()]
        events = [event async for event in client.events(run_id)]
    for line, event in zip(lines, events, strict=True):
        struct = (MANDATORY | CONFIGURABLE).get(event.type)
        assert struct is None or type(event) is struct
        assert struct is None or msgspec.to_builtins(event) == msgspec.json.decode(line)
    return lines


def own(received: Received) -> dict[str, Any]:
    fields = msgspec.json.decode(received.data)
    return {name: value for name, value in fields.items() if name == "type" or name not in COMMON_FIELDS}


def check(got: list[Received]) -> None:
    started, *emitted, asked, answered, end = map(own, got)
    assert emitted == EVENTS
    assert {each.type for each in got} >= {"started", *CONFIGURABLE, "complete"}
    assert {name: asked[name] for name in ASKED} == ASKED
    assert answered == {
        "type": "input_received",
        "request_id": asked["request_id"],
        "value": True,
        "source": None,
    }
    assert (started["type"], end["output"], end["metadata"]["usage"]) == ("started", True, USAGE)


async def test_every_reader_gets_the_same_bytes_live_and_late(serve: Serve) -> None:
    served = await serve(asking, expose=WEBSOCKET)
    await served.start(run_id="r")
    async with AsyncExitStack() as stack:
        first, *others = [
            await stack.enter_async_context(open_stream(served, "r")) for open_stream in TRANSPORTS.values()
        ]
        library = asyncio.create_task(lines_of(served, "r"))
        everything, *live = await asyncio.gather(read_and_answer(served, first), *map(all_of, others))
    check(everything)
    assert all(each == everything for each in live)
    assert await library == [each.data for each in everything]
    for open_stream in TRANSPORTS.values():
        async with open_stream(served, "r") as late:
            assert await all_of(late) == everything
    record = await served.record("r")
    assert record["metadata"]["usage"] == USAGE


async def test_callers_of_the_agent_get_the_same_bytes(serve: Serve) -> None:
    served = await serve(asking, expose=WEBSOCKET)
    for transport in STREAMS:
        async with invoking(served, transport) as caller:
            got = await read_and_answer(served, caller)
        check(got)
        run_id = msgspec.json.decode(got[0].data)["run_id"]
        async with TRANSPORTS["polling"](served, run_id) as late:
            assert await all_of(late) == got


async def test_pushed_events_reach_every_transport(serve: Serve) -> None:
    served = await serve(streaming={"ingest": INGEST}, expose=WEBSOCKET)
    async with served.client.post("/runs?external=true&run_id=r", json={}) as response:
        assert response.status == 202
    body = b"\n".join(msgspec.json.encode(event) for event in [*EVENTS, {"type": "complete", "output": 1}])
    lines = {"Content-Type": LINES["Accept"]}
    async with served.client.post("/runs/r/events", data=body, headers=lines) as response:
        assert response.ok
    for open_stream in TRANSPORTS.values():
        async with open_stream(served, "r") as stream:
            _, *emitted, end = map(own, await all_of(stream))
        assert emitted == EVENTS
        assert (end["output"], end["metadata"]["usage"]) == (1, USAGE)


def with_secrets(value: Any) -> Any:
    """Return a value whose texts each have a secret."""
    if isinstance(value, str):
        return f"{value}{SECRET} "
    if isinstance(value, list):
        return [with_secrets(item) for item in value]
    if isinstance(value, dict):
        return {name: with_secrets(item) for name, item in value.items()}
    return value


async def tell_secrets(_payload: Any, context: StreamContext) -> Any:
    for event in EVENTS:
        yield {**with_secrets(event), "type": event["type"]}
    for part in (SECRET[:4], SECRET[4:]):
        yield {"type": "reasoning", "content": part, "message_id": "m2"}
        yield {"type": "heartbeat"}
    yield {"answer": await context.ask(f"Is it {SECRET}?")}


async def test_no_transport_shows_a_masked_text_of_any_type(serve: Serve) -> None:
    served = await serve(tell_secrets, expose=WEBSOCKET, policies=safety())
    await served.start(run_id="r")
    texts = {event["type"] for event in EVENTS if SECRET in str(with_secrets({**event, "type": 0}))}
    texts |= {"input_requested", "input_received", "complete"}
    first, *others = TRANSPORTS.values()
    async with first(served, "r") as stream:
        readers = [await read_and_answer(served, stream, SECRET)]
    for open_stream in others:
        async with open_stream(served, "r") as stream:
            readers.append(await all_of(stream))
    for got in readers:
        assert not [each for each in got if SECRET.encode() in each.data]
        assert {each.type for each in got if MASK.encode() in each.data} >= texts
        reasoning = "".join(own(each)["content"] for each in got if each.type == "reasoning")
        assert reasoning.count(MASK) == 2
        assert got[-1].type == "complete"
