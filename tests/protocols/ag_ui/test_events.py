"""Which events of AG-UI the events of a run become."""

from typing import Any

import pytest

from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.ag_ui.writer import Options
from tests.protocols.ag_ui.streams import (
    ASKED,
    ENCODER,
    END,
    FINISHED,
    NAMES,
    STARTED,
    Events,
    call,
    events_of,
    kinds,
    result,
    said,
    stream_of,
    texts_of,
    token,
    told,
)
from tests.protocols.ag_ui.verifier import verify
from tests.protocols.logs import check_encoder, log_of


def test_tokens_of_one_message_are_one_message() -> None:
    ids = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "run-1:m:m1"}
    assert told(token("Hel", message_id="m1"), token("lo", message_id="m1")) == [
        {"type": "TEXT_MESSAGE_START", "messageId": "run-1:m:m1", "role": "assistant"},
        ids | {"delta": "Hel"},
        ids | {"delta": "lo"},
    ]


def test_messages_of_several_sources_are_open_at_once() -> None:
    found = stream_of(
        *(token(text, source=source) for text, source in (("a", "x"), ("1", "y"), ("b", "x"), ("2", "y")))
    )
    assert kinds(found)[1:5] == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT"] * 2
    assert list(texts_of(found).values()) == ["ab", "12"]


def test_a_source_that_goes_on_to_something_else_ends_its_message() -> None:
    found = told(token("a"), call(), token("b"), {"type": "reasoning", "content": "c"}, token("d"))
    assert kinds(found) == [
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
        *("REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT"),
        *("REASONING_MESSAGE_END", "REASONING_END"),
        *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT"),
    ]
    assert list(texts_of(found).values()) == ["a", "b", "c", "d"]


def test_a_finish_reason_ends_the_message_and_empty_tokens_are_nothing() -> None:
    found = told(token(""), token("a"), token("", finish_reason="stop"), token("", finish_reason="stop"))
    assert kinds(found) == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]
    assert kinds(told(token("a"), token("b", finish_reason="stop")))[-1] == "TEXT_MESSAGE_END"


@pytest.mark.parametrize(
    "emitted",
    [
        [token("Hi", message_id="m1"), said("Hi", message_id="m1")],
        [token("Hi"), said("Hi")],
        [token("Hi", message_id="m1", finish_reason="stop"), said("Hi")],
        [token("Hi", message_id="m1"), call(), result(), said("Hi", message_id="m1")],
        [said("Hi", message_id="m1"), said("Hi", message_id="m1")],
        [said([{"type": "text", "text": "H"}, {"type": "image"}, {"type": "text", "text": "i"}], role="ai")],
        [said("Hello", role="user"), said("{}", role="tool"), said("Hi")],
    ],
    ids=["ids", "no ids", "message without id", "after a tool", "twice", "blocks", "other roles"],
)
def test_a_message_is_written_once(emitted: list[dict[str, Any]]) -> None:
    found = stream_of(*emitted)
    assert list(texts_of(found).values()) == ["Hi"]
    assert kinds(found).count("TEXT_MESSAGE_END") == 1


def test_another_message_after_tokens_is_written() -> None:
    found = stream_of(token("Hi", message_id="m1"), said("Bye", message_id="m2", name="Ann"))
    assert list(texts_of(found).values()) == ["Hi", "Bye"]
    assert [each.get("name") for each in found if each["type"] == "TEXT_MESSAGE_START"] == [None, "Ann"]
    assert list(texts_of(stream_of(token("Hi"), call(), said("Bye"))).values()) == ["Hi", "Bye"]


def test_a_tool_call_belongs_to_its_message() -> None:
    found = told(token("a", message_id="m1"), call(arguments={"q": "x"}, message_id="m1"))
    assert found[3:] == [
        {
            "type": "TOOL_CALL_START",
            "toolCallId": "c1",
            "toolCallName": "search",
            "parentMessageId": "run-1:m:m1",
        },
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c1", "delta": '{"q":"x"}'},
        {"type": "TOOL_CALL_END", "toolCallId": "c1"},
    ]


@pytest.mark.parametrize(
    ("arguments", "text"), [(None, "{}"), ('{"q":', '{"q":'), ([1], "[1]"), ({"q": "\n"}, '{"q":"\\n"}')]
)
def test_arguments_are_json_text(arguments: Any, text: str) -> None:
    assert told(call(arguments=arguments))[1]["delta"] == text


@pytest.mark.parametrize(("value", "text"), [("fine", "fine"), ({"n": 1}, '{"n":1}'), (None, "")])
def test_results_are_text(value: Any, text: str) -> None:
    written = {"type": "TOOL_CALL_RESULT", "messageId": "run-1:3", "toolCallId": "c1", "role": "tool"}
    assert told(call(), result(result=value))[3:] == [written | {"content": text}]
    failed = told(call(), result(result=value, is_error=True))[3]
    assert failed == written | {"content": text, "metadata": {"isError": True}}


def test_a_call_that_is_reported_again_is_not_written_again() -> None:
    assert kinds(told(call(), call(), result(), result())) == [
        *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"),
    ]


def test_calls_that_the_client_answers_are_the_reply() -> None:
    found = stream_of(call("c1"), call("c2"), result("c2"))
    assert texts_of(found) == {}
    assert found[-1]["outcome"] == {"type": "success"}
    assert list(texts_of(stream_of(call("c1"), result("c1"))).values()) == ["4"]


@pytest.mark.parametrize(
    ("output", "path", "text"),
    [({"answer": "4"}, None, "4"), ({"a": [{"b": "5"}]}, "a.0.b", "5"), ("", None, None), (7, None, "7")],
)
def test_an_output_is_the_reply_of_an_agent_that_has_said_nothing(
    output: Any, path: str | None, text: str | None
) -> None:
    encoder = RunEncoder(NAMES, Options(output_path=path))
    found = events_of(check_encoder(encoder, log_of({"type": "heartbeat"}, end=END | {"output": output})))
    assert texts_of(found) == ({} if text is None else {"run-1:3": text})
    assert found[-1] == FINISHED | {"result": output, "outcome": {"type": "success"}}


def test_an_agent_that_has_spoken_has_replied() -> None:
    assert list(texts_of(stream_of(token("Hi"))).values()) == ["Hi"]


def test_steps_begin_and_end_when_they_have_ended() -> None:
    assert told({"type": "step", "node_name": "a"}) == [
        {"type": "STEP_STARTED", "stepName": "a"},
        {"type": "STEP_FINISHED", "stepName": "a"},
    ]


@pytest.mark.parametrize(
    ("emitted", "written"),
    [
        ({"type": "custom:values", "data": [1]}, {"type": "STATE_SNAPSHOT", "snapshot": [1]}),
        ({"type": "custom:values", "a": 1, "b": 2}, {"type": "STATE_SNAPSHOT", "snapshot": {"a": 1, "b": 2}}),
        (
            {"type": "custom:values", "data": [1], "source": "sub"},
            {"type": "CUSTOM", "name": "values", "value": {"data": [1], "source": "sub"}},
        ),
        ({"type": "custom:mood", "x": 1}, {"type": "CUSTOM", "name": "mood", "value": {"x": 1}}),
        (
            {"type": "checkpoint", "name": "a", "data": {"b": 1}},
            {"type": "CUSTOM", "name": "dockrion.checkpoint", "value": {"name": "a", "data": {"b": 1}}},
        ),
    ],
    ids=["graph", "own state", "subgraph", "custom", "checkpoint"],
)
def test_state_and_what_ag_ui_has_no_event_for(emitted: dict[str, Any], written: dict[str, Any]) -> None:
    assert told(emitted) == [written]


def test_usage_is_summed_by_model_over_an_ag_ui_run() -> None:
    used: Events = [
        {"type": "usage", "model": "a", "input_tokens": 1, "output_tokens": 2},
        {"type": "usage", "model": "a", "input_tokens": 3},
        {"type": "usage", "output_tokens": 4},
        {"type": "usage", "model": "b", "input_tokens": 2**53, "output_tokens": 1},
        {"type": "usage", "model": "c"},
    ]
    found = stream_of(*used, ASKED, used[0], end={"type": "error", "error": "x", "code": "MINE"})
    assert [each["usage"] for each in found if "usage" in each] == [
        [
            {"model": "a", "inputTokens": 4, "outputTokens": 2},
            {"outputTokens": 4},
            {"model": "b", "outputTokens": 1},
        ],
        [{"model": "a", "inputTokens": 1, "outputTokens": 2}],
    ]
    many = stream_of(*({"type": "usage", "model": f"m{n}", "input_tokens": 1} for n in range(120)))[-1]
    assert len(many["usage"]) == 101
    assert many["usage"][-1] == {"model": "other", "inputTokens": 20}


def test_a_question_is_an_interrupt_and_ends_the_stream() -> None:
    schema, expires_at = {"type": "boolean"}, "2026-11-22T10:30:05.123456Z"
    entries = log_of(token("a"), ASKED | {"schema": schema, "expires_at": expires_at}, token("b"))
    found = events_of(check_encoder(ENCODER, entries))
    verify(found)
    interrupt = {
        "id": "run-1:q1",
        "reason": "input_required",
        "message": "Send it?",
        "responseSchema": schema,
        "expiresAt": expires_at,
    }
    assert found[-2:] == [
        {"type": "TEXT_MESSAGE_END", "messageId": "run-1:2"},
        FINISHED | {"outcome": {"type": "interrupt", "interrupts": [interrupt]}},
    ]


def test_what_follows_an_answered_question_is_another_run() -> None:
    found = stream_of(token("a"), ASKED, {"type": "input_received", "request_id": "q1", "value": 1})
    finished = kinds(found).index("RUN_FINISHED")
    assert found[finished + 1] == STARTED
    assert found[finished + 2]["name"] == "dockrion.input_received"
    assert list(texts_of(found).values()) == ["a", "4"]  # each run has a reply of its own


def test_reply_of_a_graph_that_was_said_before_the_question_is_not_said_again() -> None:
    def output(*messages: Any) -> dict[str, Any]:
        return END | {"output": {"messages": [{"type": "ai", "content": "Hi", **each} for each in messages]}}

    spoken = [token("Hi", message_id="m1"), ASKED, {"type": "input_received", "request_id": "q1"}]
    assert list(texts_of(stream_of(*spoken, end=output({"id": "m1"}))).values()) == ["Hi"]
    for other in ({"id": "m2"}, {"id": 7}, {}):
        assert list(texts_of(stream_of(*spoken, end=output({"id": "m1"}, other))).values()) == ["Hi", "Hi"]


def test_an_error_and_a_cancellation() -> None:
    error = {"type": "error", "error": "it broke", "code": "MINE", "details": [1]}
    assert stream_of(token("a"), end=error)[-2:] == [
        {"type": "TEXT_MESSAGE_END", "messageId": "run-1:2"},
        {"type": "RUN_ERROR", "message": "it broke", "code": "MINE", "metadata": {"details": [1]}},
    ]
    cancelled = stream_of(end={"type": "cancelled", "reason": "enough"})
    assert cancelled[-1] == FINISHED | {"outcome": {"type": "cancelled"}, "metadata": {"reason": "enough"}}
    assert "metadata" not in stream_of(end={"type": "cancelled"})[-1]


@pytest.mark.parametrize(("reason", "end"), [("enough", ": enough"), (None, "")])
def test_a_cancellation_is_an_error_before_1_0(reason: str | None, end: str) -> None:
    earlier = RunEncoder(NAMES, Options(before_1_0=True))
    *_, last = events_of(check_encoder(earlier, log_of(end={"type": "cancelled", "reason": reason})))
    assert last == {"type": "RUN_ERROR", "message": f"the run was cancelled{end}", "code": "CANCELLED"}
