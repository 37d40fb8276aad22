"""The exact bytes of a stream on the connection."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from dockrion.ids import INCARNATION_PATTERN
from tests.conftest import Serve
from tests.support import Served
from tests.web.helpers import Waits
from tests.web.wire import RETRY, connections, wire

NOW = datetime(2026, 11, 22, 10, 30, 5, 123456, tzinfo=UTC)
STAMP = b'"timestamp":"2026-11-22T10:30:05.123456Z"'
HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "connection": "keep-alive",
    "x-accel-buffering": "no",
    "vary": "Origin",
    "server": "dockrion",
}
STREAMED = pytest.mark.parametrize("media_type", ["text/event-stream", "application/x-ndjson"])
HOSTILE = [
    "line one\nline two",
    "carriage\rreturn\r\n",
    "line\u2028separator\u2029and\u0085next",
    "id: 99\nevent: complete\ndata: {}\n\n",
    "\n\ndata: x\n\n: comment\n\nretry: 1\n\n",
    "\ufeffmark and \x00 nul",
    "😀 emoji",
    "",
]


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every event the same timestamp and no duration."""
    monkeypatch.setattr("dockrion.runs.event_buffer.datetime", SimpleNamespace(now=lambda _zone: NOW))
    monkeypatch.setattr("dockrion.runs.execution.Execution.seconds", 0.0)


async def emit_texts(payload: list[str], context: StreamContext) -> dict[str, Any]:
    for text in payload:
        await context.emit_token(text)
    return {"done": True}


def event(run_id: str, sequence: int, kind: str, fields: bytes) -> bytes:
    return (
        f"id: {sequence}\nevent: {kind}\n".encode()
        + f'data: {{"id":"{run_id}:{sequence}","type":"{kind}","run_id":"{run_id}",'.encode()
        + f'"sequence":{sequence},'.encode()
        + STAMP
        + fields
        + b"}\n\n"
    )


def expected_stream(run_id: str, contents: list[str]) -> bytes:
    started = event(run_id, 1, "started", b',"agent_name":"tested","framework":"custom"')
    tokens = [
        event(run_id, n, "token", b',"content":' + msgspec.json.encode(text) + b',"finish_reason":null')
        for n, text in enumerate(contents, start=2)
    ]
    fields = (
        b',"output":{"done":true},"latency_seconds":0.0,"metadata":{"agent":"tested","framework":"custom"}'
    )
    return RETRY + started + b"".join(tokens) + event(run_id, len(contents) + 2, "complete", fields)


async def post_stream(
    served: Served, contents: list[str], headers: dict[str, str] | None = None
) -> tuple[dict[str, str], bytes]:
    async with wire(served) as connection:
        await connection.ask("POST", "/invoke/stream", headers, msgspec.json.encode(contents))
        status, headers = await connection.head()
        assert status == "HTTP/1.1 200 OK"
        return headers, await connection.body()


@pytest.mark.usefixtures("frozen")
async def test_stream_of_the_caller_byte_for_byte(serve: Serve) -> None:
    headers, body = await post_stream(await serve(emit_texts), ["Hel", "lo"])
    assert body == expected_stream(headers["x-run-id"], ["Hel", "lo"])


@pytest.mark.usefixtures("frozen")
async def test_stream_of_a_run_byte_for_byte(serve: Serve) -> None:
    served = await serve(emit_texts)
    await served.start(["Hel", "lo"], run_id="r")
    async with wire(served) as connection:
        await connection.ask("GET", "/runs/r/events")
        await connection.head()
        assert await connection.body() == expected_stream("r", ["Hel", "lo"])


@pytest.mark.usefixtures("frozen")
async def test_content_that_looks_like_sse_stays_in_its_line(serve: Serve) -> None:
    headers, body = await post_stream(await serve(emit_texts), HOSTILE)
    assert body == expected_stream(headers["x-run-id"], HOSTILE)
    lines = body.removeprefix(RETRY).split(b"\n\n")[:-1]
    assert [block.count(b"\n") for block in lines] == [2] * (len(HOSTILE) + 2)
    assert b"\r" not in body


async def test_content_that_looks_like_sse_is_decoded_unchanged(serve: Serve) -> None:
    served = await serve(emit_texts)
    async with served.stream(HOSTILE) as reader:
        messages = await reader.all()
    assert [msgspec.json.decode(m.data)["content"] for m in messages if m.event == "token"] == HOSTILE
    assert len(messages) == len(HOSTILE) + 2


@STREAMED
async def test_head_of_the_callers_stream(serve: Serve, media_type: str) -> None:
    headers, _ = await post_stream(await serve(emit_texts), [], {"Accept": media_type})
    run_id = headers.pop("x-run-id")
    assert INCARNATION_PATTERN.fullmatch(headers.pop("x-run-incarnation"))
    assert headers.pop("location") == f"/runs/{run_id}/events"
    assert headers.pop("date")
    assert headers.pop("x-request-id")
    assert headers == HEADERS | {"content-type": media_type, "transfer-encoding": "chunked"}


@STREAMED
async def test_head_of_a_runs_stream(serve: Serve, media_type: str) -> None:
    served = await serve(emit_texts)
    await served.start([], run_id="r")
    async with wire(served) as connection:
        await connection.ask("GET", "/runs/r/events", {"Accept": media_type})
        _, headers = await connection.head()
        await connection.body()
    assert INCARNATION_PATTERN.fullmatch(headers.pop("x-run-incarnation"))
    assert headers.pop("date")
    assert headers.pop("x-request-id")
    assert headers == HEADERS | {"content-type": media_type, "transfer-encoding": "chunked"}


@STREAMED
@pytest.mark.parametrize("pattern", ["A", "B"])
async def test_head_and_retry_are_sent_before_the_agent_starts(
    serve: Serve, pattern: str, media_type: str
) -> None:
    served = await serve(agent := Waits(), streaming={"max_concurrent_runs": 1})
    await served.start()  # takes the only slot, so that the next run waits
    async with wire(served) as connection:
        if pattern == "A":
            await connection.ask("POST", "/invoke/stream", {"Accept": media_type}, b"{}")
        else:
            await served.start(run_id="r")
            await connection.ask("GET", "/runs/r/events", {"Accept": media_type})
        status, _ = await connection.head()
        assert status == "HTTP/1.1 200 OK"
        if media_type == "text/event-stream":
            assert await connection.chunk() == RETRY
        assert len(agent.payloads) == 1
        agent.go.set()
        await connection.body()


async def test_events_arrive_while_the_agent_runs(serve: Serve) -> None:
    served = await serve(agent := Waits())
    async with wire(served) as connection:
        await connection.ask("POST", "/invoke/stream", body=b"{}")
        await connection.head()
        early = await connection.until(b'"content":"first"')
        assert b"event: started\n" in early
        assert b"complete" not in early
        agent.go.set()
        assert b"event: complete\n" in await connection.until(b"\r\n0\r\n\r\n")


async def test_connection_serves_the_next_request_after_a_stream(serve: Serve) -> None:
    served = await serve(emit_texts)
    async with wire(served) as connection:
        await connection.ask("POST", "/invoke/stream", body=b"[]")
        await connection.head()
        await connection.body()
        await connection.ask("GET", "/health")
        status, headers = await connection.head()
        assert status == "HTTP/1.1 200 OK"
        assert b'"ok"' in await connection.content(headers)
        assert len(connections(served)) == 1


@pytest.mark.usefixtures("frozen")
async def test_http_1_0_stream_is_unchunked_and_ends_with_the_connection(serve: Serve) -> None:
    served = await serve(emit_texts)
    await served.start(["Hel", "lo"], run_id="r")
    async with wire(served) as connection:
        await connection.ask("GET", "/runs/r/events", version="1.0")
        status, headers = await connection.head()
        assert status.split()[1] == "200"
        assert "transfer-encoding" not in headers
        assert await connection.rest() == expected_stream("r", ["Hel", "lo"])


@pytest.mark.usefixtures("frozen")
async def test_connection_close_is_respected(serve: Serve) -> None:
    served = await serve(emit_texts)
    async with wire(served) as connection:
        await connection.ask("POST", "/invoke/stream", {"Connection": "close"}, body=b"[]")
        _, headers = await connection.head()
        assert await connection.body() == expected_stream(headers["x-run-id"], [])
        assert await connection.rest() == b""


@pytest.mark.parametrize("path", ["/invoke/stream", "/runs/r/events"])
async def test_stream_is_never_compressed(serve: Serve, path: str) -> None:
    served = await serve(emit_texts)
    await served.start([], run_id="r")
    async with wire(served) as connection:
        accept = {"Accept-Encoding": "gzip, deflate, br, zstd"}
        method, body = ("POST", b"[]") if path == "/invoke/stream" else ("GET", None)
        await connection.ask(method, path, accept, body)
        _, headers = await connection.head()
        assert "content-encoding" not in headers
        assert (await connection.body()).startswith(RETRY + b"id: 1\nevent: started\n")
