"""Servers that are recognized by what they respond, without `agent.protocol`."""

import json
from typing import Any

import pytest

from dockrion.agents.responses import MAX_PART_BYTES
from tests.agents.harness import Ended
from tests.agents.processes import JSON, SSE, Handler, ReceivedRequest, Wire, bytes_of, run_against
from tests.agents.servers.openai_server import STOP, choices, delta, endless, stream

CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
OPENAI = stream(*choices(delta(content="No"), delta(tool_calls=[CALL]), STOP))
AG_UI = b"".join(
    b"data: %b\n\n" % json.dumps(each).encode()
    for each in (
        {"type": "RUN_STARTED", "threadId": "t", "runId": "r"},
        {"type": "TEXT_MESSAGE_CHUNK", "messageId": "m", "delta": "No"},
        {"type": "TOOL_CALL_CHUNK", "toolCallId": "c", "toolCallName": "f", "delta": "{}"},
        {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"},
    )
)
COMPLETION = {"object": "chat.completion", "choices": [{"message": {"content": "No", "tool_calls": [CALL]}}]}


def in_pieces(content_type: str, data: bytes, size: int) -> Handler:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.chunked(content_type)
        for start in range(0, len(data), size):
            await wire.chunk(data[start : start + size])
        await wire.chunk()

    return answer


async def ran(handler: Handler, **spec: Any) -> Ended:
    return await run_against(handler, {"messages": []}, **spec)


@pytest.mark.parametrize("size", [1, 10_000], ids=["bytes", "whole"])
@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (SSE, OPENAI),
        (SSE, b": hello\nretry: 5\n\n" + OPENAI),
        (SSE, AG_UI),
        (JSON, json.dumps(COMPLETION).encode()),
    ],
    ids=["OpenAI", "with a comment", "AG-UI", "completion"],
)
async def test_what_a_server_speaks_is_recognized(content_type: str, data: bytes, size: int) -> None:
    ended = await ran(in_pieces(content_type, data, size))
    assert "".join(ended.tokens) == "No"
    (call,) = [each for each in ended.own if each["type"] == "tool_call"]
    assert (call["tool_call_id"], call["name"], call["arguments"]) == ("c", "f", {})
    assert ended.output == "No"


@pytest.mark.parametrize(
    "output", [{"object": "chat"}, {"a": "chat.completion"}, ["chat.completion"]], ids=str
)
async def test_other_json_is_the_output(output: Any) -> None:
    assert (await ran(bytes_of(JSON, json.dumps(output).encode()))).output == output


async def test_nothing_is_recognized_where_the_dockfile_says_what_is_spoken() -> None:
    ended = await ran(bytes_of(JSON, json.dumps(COMPLETION).encode()), protocol="dockrion")
    assert ended.output == COMPLETION


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 2**18, b" " * 2**18], ids=["stream", "JSON"])
async def test_what_is_not_recognized_is_bounded(piece: bytes) -> None:
    ended = await ran(endless(piece, SSE if piece.startswith(b"data") else JSON))
    assert ended.error == f"the agent process sent more than {MAX_PART_BYTES // 1024**2} MiB at once"
