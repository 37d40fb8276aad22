"""Hostile servers behind `agent.protocol: openai`: each ends in a clear error, with bounded memory."""

import json
from typing import Any

import pytest

from dockrion.agents.responses import MAX_PART_BYTES, ProtocolError
from dockrion.agents.servers.openai_readers import StreamReader
from tests.agents.processes import JSON, SSE, ReceivedRequest, Wire, bytes_of, served
from tests.agents.servers.openai_server import (
    OPENAI,
    PAYLOAD,
    STOP,
    answered,
    choices,
    chunk,
    delta,
    endless,
    frame,
    replied,
    stream,
)

TOO_LARGE = f"the agent process sent more than {MAX_PART_BYTES // 1024**2} MiB at once"
LARGE = 256 * 1024


@pytest.mark.parametrize(
    "value",
    [
        7,
        None,
        "text",
        [],
        {"choices": {}},
        {"choices": [7]},
        {"choices": [{"delta": []}]},
        {"choices": [{"delta": {"content": 7}}]},
        {"choices": [{"delta": {"content": [7]}}]},
        {"choices": [{"delta": {"tool_calls": {}}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": "x"}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": 1}]}}]},
        {"choices": [{"finish_reason": {}}]},
        {"choices": [], "usage": {"prompt_tokens": -1}},
        {"choices": [], "usage": {"prompt_tokens": 1e300}},
        {"choices": [], "model": 1},
    ],
    ids=str,
)
async def test_wrong_types_are_a_protocol_error(value: Any) -> None:
    ended = await answered(bytes_of(SSE, stream(*choices(delta(content="a")))[:-14] + frame(value)))
    assert ended.code == "AGENT_PROTOCOL_ERROR"
    assert ended.error.startswith("chunk 2 of the agent's server is malformed: ")
    assert ended.tokens == ["a"]


@pytest.mark.parametrize(
    "data",
    [
        b"data: {\n\n",
        b"data: \xff\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"model": "\\ud800"}\n\n',
    ],
    ids=["cut off", "not UTF-8", "deep", "surrogate"],
)
async def test_malformed_json_is_a_protocol_error(data: bytes) -> None:
    ended = await answered(bytes_of(SSE, data))
    assert ended.code == "AGENT_PROTOCOL_ERROR"


@pytest.mark.parametrize(
    ("piece", "content_type"),
    [
        (b"x" * LARGE, SSE),
        (b"data: " + b"x" * LARGE + b"\n", SSE),
        (b" " * LARGE, JSON),
        (frame(chunk(delta(content="x" * LARGE))), SSE),
        (frame(chunk(delta(refusal="x" * LARGE))), SSE),
        (
            frame(
                chunk(delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "x" * LARGE}}]))
            ),
            SSE,
        ),
    ],
    ids=["line", "message", "JSON", "text", "refusal", "arguments"],
)
async def test_what_does_not_end_is_cut_off(piece: bytes, content_type: str) -> None:
    ended = await answered(endless(piece, content_type))
    assert (ended.code, ended.error) == ("AGENT_PROTOCOL_ERROR", TOO_LARGE)


@pytest.mark.parametrize("call", [{"id": "x"}, {"function": {"name": "x"}}], ids=["id", "name"])
def test_names_and_ids_of_tool_calls_are_cut_off(call: dict[str, Any]) -> None:
    long = json.loads(json.dumps(call).replace("x", "x" * LARGE))
    opened = choices(*(delta(tool_calls=[{"index": index, **long}]) for index in range(50)))
    with pytest.raises(ProtocolError, match=TOO_LARGE):
        list(StreamReader().feed(stream(*opened)))


async def test_a_stream_that_never_ends_is_over_in_time() -> None:
    ended = await answered(endless(frame(chunk(delta(role="assistant")))), total_timeout=0.3)
    assert ended.code == "TIMEOUT_ERROR"


async def test_a_silent_server_is_over_in_time() -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(SSE)
        await wire.send(stream(*choices(STOP), done=False))
        await wire.disconnected()

    assert (await answered(answer, read_timeout=0.2)).code == "TIMEOUT_ERROR"


async def test_a_thousand_tool_calls_are_too_many() -> None:
    calls = [
        {"index": index, "id": f"{index}", "function": {"name": "f", "arguments": "{}"}}
        for index in range(1000)
    ]
    ended = await replied(*choices(*(delta(tool_calls=[each]) for each in calls), STOP))
    assert ended.code == "AGENT_PROTOCOL_ERROR"
    assert ended.error == "the agent's server calls more than 256 tools in one reply"


async def test_a_tool_call_without_a_name_is_a_protocol_error() -> None:
    ended = await replied(*choices(delta(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]), STOP))
    assert (ended.code, ended.error) == (
        "AGENT_PROTOCOL_ERROR",
        "the agent's server calls a tool without a name",
    )


@pytest.mark.parametrize("body", [b"", b"data: [DONE]\n\n", frame(chunk()) + b"data: [DONE]\n\n"], ids=len)
async def test_no_reply_is_an_error(body: bytes) -> None:
    ended = await answered(bytes_of(SSE, body))
    assert ended.code in ("AGENT_PROTOCOL_ERROR", "AGENT_DISCONNECTED")


@pytest.mark.parametrize("value", [b"", b"{}", b'{"choices": []}', b'{"choices": null}', b"[]"], ids=repr)
async def test_json_without_a_reply_is_a_protocol_error(value: bytes) -> None:
    assert (await answered(bytes_of(JSON, value))).code == "AGENT_PROTOCOL_ERROR"


async def test_a_reply_that_is_cut_off_is_an_error() -> None:
    ended = await replied(*choices(delta(content="Once upon")), done=False)
    assert ended.code == "AGENT_DISCONNECTED"
    assert ended.error == "the agent's server ended its response in the middle of a reply"


@pytest.mark.parametrize("content_type", ["text/html", "application/x-ndjson", ""])
async def test_other_media_types_are_refused(content_type: str) -> None:
    ended = await answered(bytes_of(content_type, b"x"))
    assert ended.code == "AGENT_PROTOCOL_ERROR"
    assert ended.error.endswith("not text/event-stream or application/json")


async def test_redirects_are_not_followed() -> None:
    async def answer(request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(JSON, "307 Temporary Redirect", Location=f"http://{request.headers['host']}/other")
        wire.close()

    async with served(answer, token="a-token-of-the-agent", **OPENAI) as (runs, made):
        ended = await runs.run(PAYLOAD)
        assert ended.error == "the agent's server responded with status 307"
        assert made.posts == 1
