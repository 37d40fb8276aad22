"""What AG-UI clients send, as a conversation."""

from typing import Any

import msgspec
import pytest
from ag_ui.core import RunAgentInput as TheirInput

from dockrion.errors import InvalidRequest
from dockrion.protocols.ag_ui.requests import MAX_ID, MAX_TOOLS, RunAgentInput, conversation_of
from dockrion.protocols.numbered_frames import Cursor, parse_cursor

IDS = {"threadId": "t", "runId": "r"}
DATA = {"type": "data", "value": "QUJD"}
URL = {"type": "url", "value": "https://example.com/x"}
FILE = {"type": "file", "value": "file-1", "provider": "p"}


def asked(*messages: dict[str, Any], **fields: Any) -> RunAgentInput:
    """Return an input that the protocol's own package accepts, too."""
    body = {**IDS, "messages": [{"id": "m"} | message for message in messages], **fields}
    TheirInput.model_validate(body)
    return msgspec.convert(body, RunAgentInput)


def converted(message: dict[str, Any]) -> dict[str, Any]:
    (found,) = conversation_of(asked(message)).messages
    return found


def part(sent: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "user", "content": [sent]}
    (found,) = conversation_of(msgspec.convert({**IDS, "messages": [message]}, RunAgentInput)).messages
    return dict(found["content"][0])


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_messages_of_text(role: str) -> None:
    expected = {"role": "system" if role == "developer" else role, "content": "Hi"}
    assert converted({"role": role, "content": "Hi", "name": "Ann"}) == expected | {"name": "Ann"}
    assert converted({"role": role, "content": "Hi", "name": None}) == expected


def test_text_of_a_user() -> None:
    for content in ("Hi", [{"type": "text", "text": "Hi"}]):
        text = {"role": "user", "content": content}
        assert converted(text | {"metadata": {"a": 1}}) == text


def test_tool_calls_and_results() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    assert converted({"role": "assistant", "toolCalls": [call]}) == {
        "role": "assistant",
        "content": "",
        "tool_calls": [call],
    }
    result = {"role": "tool", "toolCallId": "c1", "content": "no"}
    assert converted(result | {"error": "network"}) == {
        "role": "tool",
        "tool_call_id": "c1",
        "content": [{"type": "text", "text": "no"}, {"type": "text", "text": "\nnetwork"}],
    }


def test_activities_and_reasoning_are_left_out() -> None:
    activity = {"role": "activity", "activityType": "PLAN", "content": {}}
    reasoning = {"role": "reasoning", "content": "hm"}
    found = conversation_of(asked(activity, reasoning, {"role": "user", "content": "Hi"}))
    assert [message["role"] for message in found.messages] == ["user"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (
            {"type": "image", "source": DATA | {"mimeType": "image/png"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
        ),
        ({"type": "image", "source": URL}, {"type": "image_url", "image_url": {"url": URL["value"]}}),
        ({"type": "image", "source": FILE}, {"type": "file", "file": {"file_id": "file-1"}}),
        (
            {"type": "audio", "source": DATA | {"mimeType": "audio/mpeg"}},
            {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
        ),
        (
            {"type": "audio", "source": DATA | {"mimeType": "audio/wav"}},
            {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        ),
        (
            {"type": "audio", "source": DATA | {"mimeType": "audio/ogg"}},
            {"type": "file", "file": {"file_data": "data:audio/ogg;base64,QUJD"}},
        ),
        (
            {"type": "video", "source": DATA | {"mimeType": "video/mp4"}},
            {"type": "file", "file": {"file_data": "data:video/mp4;base64,QUJD"}},
        ),
        (
            {"type": "document", "source": DATA | {"mimeType": "application/pdf"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD"}},
        ),
    ],
    ids=["image", "image by URL", "file", "mp3", "wav", "ogg", "video", "document"],
)
def test_parts_of_a_multimodal_message(sent: dict[str, Any], expected: dict[str, Any]) -> None:
    assert part(sent) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (
            {"mimeType": "image/png", "url": "https://x"},
            {"type": "image_url", "image_url": {"url": "https://x"}},
        ),
        ({"mimeType": "image/png", "id": "f"}, {"type": "file", "file": {"file_id": "f"}}),
        (
            {"mimeType": "audio/wav", "data": "QUJD"},
            {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        ),
    ],
    ids=["url", "id", "data"],
)
def test_binary_parts_of_earlier_versions(sent: dict[str, Any], expected: dict[str, Any]) -> None:
    assert part({"type": "binary"} | sent) == expected


@pytest.mark.parametrize(
    "sent",
    [{"type": kind, "source": URL} for kind in ("audio", "video", "document")]
    + [{"type": "binary", "mimeType": "image/png"}],
    ids=["audio", "video", "document", "nothing"],
)
def test_a_part_without_an_equivalent_is_refused(sent: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        part(sent)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "oracle", "content": ""}]},
        {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
        {"messages": [{"role": "user"}]},
        {"messages": []} | {"threadId": "x" * (MAX_ID + 1)},
        {"messages": [], "tools": [{"name": "look_up"}] * (MAX_TOOLS + 1)},
        {"messages": [], "resume": [{"interruptId": "q", "status": "maybe"}]},
        {},
    ],
    ids=["role", "part", "no content", "long id", "tools", "status", "no messages"],
)
def test_what_is_not_of_the_protocol_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(IDS | body, RunAgentInput)


def test_tools_are_functions() -> None:
    tools = [
        {"name": "f", "description": "d", "parameters": {"type": "object"}},
        {"name": "g", "description": ""},
    ]
    assert conversation_of(asked(tools=tools)).tools == [
        {"type": "function", "function": tools[0]},
        {"type": "function", "function": tools[1]},
    ]
    assert conversation_of(asked(tools=None)).tools == []


def test_other_fields_have_their_names() -> None:
    assert conversation_of(asked()).fields == IDS
    given: dict[str, Any] = {"state": None, "context": [], "forwardedProps": {"a": 1}}
    later: dict[str, Any] = {"protocolVersion": "1.7", "parentRunId": "p", "somethingNew": 1}
    assert conversation_of(asked(**given, **later)).fields == IDS | given


@pytest.mark.parametrize(
    ("text", "cursor"),
    [("7", Cursor(7)), ("7.2", Cursor(7, 2)), ("0", Cursor(0)), ("9" * 18, Cursor(10**18 - 1))],
)
def test_cursors(text: str, cursor: Cursor) -> None:
    assert parse_cursor(text) == cursor


@pytest.mark.parametrize("text", ["", "7.", ".7", "-1", "7.2.1", "x", "9" * 19, "\u0667", "7 ", "1e3"])
def test_malformed_cursors(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_cursor(text)
