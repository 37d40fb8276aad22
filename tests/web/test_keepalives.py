"""Keepalives of an idle connection, and its timeout."""

from datetime import datetime
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import data
from tests.web.helpers import Waits
from tests.web.transports.readers import STREAMS, TRANSPORTS, WEBSOCKET, all_of, invoking, until
from tests.web.wire import RETRY, Wire, frame_data, frames, wire


def quick(**events: Any) -> dict[str, Any]:
    return {"events": {"heartbeat_interval": 0.3, **events}}


async def past_the_first_token(connection: Wire) -> None:
    await connection.head()
    await connection.until(b'"content":"first","finish_reason":null}\n\n\r\n')


@pytest.mark.parametrize("pattern", ["A", "B"])
async def test_idle_connection_sends_heartbeats_without_an_id(serve: Serve, pattern: str) -> None:
    served = await serve(agent := Waits(), streaming=quick())
    await served.start(run_id="r")
    async with wire(served) as connection:
        if pattern == "A":
            await connection.ask("POST", "/invoke/stream", body=b"{}")
        else:
            await connection.ask("GET", "/runs/r/events")
        await past_the_first_token(connection)
        beats = [await connection.chunk(), await connection.chunk()]
        agent.go.set()
        rest = await connection.body()
    assert all(beat.startswith(b"event: heartbeat\ndata: {") for beat in beats)
    assert all(beat.count(b"\n") == 3 for beat in beats)
    decoded = [frame_data(beat) for beat in beats]
    assert all(each["sequence"] == 2 and each["type"] == "heartbeat" for each in decoded)
    assert decoded[0]["id"] != decoded[1]["id"]
    assert decoded[0].keys() == {"id", "type", "run_id", "sequence", "timestamp"}
    assert datetime.fromisoformat(decoded[0]["timestamp"]) < datetime.fromisoformat(decoded[1]["timestamp"])
    events = [frame for frame in frames(rest) if not frame.startswith(b"event: heartbeat\n")]  # one more
    assert [event.split(b"\n")[0] for event in events] == [b"id: 3", b"id: 4"]


async def test_heartbeat_before_the_first_event_has_the_requested_sequence(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming=quick())
    await served.start(run_id="r")
    async with served.events("r", last_event_id=2) as reader:
        (beat,) = await reader.until("heartbeat")
        agent.go.set()
        await reader.all()
    assert data(beat)["sequence"] == 2


async def test_heartbeats_do_not_move_the_cursor(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming=quick())
    await served.start(run_id="r")
    async with served.events("r") as reader:
        messages = await reader.until("heartbeat")
        assert (messages[-1].id, messages[-1].last_event_id) == (None, "2")
        agent.go.set()
        await reader.all()


@pytest.mark.parametrize("allowed", ["minimal", "chat", ["token", "custom"]])
async def test_idle_connection_sends_comments_where_heartbeats_are_filtered(
    serve: Serve, allowed: object
) -> None:
    served = await serve(agent := Waits(), streaming=quick(allowed=allowed))
    await served.start(run_id="r")
    async with wire(served) as connection:
        await connection.ask("GET", "/runs/r/events")
        await connection.head()
        await connection.until(b": keep-alive\n\r\n")
        agent.go.set()
        assert b"event: complete\n" in await connection.body()


async def test_idle_connection_with_lines_sends_heartbeats_without_a_sequence(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming=quick())
    await served.start(run_id="r")
    async with TRANSPORTS["ndjson"](served, "r") as lines:
        assert (await until(lines, "heartbeat"))[-1].data == b'{"type":"heartbeat"}'
        agent.go.set()
        events = [each.type for each in await all_of(lines) if each.sequence is not None]
        assert events == ["token", "complete"]


async def test_timeout_ends_the_stream_with_a_frame(serve: Serve) -> None:
    served = await serve(agent := Waits())
    await served.start(run_id="r")
    async with wire(served) as connection:
        await connection.ask("GET", "/runs/r/events?timeout=1")
        await connection.head()
        body = await connection.body()
    *_, last = frames(body)
    assert last.startswith(b"event: timeout\ndata: {")
    assert frame_data(last).keys() == {"message"}
    assert (await served.record("r"))["status"] == "running"
    agent.go.set()
    async with served.events("r", last_event_id=2) as reader:
        assert [message.event for message in await reader.all()] == ["token", "complete"]


async def test_timeout_defaults_to_the_dockfile(serve: Serve) -> None:
    served = await serve(Waits(), streaming={"connection": {"default_timeout": 0.4}})
    await served.start(run_id="r")
    async with served.events("r") as reader:
        assert [message.event for message in await reader.all()] == ["started", "token", "timeout"]


@pytest.mark.parametrize("transport", STREAMS)
async def test_default_timeout_does_not_end_the_callers_stream(serve: Serve, transport: str) -> None:
    streaming = {"connection": {"default_timeout": 0.4}}
    served = await serve(agent := Waits(), expose=WEBSOCKET, streaming=streaming)
    async with invoking(served, transport) as caller:
        await until(caller, "token")
        (run_id,) = served.backend._logs
        async with served.events(run_id) as other:
            assert (await other.all())[-1].event == "timeout"
        agent.go.set()
        assert [each.type for each in await all_of(caller)] == ["token", "complete"]


async def test_timeout_of_a_reader_does_not_affect_others(serve: Serve) -> None:
    served = await serve(agent := Waits())
    await served.start(run_id="r")
    async with served.events("r") as patient, served.events("r", timeout=1) as short:
        assert (await short.all())[-1].event == "timeout"
        agent.go.set()
        assert (await patient.all())[-1].event == "complete"


async def test_agents_own_heartbeat_is_an_ordinary_event(serve: Serve) -> None:
    async def agent(_payload: object, context: StreamContext) -> None:
        await context.emit_heartbeat()

    served = await serve(agent)
    async with served.stream() as reader:
        messages = await reader.all()
    assert reader.raw.startswith(RETRY)
    assert [(m.event, m.id) for m in messages] == [("started", "1"), ("heartbeat", "2"), ("complete", "3")]
    assert msgspec.json.decode(messages[1].data)["sequence"] == 2
