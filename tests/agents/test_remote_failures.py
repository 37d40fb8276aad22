"""Agent processes that crash, send malformed data, or never stop sending."""

import asyncio
from collections.abc import Callable

import pytest

from dockrion.agents import responses
from dockrion.errors import AgentDisconnected, AgentProtocolError
from tests.agents.harness import bench
from tests.agents.processes import (
    JSON,
    NDJSON,
    SSE,
    Handler,
    ReceivedRequest,
    Wire,
    bytes_of,
    remote,
    run_against,
    run_with_response,
    served,
)

TYPES = (JSON, NDJSON, SSE)
TOKEN = {
    NDJSON: b'{"type":"token","content":"a"}\n',
    SSE: b'event: token\ndata: {"content":"a"}\n\n',
    JSON: b'{"half": ',
}


def raw(data: bytes, *, close: bool = True) -> Handler:
    """Respond with bytes that need not be HTTP."""

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.send(data)
        if close:
            wire.close()
        else:
            await wire.disconnected()

    return answer


def head(content_type: str, *fields: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Type: {content_type}", *fields, "", ""]).encode()


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_process_that_dies_during_its_response_is_a_disconnect(
    content_type: str, end: str, framing: str
) -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.send(head(content_type, framing))
        if "chunked" in framing:
            await wire.chunk(TOKEN[content_type])
        else:
            await wire.send(TOKEN[content_type])
        if content_type != JSON:
            await runs.emitted(run_id, 2)
        getattr(wire, end)()

    async with served(answer) as (runs, _):
        run_id = await runs.start()
        ended = await runs.ended(run_id)
    assert ended.code == "AGENT_DISCONNECTED"
    assert ended.tokens == ([] if content_type == JSON else ["a"])


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_process_that_dies_before_its_response_is_a_disconnect(end: str) -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        getattr(wire, end)()

    assert (await run_against(answer)).code == "AGENT_DISCONNECTED"


@pytest.mark.parametrize(
    "body",
    [b'{"type":"complete","out', b'{"type":"token","content":"a"}\n{"type":"compl', b'{"type":"token"'],
)
async def test_incomplete_last_line_is_a_disconnect(body: bytes) -> None:
    assert (await run_with_response(NDJSON, body)).code == "AGENT_DISCONNECTED"


async def test_event_without_its_blank_line_is_a_disconnect() -> None:
    assert (
        await run_with_response(SSE, b'event: complete\ndata: {"output":1}\n')
    ).code == "AGENT_DISCONNECTED"


@pytest.mark.parametrize("close", [True, False], ids=["and closes", "and waits"])
@pytest.mark.parametrize(
    "data",
    [
        b"what is this?\r\n\r\n",
        b"\x00\x01\x02\xff" * 100,
        b'{"a":1}\r\n\r\n',
        b"HTTP/1.1 abc Oops\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        head(JSON, "Content-Length: -1"),
        head(JSON, "Content-Length: many"),
        head(JSON, "Transfer-Encoding: chunked") + b"XYZ\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_other_protocols_are_an_error_at_once(data: bytes, close: bool) -> None:
    ended = await run_against(raw(data, close=close), read_timeout=60)
    assert ended.code in ("AGENT_PROTOCOL_ERROR", "AGENT_DISCONNECTED")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_error_status_is_not_an_output(data: bytes) -> None:
    ended = await run_against(raw(data), read_timeout=60)
    assert ended.code in ("AGENT_EXECUTION_ERROR", "AGENT_PROTOCOL_ERROR")


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 100 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 1000),
    ],
    ids=["status line", "headers", "header"],
)
async def test_endless_response_head_ends(start: bytes, piece: bytes) -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        wires.append(wire)
        await wire.send(start)
        while True:
            await wire.send(piece)

    wires: list[Wire] = []
    ended = await run_against(answer, read_timeout=60)
    assert ended.code == "AGENT_PROTOCOL_ERROR"
    assert wires[0].sent < 20_000_000


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (head(JSON, "Transfer-Encoding: chunked"), b"0" * 1000),
        (head(JSON, "Transfer-Encoding: chunked") + b"1;", b"x" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10),
        (b"", b"\r\n" * 1000),
    ],
    ids=["chunk size", "chunk extension", "interim answers", "blank lines"],
)
async def test_meaningless_bytes_do_not_keep_a_run_open(start: bytes, piece: bytes) -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.send(start)
        while True:
            await wire.send(piece)
            await asyncio.sleep(0)

    ended = await run_against(answer, read_timeout=0.2)
    assert ended.code in ("AGENT_PROTOCOL_ERROR", "TIMEOUT_ERROR")


ENDLESS: dict[str, tuple[str, bytes, bytes]] = {
    "json": (JSON, b'"', b"x"),
    "line": (NDJSON, b'{"type":"token","content":"', b"x"),
    "blanks": (NDJSON, b"", b" "),
    "sse line": (SSE, b"data: ", b"x"),
    "sse comment": (SSE, b":", b"x"),
    "sse data lines": (SSE, b"", b"data: x\n"),
    "sse empty data lines": (SSE, b"", b"data\n"),
}


@pytest.mark.parametrize(("content_type", "start", "piece"), ENDLESS.values(), ids=ENDLESS)
async def test_oversized_event_is_rejected(
    monkeypatch: pytest.MonkeyPatch, content_type: str, start: bytes, piece: bytes
) -> None:
    monkeypatch.setattr(responses, "MAX_PART_BYTES", 1_000_000)
    wires: list[Wire] = []

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        wires.append(wire)
        await wire.begin(content_type)
        await wire.send(start)
        while True:
            await wire.send(piece * (65536 // len(piece)))

    ended = await run_against(answer)
    assert ended.code == "AGENT_PROTOCOL_ERROR"
    assert "at once" in ended.error
    assert wires[0].sent < 20_000_000


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (NDJSON, b'{"type":"token"}\n'),
        (NDJSON, b'{"type":"token","content":7}\n'),
        (NDJSON, b'{"type":"token","content":"a","extra":1}\n'),
        (NDJSON, b'{"type":"progress","step":"s"}\n'),
        (NDJSON, b'{"type":"custom:","a":1}\n'),
        (NDJSON, b'{"type":"custom:a b","a":1}\n'),
        (NDJSON, b'{"type":"custom:a","sequence":1}\n'),
        (NDJSON, b'{"type":7}\n'),
        (NDJSON, b'{"type":"complete","output":1,"extra":2}\n'),
        (NDJSON, b'{"type":"complete","metadata":[1]}\n'),
        (NDJSON, b'{"type":"error"}\n'),
        (NDJSON, b'{"type":"error","error":"x","code":"low"}\n'),
        (NDJSON, b'{"type":"error","error":"x","code":7}\n'),
        (NDJSON, b'{"type":"cancelled","reason":7}\n'),
        (SSE, b"event: progress\ndata: soon\n\n"),
        (SSE, b"event: has space\ndata: {}\n\n"),
        (SSE, b"event: a.b\ndata: text\n\n"),
        (JSON, b"{broken"),
        (JSON, b""),
        (JSON, b"\xff\xfe"),
        (JSON, b"1 2"),
        ("text/html", b"<html>"),
        ("text/plain", b"text"),
        ("garbage", b"text"),
        ("", b"text"),
    ],
)
async def test_malformed_response_is_a_protocol_error(content_type: str, body: bytes) -> None:
    ended = await run_with_response(content_type, body)
    assert ended.code == "AGENT_PROTOCOL_ERROR"
    assert ended.own == []


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
async def test_compressed_response_is_a_protocol_error(encoding: str) -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(JSON, Content_Encoding=encoding)
        await wire.send(b"1")
        wire.close()

    ended = await run_against(answer)
    assert ended.code == "AGENT_PROTOCOL_ERROR"
    assert "compressed" in ended.error


async def test_compressed_error_is_not_shown() -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(JSON, "500 Oops", Content_Encoding="gzip")
        await wire.send(b"\x1f\x8b")
        wire.close()

    assert (await run_against(answer)).terminal["details"] == {"status": 500, "body": ""}


DEEP: dict[str, Callable[[bytes], bytes]] = {
    "details": lambda deep: b'{"type":"error","error":"own","details":' + deep + b"}",
    "openai": lambda deep: b'{"error":{"message":"own","deep":' + deep + b"}}",
    "message": lambda deep: b'{"error":{"message":' + deep + b"}}",
    "metadata": lambda deep: b'{"type":"complete","metadata":{"deep":' + deep + b"}}",
    "output": lambda deep: b'{"type":"complete","output":' + deep + b"}",
    "checkpoint": lambda deep: b'{"type":"checkpoint","name":"n","data":' + deep + b"}",
}


@pytest.mark.parametrize("form", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("depth", [100, 480, 600, 800, 960, 970, 980, 990, 100_000])
async def test_values_of_any_depth_end_the_run_with_an_error_code(
    form: Callable[[bytes], bytes], depth: int
) -> None:
    ended = await run_with_response(NDJSON, form(b"[" * depth + b"]" * depth) + b"\n")
    if ended.run.status == "failed":
        assert ended.code in ("AGENT_EXECUTION_ERROR", "AGENT_PROTOCOL_ERROR", "AGENT_DISCONNECTED")
        assert "RecursionError" not in ended.error


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/", "unix:/nowhere/at.sock:/", "unix:/" + "a" * 300 + ":/", "http://a..b/"],
)
async def test_unreachable_process_is_a_disconnect(url: str) -> None:
    async with remote(url) as agent, bench(agent) as runs:
        ended = await runs.run()
    assert ended.code == "AGENT_DISCONNECTED"
    assert "cannot be reached" in ended.error


async def test_invocation_reports_the_same_failure() -> None:
    async with served(bytes_of(NDJSON, b'{"type":"compl')) as (runs, _):
        with pytest.raises(AgentDisconnected):
            await runs.invoke()
    async with served(bytes_of(JSON, b"{broken")) as (runs, _):
        with pytest.raises(AgentProtocolError):
            await runs.invoke()
