"""The text of a reply, which is the same in every protocol."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from dockrion.protocols.a2a.encoder import StreamEncoder
from dockrion.protocols.a2a.objects import TaskIds, Writer
from dockrion.protocols.a2a.updates import UpdateOptions
from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.ag_ui.events import RunIds
from dockrion.protocols.growing_text import GrowingText
from dockrion.protocols.mcp.encoder import CallEncoder
from dockrion.protocols.openai.chat import ChunkEncoder
from dockrion.protocols.openai.chat_parts import ReplyOptions
from dockrion.protocols.openai.response_object import ResponseInfo
from dockrion.protocols.openai.responses import ResponseEncoder
from dockrion.protocols.vercel_ai.encoder import MessageEncoder
from tests.protocols.a2a.tasks import folded
from tests.protocols.logs import TOO_LARGE, log_of, messages_of

CLIENT_TOOLS = frozenset({"theirs"})
ENCODERS = {
    "chat": ChunkEncoder(b'data: {"choices":', ReplyOptions(client_tools=CLIENT_TOOLS)),
    "responses": ResponseEncoder(ResponseInfo("run-1", 0, b'"agent"', "model", client_tools=CLIENT_TOOLS)),
    "ag-ui": RunEncoder(RunIds("run-1", "thread", "run-1")),
    "vercel-ai": MessageEncoder("run-1", "run-1"),
    "mcp": CallEncoder(1, "run-1"),
    "a2a": StreamEncoder(Writer("1.0", TaskIds("run-1", "context")), UpdateOptions("run-1")),
}


def _chat(data: list[Any]) -> list[str]:
    deltas = [each["choices"][0]["delta"] for each in data if "choices" in each]
    return [text for text in "".join(each.get("content", "") for each in deltas).split("\n\n") if text]


def _responses(data: list[Any]) -> list[str]:
    output = data[-1]["response"]["output"]
    return [item["content"][0]["text"] for item in output if item["type"] == "message"]


def _pieces(start: str, delta: str, key: str) -> Callable[[list[Any]], list[str]]:
    """Return a reader of texts whose start and pieces have chunks of these types."""

    def read(data: list[Any]) -> list[str]:
        texts: dict[str, str] = {}
        for each in data:
            if each["type"] == start:
                texts[each[key]] = ""
            elif each["type"] == delta:
                texts[each[key]] += each["delta"]
        return list(texts.values())

    return read


def _a2a(data: list[Any]) -> list[str]:
    task: dict[str, Any] = {"id": "run-1", "contextId": "context", "artifacts": {}}
    (reply,) = folded(task, [each["result"] for each in data])["artifacts"]["reply"]
    return [text for text in reply["text"].split("\n\n") if text]


def _mcp(data: list[Any]) -> list[str]:
    (content,) = data[-1]["result"]["content"]
    return str(content["text"]).split("\n\n")


READERS = {
    "chat": _chat,
    "responses": _responses,
    "ag-ui": _pieces("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "messageId"),
    "vercel-ai": _pieces("text-start", "text-delta", "id"),
    "a2a": _a2a,
    "mcp": _mcp,
}


def token(content: str, **fields: Any) -> dict[str, Any]:
    return {"type": "token", "content": content, **fields}


def said(content: Any, role: str = "assistant", **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content, **fields}


M1, M2 = {"message_id": "m1"}, {"message_id": "m2"}
A, B = {"source": "a"}, {"source": "b"}
CALL = {"type": "tool_call", "tool_call_id": "c", "name": "f"}
RESULT = {"type": "tool_result", "tool_call_id": "c"}
OUTPUT = {"answer": "out"}


@pytest.mark.parametrize("protocol", ENCODERS)
@pytest.mark.parametrize(
    ("emitted", "texts"),
    [
        ([token("x"), said("x")], ["x"]),
        ([token("x", **M1), said("x", **M1)], ["x"]),
        ([token("x", **M1), said("x")], ["x"]),
        ([token("x"), said("x", **M1)], ["x"]),
        ([token("x", **M1, **A), said("x", **M1)], ["x"]),
        ([token("x", **M1), CALL, RESULT, said("x", **M1)], ["x"]),
        ([token("x"), token("", finish_reason="stop"), said("x")], ["x"]),
        ([said("x", **M1), said("x", **M1)], ["x"]),
        ([said("x"), said("y")], ["x", "y"]),
        ([token("x"), said("x"), said("y")], ["x", "y"]),
        ([token("x"), said("x"), token("y"), said("y")], ["x", "y"]),
        ([token("x"), said("x", **M1), token("y"), said("y", **M2)], ["x", "y"]),
        ([token("x", **M1), said("y", **M2)], ["x", "y"]),
        ([token("x", **A), said("y", **B)], ["x", "y"]),
        ([token("x"), CALL, RESULT, said("y")], ["x", "y"]),
        ([token("x", **M1), CALL, RESULT, said("y")], ["x", "y"]),
        ([token("x", **M1), token("y", **M2), said("x", **M1), said("y")], ["x", "y"]),
        ([token("x", **A), token("y", **B), said("x", **A), said("y", **B)], ["x", "y"]),
        ([said("q", role="user"), said("x", role="ai")], ["x"]),
        ([said([{"type": "text", "text": "x"}, {"type": "image"}])], ["x"]),
        ([token(""), said(""), said([{"type": "image"}]), said("q", role="user")], ["out"]),
        ([], ["out"]),
    ],
)
def test_text_is_shown_once(protocol: str, emitted: list[dict[str, Any]], texts: list[str]) -> None:
    assert _texts(protocol, emitted, OUTPUT) == texts


@pytest.mark.parametrize("protocol", ENCODERS)
def test_output_with_a_number_out_of_range_has_its_text(protocol: str) -> None:
    assert _texts(protocol, [], {"n": TOO_LARGE, "answer": "out"}) == ["out"]
    assert _texts(protocol, [], {"n": TOO_LARGE}) == ['{"n":1e400}']


@pytest.mark.parametrize("protocol", ENCODERS)
def test_state_does_not_grow_with_calls_and_messages(protocol: str) -> None:
    """Copying it takes time, at each event: that of a long run would grow with the square of its length."""
    events = (
        event
        for number in range(4000)
        for event in (
            {"type": "tool_call", "tool_call_id": f"call-{number}", "name": "theirs", "arguments": {}},
            {"type": "tool_result", "tool_call_id": f"other-{number}", "result": 1},
            {"type": "token", "content": "a", "message_id": f"message-{number}"},
        )
    )
    encoder: Any = ENCODERS[protocol]
    _, state = encoder.encode(encoder.start(), log_of(*events))
    if protocol == "responses":  # the output itself has to grow
        state = replace(state, items=replace(state.items, done=(), texts=()))
    if protocol == "mcp":  # and so does the text
        state = replace(state, reply=replace(state.reply, text=GrowingText()))
    assert 50 < str(state).count("-") < 2500


@pytest.mark.parametrize(
    ("finish_reason", "metadata", "reason"),
    [
        (None, {}, "stop"),
        ("stop", {"truncated": "of the agent"}, "stop"),
        ("length", {}, "length"),
        ("max_tokens", {}, "length"),
        ("content_filter", {}, "content_filter"),
        ("content_filter", {"truncated": True}, "length"),
    ],
)
def test_reason_of_the_end(finish_reason: str | None, metadata: dict[str, Any], reason: str) -> None:
    emitted = [token("x", finish_reason="other"), token("y", finish_reason=finish_reason)]
    chat, response, message = [
        _data(protocol, emitted, OUTPUT, metadata)[-1] for protocol in ("chat", "responses", "vercel-ai")
    ]
    assert chat["choices"][0]["finish_reason"] == reason
    assert (response["response"]["incomplete_details"] or {}).get("reason") == {
        "stop": None,
        "length": "max_output_tokens",
        "content_filter": "content_filter",
    }[reason]
    assert message["finishReason"] == reason.replace("_", "-")


def _texts(protocol: str, emitted: list[dict[str, Any]], output: Any) -> list[str]:
    return READERS[protocol](_data(protocol, emitted, output))


def _data(protocol: str, emitted: list[dict[str, Any]], output: Any, metadata: Any = None) -> list[Any]:
    end = {"type": "complete", "output": output, "latency_seconds": 1.0, "metadata": metadata or {}}
    encoder: Any = ENCODERS[protocol]
    frames, _ = encoder.encode(encoder.start(), log_of(*emitted, end=end))
    return [json.loads(message.data) for message in messages_of(frames) if message.data != "[DONE]"]
