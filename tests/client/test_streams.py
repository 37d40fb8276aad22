"""What a stream yields: every event once and in order, gaps, and errors."""

import asyncio
from typing import Any

import pytest
from msgspec import UNSET

from dockrion import StreamContext
from dockrion.client import (
    Cancelled,
    Checkpoint,
    Complete,
    Custom,
    Error,
    Event,
    EventsGone,
    Gap,
    Heartbeat,
    Message,
    NotFound,
    Progress,
    ProtocolError,
    Reasoning,
    Started,
    Step,
    Token,
    ToolCall,
    ToolResult,
    Usage,
)
from dockrion.events import Entry
from dockrion.events.control_frames import Gone
from dockrion.wire import sse
from tests.client.conftest import Connect
from tests.client.proxies import HEAD, listening, scripted
from tests.conftest import Serve
from tests.support import wait_until
from tests.web.helpers import Waits

TOKENS = 20
SMALL: dict[str, Any] = {"redis": {"max_events_per_run": 10}}


def entry(sequence: int, kind: str = "token", fields: str = '"content":"x"') -> bytes:
    common = f'"id":"r:{sequence}","type":"{kind}","run_id":"r","sequence":{sequence}'
    data = f'{{{common},"timestamp":"2026-11-22T10:30:05.123456Z",{fields}}}'
    return sse.encode_event(Entry(sequence, kind, data.encode(), 0.0))


def complete(sequence: int) -> bytes:
    return entry(sequence, "complete", '"output":{"a":1},"latency_seconds":0.5,"metadata":{}')


async def speak(_payload: Any, context: StreamContext) -> dict[str, Any]:
    for number in range(TOKENS):
        await context.emit_token(f"token {number} ")
        await asyncio.sleep(0)
    return {"said": TOKENS}


async def every_kind(_payload: Any, context: StreamContext) -> str:
    await context.emit_progress("work", 0.5, "half")
    await context.emit_token("Hi", "stop")
    await context.emit_step("node", 1.5, ["a"], ["b"])
    await context.checkpoint("saved", {"x": [1]})
    await context.emit_heartbeat()
    await context.emit_message("Hi", message_id="m", source="clerk")
    await context.emit_reasoning("Hm")
    call = await context.emit_tool_call("search", {"q": "rain"})
    await context.emit_tool_result(call, [1, 2])
    await context.emit_usage("large", 1, 2)
    await context.emit("mood", happy=True, name="n")
    return "done"


def numbers(events: list[Event | Gap]) -> list[int]:
    return [event.sequence for event in events if isinstance(event, Event)]


async def test_events_are_structs_of_their_types(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve(every_kind))
    started, *others, last = [event async for event in client.stream({})]
    assert isinstance(started, Started)
    assert started.agent_name == "tested"
    kinds = [Progress, Token, Step, Checkpoint, Heartbeat, Message, Reasoning, ToolCall, ToolResult, Usage]
    assert [type(event) for event in others] == [*kinds, Custom]
    message, reasoning, call, result, usage = others[5:10]
    assert isinstance(message, Message)
    assert (message.content, message.message_id, message.source) == ("Hi", "m", "clerk")
    assert isinstance(reasoning, Reasoning)
    assert (reasoning.content, reasoning.source) == ("Hm", UNSET)
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("search", {"q": "rain"})
    assert isinstance(result, ToolResult)
    assert (result.tool_call_id, result.name, result.result) == (call.tool_call_id, "search", [1, 2])
    assert isinstance(usage, Usage)
    assert (usage.model, usage.total_tokens) == ("large", 3)
    custom = others[-1]
    assert isinstance(custom, Custom)
    assert (custom.type, custom.name, custom.data) == ("custom:mood", "mood", {"happy": True, "name": "n"})
    assert isinstance(last, Complete)
    assert (last.output, last.sequence) == ("done", 13)
    assert last.metadata["usage"] == {"large": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}
    assert all(event.run_id == started.run_id for event in others if isinstance(event, Event))


async def test_lines_are_what_the_service_wrote(serve: Serve, connect: Connect) -> None:
    served = await serve(every_kind)
    run_id = await served.start()
    await served.finished(run_id)
    async with served.events(run_id) as reader:
        written = [message.data for message in await reader.all()]
    client = await connect(served)
    assert [line async for line in client.events(run_id).lines()] == written


async def test_a_run_is_read_from_any_position(serve: Serve, connect: Connect) -> None:
    served = await serve(speak)
    client = await connect(served)
    run = await client.start({}, "r")
    assert (run.run_id, run.status, run.events_url) == ("r", "accepted", "/runs/r/events")
    assert numbers([event async for event in client.events("r")]) == list(range(1, TOKENS + 3))
    assert numbers([event async for event in client.events("r", after=20)]) == [21, 22]
    assert [event async for event in client.events("r", after=TOKENS + 2)] == []
    beyond = [event async for event in client.events("r", after=10**6)]
    assert beyond[0] == Gap(requested=10**6 + 1, first_available=1)
    assert numbers(beyond) == list(range(1, TOKENS + 3))


async def test_a_failed_run_ends_with_its_error_and_a_cancelled_one_with_its_reason(
    serve: Serve, connect: Connect
) -> None:
    served = await serve(agent := Waits())
    client = await connect(served)
    stream = client.stream({})
    last: Event | Gap | None = None
    async for last in stream:
        if isinstance(last, Token):
            await client.cancel(stream.run_id, "enough")
    assert isinstance(last, Cancelled)
    assert last.reason == "enough"
    assert agent.stopped == [{}]

    async def fail(_payload: Any) -> None:
        raise ValueError("no")

    served.use(fail)
    *_, last = [event async for event in client.stream({})]
    assert isinstance(last, Error)
    assert (last.code, last.error) == ("AGENT_EXECUTION_ERROR", "ValueError: no")


async def test_a_gap_is_reported_and_the_stream_continues(serve: Serve, connect: Connect) -> None:
    served = await serve(speak, streaming=SMALL)
    run_id = await served.start()
    await served.finished(run_id)
    client = await connect(served)
    events = [event async for event in client.events(run_id)]
    assert events[0] == Gap(requested=1, first_available=13)
    assert numbers(events) == list(range(13, 23))
    line = await anext(aiter(client.events(run_id).lines()))
    assert line == '{"type":"gap","requested":1,"first_available":13}'


async def test_leaving_a_stream_cancels_its_run_and_not_another_with_the_id(connect: Connect) -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nX-Run-Incarnation: 0123456789abcdef\r\n\r\n")
    async with scripted(head + entry(1) + entry(2), b"HTTP/1.1 404 Not Found\r\n\r\n") as server:
        client = await connect(server.url)
        stream = client.stream({})
        await anext(aiter(stream))
        stream.close()
        await wait_until(lambda: len(server.requests) == 2)
    line = server.requests[1].partition(b" HTTP")[0]
    assert line.startswith(b"DELETE /runs/r?")
    assert b"incarnation=0123456789abcdef" in line


async def test_a_stream_that_arrives_byte_by_byte(connect: Connect) -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in HEAD + entry(1) + complete(2):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async with listening(trickle) as port:
        client = await connect(f"http://127.0.0.1:{port}")
        assert numbers([event async for event in client.events("r")]) == [1, 2]


@pytest.mark.parametrize(
    "malformed",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 nonsense\r\n\r\n",
        b"\x00\xff" * 40 + b"\r\n\r\n",
        HEAD + b"id: 1\nevent: token\ndata: {}\n\n",
        HEAD + b"id: 1\nevent: token\ndata: no JSON\n\n",
        HEAD + b"id: 1\nevent: token\ndata: " + b"[" * 5000 + b"\n\n",
        HEAD + b"id: one\nevent: token\ndata: {}\n\n",
        HEAD + b"id: 99999999999999999999999\nevent: token\ndata: {}\n\n",
        HEAD + entry(1).replace(b'"sequence":1', b'"sequence":2'),
        HEAD + entry(1).replace(b'"type":"token"', b'"type":"step"'),
        HEAD + entry(1) + entry(1),
        HEAD + entry(1) + entry(3),
        HEAD + b"event: gap\ndata: {}\n\n",
        HEAD + b'event: gap\ndata: {"requested":1,"first_available":1}\n\n',
        HEAD + b'event: gap\ndata: {"requested":1,"first_available":0}\n\n',
        HEAD + b'event: gap\ndata: {"requested":5,"first_available":9}\n\n',
        HEAD.replace(b"X-Run-Id: r", b"X-Run-Id: ../../r") + complete(1),
    ],
)
async def test_a_malformed_stream_is_a_protocol_error(connect: Connect, malformed: bytes) -> None:
    async with scripted(malformed) as server:
        client = await connect(server.url)
        with pytest.raises(ProtocolError) as raised:
            _ = [event async for event in client.stream({})]
    assert len(str(raised.value)) < 300
    assert len(server.requests) == 1


async def test_an_endless_event_is_not_buffered_without_bound(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.wire.sse.MAX_MESSAGE_BYTES", 100_000)
    async with scripted(HEAD + b"data: " + b"x" * 200_000) as server:
        client = await connect(server.url)
        with pytest.raises(ProtocolError, match="larger than any"):
            _ = [event async for event in client.events("r")]


async def test_a_huge_event_arrives_whole(serve: Serve, connect: Connect) -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_token("é" * 4_000_000)

    client = await connect(await serve(agent))
    _, token, _ = [event async for event in client.stream({})]
    assert isinstance(token, Token)
    assert token.content == "é" * 4_000_000


async def test_an_event_of_an_unknown_type_is_a_custom_event(connect: Connect) -> None:
    async with scripted(HEAD + entry(1, "novel", '"x":1') + complete(2)) as server:
        client = await connect(server.url)
        first, _ = [event async for event in client.events("r")]
    assert isinstance(first, Custom)
    assert (first.type, first.name, first.data) == ("novel", "novel", {"x": 1})


async def test_events_that_are_no_longer_stored(connect: Connect) -> None:
    async with scripted(HEAD + entry(1) + sse.encode_control(Gone())) as server:
        client = await connect(server.url)
        with pytest.raises(EventsGone):
            _ = [event async for event in client.events("r")]


async def test_a_run_that_does_not_exist(serve: Serve, connect: Connect) -> None:
    client = await connect(await serve())
    with pytest.raises(NotFound) as raised:
        _ = [event async for event in client.events("never")]
    assert (raised.value.status, raised.value.code) == (404, "NOT_FOUND")
