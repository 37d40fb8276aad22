"""What each event becomes in the client's message."""

import json
from typing import Any

import msgspec
import pytest

from dockrion.events.control_frames import AuthExpired, Draining, Gap
from dockrion.protocols.vercel_ai.encoder import MessageEncoder
from tests.protocols.logs import RUN_ID, TOO_LARGE, encoded, entry, log_of, messages_of
from tests.protocols.vercel_ai.streams import check_order, chunks_of, message_of

ENCODER = MessageEncoder(RUN_ID, "message-1")
COMPLETE = {"type": "complete", "output": {"answer": "42"}, "latency_seconds": 1.0, "metadata": {}}
SECOND = {
    "type": "started",
    "agent_name": "tested",
    "framework": "custom",
    "attempt": 2,
    "previous": "worker_lost",
}


def token(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "token", "content": text, **fields}


def message(content: Any, role: str = "assistant", **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content, **fields}


def call(call_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_call", "tool_call_id": call_id, "name": "search", **fields}


def result(call_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_call_id": call_id, **fields}


def chunks(
    *emitted: dict[str, Any], end: dict[str, Any] | None = COMPLETE, encoder: Any = ENCODER
) -> list[Any]:
    found = chunks_of(messages_of(encoded(encoder, log_of(*emitted, end=end))[0]))
    check_order(found)
    return found


def parts(*emitted: dict[str, Any], **more: Any) -> list[Any]:
    """Return the parts of the message, without the steps."""
    return [part for part in message_of(chunks(*emitted, **more)) if not part["type"].endswith("-step")]


def types(*emitted: dict[str, Any], **more: Any) -> list[str]:
    return [chunk["type"] for chunk in chunks(*emitted, **more)]


def text(content: str) -> dict[str, str]:
    return {"type": "text", "text": content}


def test_message_starts_with_its_id_and_that_of_the_run() -> None:
    start, step, *_ = chunks()
    assert start == {"type": "start", "messageId": "message-1", "messageMetadata": {"runId": RUN_ID}}
    assert step == {"type": "start-step"}


def test_output_is_the_reply_only_of_a_run_without_another() -> None:
    assert parts() == [text("42")]
    assert parts(encoder=MessageEncoder(RUN_ID, "m", "answer.0")) == [text('{"answer":"42"}')]
    assert parts({"type": "reasoning", "content": "Hm"}) == [{"type": "reasoning", "text": "Hm"}, text("42")]
    assert parts(token("a")) == [text("a")]
    assert parts(message("a")) == [text("a")]
    assert parts(message([IMAGES[0][0]])) == [{"type": "file", "url": "https://a/b", "mediaType": "image/*"}]
    assert parts(token("", finish_reason="stop")) == parts(token("")) == [text("42")]
    assert parts(message("a", role="user")) == [text("42")]
    assert parts(token("a"), SECOND)[-1] == text("42")


def test_output_that_cannot_be_decoded_is_the_reply_as_json() -> None:
    assert parts(end=COMPLETE | {"output": {"a": TOO_LARGE}}) == [text('{"a":1e400}')]


def test_message_is_not_repeated_after_its_tokens() -> None:
    assert parts(token("a", message_id="m1"), message("a", message_id="m1")) == [text("a")]
    assert parts(token("a"), message("a")) == [text("a")]
    assert parts(token("a", message_id="m1"), message("b", message_id="m2")) == [text("a"), text("b")]
    assert parts(token("a"), message("a"), message("b")) == [text("a"), text("b")]
    interleaved = [token("a", message_id="m1"), token("b", message_id="m2"), token("a", message_id="m1")]
    assert parts(*interleaved, message("aa", message_id="m1")) == [text("aa"), text("b")]


def test_text_ends_with_what_follows_in_the_same_message() -> None:
    for following in (
        token("", finish_reason="stop", message_id="m1"),
        {"type": "reasoning", "content": "b", "message_id": "m1"},
        message("a", message_id="m1"),
        call("c1"),
    ):
        assert "text-end" in types(token("a", message_id="m1"), following, end=None), following
    for following in (
        {"type": "reasoning", "content": "b", "message_id": "m2"},
        message("a", message_id="m2"),
        call("c1", source="another"),
        token("b", message_id="m1", source="another"),
    ):
        emitted = (token("a", message_id="m1"), following, token("c", message_id="m1"))
        assert text("ac") in parts(*emitted), following


def test_messages_that_are_open_at_once_are_bounded() -> None:
    many = [token("a", message_id=str(number)) for number in range(40)]
    assert types(*many, end=None).count("text-end") == 8
    assert parts(*many, many[0]) == [text("a")] * 41


def test_step_begins_with_what_follows_the_results_of_all_tools() -> None:
    emitted = [token("a"), call("c1"), call("c2"), result("c1"), result("c2"), token("b"), token("c")]
    found = types(*emitted)
    assert found.count("start-step") == found.count("finish-step") == 2
    second = found.index("start-step", 2)
    assert found[second - 2 : second + 2] == [
        "tool-output-available",
        "finish-step",
        "start-step",
        "text-start",
    ]
    assert types(call("c1"), call("c2"), result("c1"), token("b")).count("start-step") == 1
    elsewhere = token("a", source="another")
    assert types(elsewhere, call("c1", source="one"), result("c1"), token("b")).count("start-step") == 1


def test_tools_are_run_by_the_agent_alone() -> None:
    found = chunks(call("c1", arguments={"q": [1]}), result("c1", result="a\n"), end=None)
    remote = {"providerExecuted": True, "dynamic": True, "toolCallId": "c1"}
    assert found[2:] == [
        {"type": "tool-input-start", "toolName": "search", **remote},
        {"type": "tool-input-available", "toolName": "search", "input": {"q": [1]}, **remote},
        {"type": "tool-output-available", "output": "a\n", **remote},
    ]


@pytest.mark.parametrize(("error", "shown"), [("no\n", "no\n"), ({"a": 1}, '{"a":1}'), (None, "null")])
def test_error_of_a_tool_is_a_text(error: Any, shown: str) -> None:
    *_, failed = chunks(call("c1"), result("c1", result=error, is_error=True), end=None)
    assert (failed["type"], failed["errorText"]) == ("tool-output-error", shown)


def test_result_of_an_unknown_call_brings_the_call() -> None:
    assert parts(result("c1", name="find", result=1)) == [
        {"type": "tool", "name": "find", "input": {}, "output": 1},
        text("42"),
    ]
    assert parts(result("c1"))[0]["name"] == "tool"


def test_tools_without_a_result_end_with_the_run() -> None:
    for end in (COMPLETE, {"type": "error", "error": "no", "code": "MINE"}, {"type": "cancelled"}):
        tool = parts(token("a"), call("c1"), end=end)[1]
        assert tool["error"] == "the run has ended before this tool returned"
    assert types(call("c1"), call("c1")).count("tool-output-error") == 1


def test_terminal_events() -> None:
    assert chunks()[-1] == {"type": "finish", "finishReason": "stop"}
    assert chunks(token("a", finish_reason="length"))[-1]["finishReason"] == "length"
    assert chunks(token("a", finish_reason="content_filter"))[-1]["finishReason"] == "content-filter"
    failed = chunks(
        token("a", finish_reason="length"), end={"type": "error", "error": "no\n", "code": "MINE"}
    )
    assert failed[-2:] == [
        {"type": "error", "errorText": "no\n"},
        {"type": "finish", "finishReason": "error"},
    ]
    assert chunks(end={"type": "cancelled"})[-1] == {"type": "abort"}
    assert chunks(end={"type": "cancelled", "reason": "enough"})[-1] == {"type": "abort", "reason": "enough"}


def test_usage_is_added_up_in_the_metadata() -> None:
    large = 2**63
    emitted: list[dict[str, Any]] = [
        {"type": "usage", "input_tokens": 3},
        {"type": "usage", "output_tokens": large, "total_tokens": large},
    ]
    metadata = [
        each["messageMetadata"]["usage"] for each in chunks(*emitted) if each["type"] == "message-metadata"
    ]
    assert metadata == [
        {"inputTokens": 3, "outputTokens": 0, "totalTokens": 3},
        {"inputTokens": 3, "outputTokens": large, "totalTokens": large + 3},
    ]


def test_events_without_a_part_of_their_own_are_data() -> None:
    asked = {"request_id": "r1", "prompt": "Sure?", "schema": None, "expires_at": None}
    emitted: list[dict[str, Any]] = [
        {"type": "progress", "step": "s", "progress": 0.5},
        {"type": "step", "node_name": "n"},
        {"type": "checkpoint", "name": "c", "data": TOO_LARGE},
        {"type": "input_requested", **asked},
        {"type": "input_received", "request_id": "r1", "value": True},
        {"type": "custom:weather", "request_id": 1, "place": "Rome"},
        {"type": "heartbeat"},
    ]
    data = [each for each in chunks(*emitted, end=None) if each["type"].startswith("data-")]
    progress, step, checkpoint, requested, received, weather = data
    assert progress == {
        "type": "data-progress",
        "id": "progress",
        "data": {"step": "s", "progress": 0.5, "message": None},
    }
    assert (step["type"], step["data"]["node_name"], "id" in step) == ("data-step", "n", False)
    assert (checkpoint["type"], checkpoint["data"]["name"]) == ("data-checkpoint", "c")
    assert requested == {"type": "data-input_requested", "id": "r1", "data": asked}
    assert received == {
        "type": "data-input_received",
        "id": "r1",
        "data": {"request_id": "r1", "value": True, "source": None},
    }
    assert weather == {"type": "data-weather", "data": {"request_id": 1, "place": "Rome"}}


def test_another_attempt_goes_on_in_a_step_of_its_own() -> None:
    emitted = [
        token("a", message_id="m1"),
        call("c1"),
        SECOND,
        call("c1"),
        result("c1"),
        token("b", message_id="m1"),
    ]
    found = parts(*emitted, message("b", message_id="m1"))
    assert [part.get("text") or part["type"] for part in found] == ["a", "tool", "data-attempt", "tool", "b"]
    assert found[1]["error"]
    assert found[2]["data"] == {"attempt": 2, "previous": "worker_lost"}
    assert "error" not in found[3]

    assert types(call("c1"), result("c1"), SECOND, token("a")).count("start-step") == 2


def test_gap_is_said_and_what_is_open_ends() -> None:
    _, state = encoded(ENCODER, log_of(token("a"), call("c1")))
    frames, gone_on = ENCODER.encode_gap(state, Gap(4, 9))
    rest, _ = encoded(
        ENCODER,
        [entry(9, "tool_result", {"tool_call_id": "c1"}), entry(10, "complete", COMPLETE_FIELDS)],
        gone_on,
    )
    found = chunks_of(messages_of(frames + rest))
    assert [each["type"] for each in found[:4]] == [
        "tool-output-error",
        "finish-step",
        "data-gap",
        "start-step",
    ]
    assert found[2]["data"] == {"requested": 4, "first_available": 9}
    before = chunks_of(messages_of(encoded(ENCODER, log_of(token("a"), call("c1")))[0]))
    check_order([*before, *found])
    frames, gone_on = ENCODER.encode_gap(ENCODER.start(), Gap(1, 9))
    check_order(chunks_of(messages_of(frames + encoded(ENCODER, [entry(9, "cancelled", {})], gone_on)[0])))


COMPLETE_FIELDS = {name: value for name, value in COMPLETE.items() if name != "type"}


@pytest.mark.parametrize("notice", [Draining(), AuthExpired()], ids=lambda each: each.type)
def test_stream_that_ends_before_the_run_says_so(notice: Any) -> None:
    _, state = encoded(ENCODER, log_of(token("a")))
    messages = messages_of(ENCODER.encode_notice(state, notice))
    assert messages[-1].data == "[DONE]"
    end, error = chunks_of(messages)
    assert end["type"] == "text-end"
    assert error == {"type": "error", "errorText": notice.message}


IMAGES: list[tuple[dict[str, Any], str, str]] = [
    ({"type": "image_url", "image_url": {"url": "https://a/b"}}, "https://a/b", "image/*"),
    ({"type": "image_url", "image_url": "data:image/png;base64,AA"}, "data:image/png;base64,AA", "image/png"),
    ({"type": "image", "base64": "AA", "mime_type": "image/png"}, "data:image/png;base64,AA", "image/png"),
    ({"type": "file", "url": "http://a/b", "mime_type": "text/csv"}, "http://a/b", "text/csv"),
    (
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}},
        "data:application/pdf;base64,AA",
        "application/pdf",
    ),
    ({"type": "image", "source": {"type": "url", "url": "https://a/b"}}, "https://a/b", "image/*"),
    ({"type": "video", "url": "https://a/b", "more": TOO_LARGE}, "https://a/b", "video/*"),
    ({"type": "other", "url": "https://a/b"}, "https://a/b", "application/octet-stream"),
]


@pytest.mark.parametrize(("block", "url", "media_type"), IMAGES)
def test_files_of_messages_are_shown(block: dict[str, Any], url: str, media_type: str) -> None:
    assert parts(token("a"), message([{"type": "text", "text": "a"}, block])) == [
        text("a"),
        {"type": "file", "url": url, "mediaType": media_type},
    ]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "url": "javascript:alert(1)"},
        {"type": "image", "url": "/etc/passwd"},
        {"type": "image", "url": 1},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": 1},
        {"type": "text", "annotations": [{"url": "javascript:alert(1)"}, {}]},
        {"type": "text", "annotations": 1},
        {"type": 1},
        {},
    ],
    ids=msgspec.json.encode,
)
def test_other_blocks_are_left_out(block: dict[str, Any]) -> None:
    assert parts(message([block, {"type": "text", "text": "a"}])) == [text("a")]


def test_citations_are_sources() -> None:
    cited = {"type": "citation", "url": "https://a/b", "title": "A"}
    block = {"type": "text", "text": "a", "annotations": [cited, {"url": "https://c"}]}
    assert parts(message([block])) == [
        text("a"),
        {"type": "source-url", "sourceId": "https://a/b", "url": "https://a/b", "title": "A"},
        {"type": "source-url", "sourceId": "https://c", "url": "https://c"},
    ]


def test_json_that_clients_refuse_is_sent_as_text() -> None:
    hostile = [{"__proto__": {"a": 1}}, {"constructor": {"prototype": {}}}]
    emitted: list[dict[str, Any]] = [
        call("c1", arguments={"a": hostile[0]}),
        result("c1", result=hostile[1]),
        {"type": "custom:x", "__proto__": 1},
    ]
    tool, custom = parts(*emitted, end=None)
    assert (tool["input"], tool["output"]) == (
        '{"a":{"__proto__":{"a":1}}}',
        '{"constructor":{"prototype":{}}}',
    )
    assert custom["data"] == '{"__proto__":1}'
    quoted = {"said": '"__proto__":', "constructors": 1}
    assert parts(call("c1", arguments=quoted), end=None)[0]["input"] == quoted


def test_an_id_is_escaped() -> None:
    hostile = '"}\n\ndata: [DONE]\n\n'
    start, *_ = chunks(encoder=MessageEncoder(hostile, hostile))
    assert start["messageId"] == start["messageMetadata"]["runId"] == hostile
    assert json.loads(json.dumps(start)) == start
