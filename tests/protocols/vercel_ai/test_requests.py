"""UI messages as messages of a conversation."""

from typing import Any

import msgspec
import pytest

from dockrion.dockfile.agent_structs import ChatSpec
from dockrion.errors import InvalidRequest
from dockrion.protocols.conversation import payload_of
from dockrion.protocols.vercel_ai.requests import ChatRequest, conversation_of


def converted(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """Return the messages that an agent gets."""
    request = msgspec.convert({"messages": list(messages), **fields}, ChatRequest)
    payload = payload_of(conversation_of(request, {}), ChatSpec(), None)
    return list(payload["messages"])


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def assistant(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "parts": list(parts), "id": "a1", "metadata": {"runId": "r"}}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content, "state": "done", "providerMetadata": {}}


def file(url: str, media_type: str, **fields: Any) -> dict[str, Any]:
    return {"type": "file", "url": url, "mediaType": media_type, **fields}


def tool(call: str, state: str = "output-available", **fields: Any) -> dict[str, Any]:
    return {"type": "tool-search", "toolCallId": call, "state": state, "input": {"q": 1}, **fields}


def called(call: str, arguments: str = '{"q":1}', name: str = "search") -> dict[str, Any]:
    return {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": content}


STEP = {"type": "step-start"}


def test_texts_become_one_text() -> None:
    assert converted(
        {"role": "system", "parts": [text("Be "), text("kind.")]}, user(text("Hi"), text(""))
    ) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
    ]
    assert converted(user(text(""))) == [{"role": "user", "content": ""}]


def test_files_become_content_parts() -> None:
    picture, sound = "data:image/png;base64,AA", "data:audio/wav;base64,BB"
    (message,) = converted(
        user(
            text("What?"),
            file(picture, "image/png", filename="a.png"),
            file(sound, "audio/wav"),
            file("https://a/b.wav", "audio/wav"),
            file("data:application/pdf;base64,CC", "application/pdf", filename="c.pdf"),
        )
    )
    assert message["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "input_audio", "input_audio": {"data": "BB", "format": "wav"}},
        {"type": "file", "file": {"file_data": "https://a/b.wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,CC", "filename": "c.pdf"}},
    ]


def test_calls_of_tools_become_calls_and_results_of_their_step() -> None:
    dynamic = tool("c3", type="dynamic-tool", toolName="find", input=None, output={"a": [1]})
    assert converted(
        assistant(
            STEP,
            {"type": "reasoning", "text": "Hm"},
            text("I look."),
            tool("c1", output="found"),
            tool("c2", "output-error", input=None, rawInput="{", errorText="no network"),
            STEP,
            dynamic,
            text("Done."),
            tool("c4", "output-denied", approval={"id": "x", "approved": False, "reason": "too late"}),
            tool("c5", "output-denied", approval={"id": "x", "approved": False}),
        ),
        user(text("Thanks")),
    ) == [
        {"role": "assistant", "content": "I look.", "tool_calls": [called("c1"), called("c2", '"{"')]},
        result("c1", "found"),
        result("c2", "no network"),
        {"role": "assistant", "content": "", "tool_calls": [called("c3", "{}", "find")]},
        result("c3", '{"a":[1]}'),
        {"role": "assistant", "content": "Done.", "tool_calls": [called("c4"), called("c5")]},
        result("c4", "too late"),
        result("c5", "the user has denied this call"),
        {"role": "user", "content": "Thanks"},
    ]


def test_each_step_is_a_message() -> None:
    said = [{"role": "assistant", "content": each} for each in "ab"]
    assert converted(assistant(STEP, text("a"), STEP, text("b"))) == said


UNFINISHED = ("input-streaming", "input-available", "approval-requested", "approval-responded")


def test_what_models_would_refuse_or_not_need_is_left_out() -> None:
    ignored: list[dict[str, Any]] = [
        {"type": "data-progress", "id": "progress", "data": {}},
        {"type": "source-url", "sourceId": "1", "url": "https://a"},
        {"type": "source-document", "sourceId": "1"},
        {"type": "reasoning", "text": "Hm"},
    ]
    unfinished = [tool("c1", state, input=None) for state in UNFINISHED]
    assert converted(assistant(STEP, *ignored, *unfinished), assistant(), user(text("Hi"), *ignored)) == [
        {"role": "user", "content": "Hi"}
    ]


def test_last_answer_is_left_out_when_it_is_given_anew() -> None:
    messages = [user(text("Hi")), assistant(text("Hello"))]
    assert len(converted(*messages)) == 2
    assert converted(*messages, trigger="regenerate-message", messageId="a1") == [
        {"role": "user", "content": "Hi"}
    ]
    assert converted(messages[0], trigger="regenerate-message") == [{"role": "user", "content": "Hi"}]
    assert converted(messages[0], trigger="of a later version") == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({}, "no type"),
        ({"type": None}, "no type"),
        ({"type": "hologram"}, "unknown type hologram"),
        ({"type": "text"}, "missing required field `text`"),
        ({"type": "text", "text": 1}, "got `int`"),
        ({"type": "file", "url": "data:,"}, "missing required field `mediaType`"),
        ({"type": "tool-search", "state": "output-available"}, "toolCallId"),
    ],
    ids=lambda each: msgspec.json.encode(each).decode(),
)
def test_malformed_parts_are_refused(part: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        converted(user(text("Hi"), part))
    assert str(refused.value).startswith("messages[0].parts[1]")


def test_conversation_without_messages_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no messages"):
        converted()
