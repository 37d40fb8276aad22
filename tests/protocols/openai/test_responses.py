"""Responses as OpenAI's Responses API has them: the events of a run, one encoder, any reader."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response

from dockrion.events import Entry
from dockrion.events.control_frames import Draining, Gap
from dockrion.protocols.openai.response_items import MAX_OPEN
from dockrion.protocols.openai.response_object import ResponseInfo
from dockrion.protocols.openai.responses import ResponseEncoder, frames_after
from dockrion.wire.sse import Message
from tests.protocols.logs import (
    RUN_ID,
    check_encoder,
    check_resuming,
    encoded,
    entry,
    log_of,
    logs,
    messages_of,
)
from tests.protocols.openai.response_series import check_series

INFO = ResponseInfo(RUN_ID, 1_000, b'"tested"', "a-model", client_tools=frozenset({"mine"}))
ENCODER = ResponseEncoder(INFO)
DONE: dict[str, Any] = {"type": "complete", "output": None, "latency_seconds": 1.0, "metadata": {}}


def _token(content: str, **fields: Any) -> dict[str, Any]:
    return {"type": "token", "content": content, **fields}


def _message(content: Any, role: str = "assistant", **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content, **fields}


def _call(call_id: str, name: str = "search", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_call", "tool_call_id": call_id, "name": name, "arguments": {"q": 1}, **fields}


def _result(call_id: str, result: Any = "found", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_call_id": call_id, "result": result, **fields}


def _events(*emitted: dict[str, Any], end: dict[str, Any] | None = DONE) -> list[Any]:
    frames, _ = encoded(ENCODER, log_of(*emitted, end=end))
    return check_series(messages_of(ENCODER.opening() + frames), ended=end is not None)


def _response(*emitted: dict[str, Any], end: dict[str, Any] | None = DONE) -> Response:
    """Return the response that a log comes to, checked to be the one in the last event."""
    _, state = encoded(ENCODER, log_of(*emitted, end=end))
    response = Response.model_validate_json(ENCODER.response(state))
    if end is not None:
        assert _events(*emitted, end=end)[-1].response == response
    return response


@given(logs(), st.booleans())
def test_logs_become_what_the_sdk_expects_in_pages_and_resumed(
    entries: list[Entry], background: bool
) -> None:
    encoder = ResponseEncoder(msgspec.structs.replace(INFO, background=background))
    check_encoder(encoder, entries)
    check_resuming(encoder, entries, lambda message: frames_after(_number(message)))
    frames, state = encoded(encoder, entries)
    check_series(messages_of(encoder.opening() + frames), ended=bool(state.final))
    Response.model_validate_json(encoder.response(state))
    assert Response.model_validate_json(encoder.response(encoder.start())).status in ("queued", "in_progress")


@given(logs())
def test_what_is_left_after_a_gap_is_a_response(entries: list[Entry]) -> None:
    encoder = ResponseEncoder(INFO, after_gap=True)
    check_encoder(encoder, entries)
    _, state = encoder.encode_gap(encoder.start(), Gap(1, 2))
    _, state = encoded(encoder, entries[1:], state)
    Response.model_validate_json(encoder.response(state))


def _number(message: Message) -> int:
    return int(msgspec.json.decode(message.data)["sequence_number"])


def test_series_of_a_text() -> None:
    events = _events(_token("Hel"), _token("lo", finish_reason="stop"))
    assert [event.type.removeprefix("response.") for event in events] == [
        *("created", "queued", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta", "output_text.done"),
        *("content_part.done", "output_item.done", "completed"),
    ]
    assert [events[0].response.status, events[2].response.status] == ["queued", "in_progress"]
    assert events[-1].response.id == f"resp_{RUN_ID}"
    assert events[-1].response.output_text == "Hello"
    assert events[-1].response.completed_at is not None


def test_series_of_reasoning_and_of_a_tool_that_the_agent_calls() -> None:
    events = _events({"type": "reasoning", "content": "Hm"}, _call("c1"), _result("c1", [1]), _token("Hello"))
    types = [event.type.removeprefix("response.") for event in events]
    assert types[3:18] == [
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
        *("output_item.added", "mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done"),
        *("mcp_call.completed", "output_item.done", "output_item.added", "content_part.added"),
        "output_text.delta",
    ]
    reasoning, call, message = events[-1].response.output
    assert reasoning.summary[0].text == "Hm"
    assert (call.type, call.name, call.arguments, call.output) == ("mcp_call", "search", '{"q":1}', "[1]")
    assert (call.server_label, call.status, call.error) == ("tested", "completed", None)
    assert message.content[0].text == "Hello"


def test_tool_that_fails_and_tool_without_a_result() -> None:
    failed, open_ = _response(_call("c1"), _call("c2"), _result("c1", "no", is_error=True)).output
    assert failed.type == open_.type == "mcp_call"
    assert (failed.status, failed.output, open_.status, open_.output) == ("failed", None, "incomplete", None)
    assert failed.error.content == [{"type": "text", "text": "no"}]  # type: ignore[union-attr]


def test_call_of_a_tool_of_the_client_is_a_function_call_unless_the_agent_executes_it() -> None:
    events = _events(_call("c1", "mine"), _call("c2", "mine"), _result("c1"))
    executed, call = events[-1].response.output
    assert (executed.type, executed.output) == ("mcp_call", "found")
    assert (call.type, call.call_id, call.arguments) == ("function_call", "c2", '{"q":1}')
    assert [event.type for event in events[-5:-1]] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]


def test_nobody_has_to_execute_the_calls_of_a_run_that_fails() -> None:
    end = {"type": "error", "error": "no", "code": "AGENT_EXECUTION_ERROR"}
    assert not _response(_call("c1", "mine"), end=end).output


def test_texts_of_branches_are_open_at_the_same_time() -> None:
    response = _response(
        _token("a", message_id="m1", source="x"),
        _token("1", message_id="m2", source="y"),
        _token("b", message_id="m1", source="x"),
        _token("2", message_id="m2", source="y"),
    )
    assert [_text(item) for item in response.output] == ["ab", "12"]


def _text(item: Any) -> str:
    return "".join(part.text for part in item.content)


@pytest.mark.parametrize(
    ("emitted", "texts"),
    [
        pytest.param([_message("whole")], ["whole"], id="alone"),
        pytest.param([_token("whole"), _message("whole")], ["whole"], id="after-tokens"),
        pytest.param([_token("a"), _message("a"), _message("b")], ["a", "b"], id="another-after-tokens"),
        pytest.param(
            [_token("a", message_id="m"), _message("a", message_id="m")], ["a"], id="after-its-tokens"
        ),
        pytest.param(
            [_token("a", message_id="m"), _message("b", message_id="n")], ["a", "b"], id="of-another"
        ),
        pytest.param([_message("to the agent", role="user")], [], id="of-a-user"),
        pytest.param([_message([{"type": "text", "text": "b"}, {"type": "x"}])], ["b"], id="blocks"),
        pytest.param([_message(""), _token("")], [], id="empty"),
    ],
)
def test_messages_are_shown_once(emitted: list[dict[str, Any]], texts: list[str]) -> None:
    response = _response(*emitted)
    assert [_text(item) for item in response.output] == texts


def test_texts_without_an_id_are_separate_before_and_after_a_tool_call() -> None:
    response = _response(_token("Let me see."), _call("c1"), _result("c1"), _token("It is 1."))
    assert [item.type for item in response.output] == ["message", "mcp_call", "message"]


def test_reasoning_and_text_of_one_message_alternate() -> None:
    response = _response(
        {"type": "reasoning", "content": "1", "message_id": "m"},
        _token("a", message_id="m"),
        {"type": "reasoning", "content": "2", "message_id": "m"},
        _token("b", message_id="m"),
    )
    assert [item.type for item in response.output] == ["reasoning", "message"] * 2


def test_question_is_shown_and_is_no_reply() -> None:
    asked = {"type": "input_requested", "request_id": "r", "prompt": "Send it?"}
    response = _response(asked, end=DONE | {"output": {"answer": "Sent."}})
    assert [_text(item) for item in response.output] == ["Send it?", "Sent."]


@pytest.mark.parametrize(
    ("emitted", "output", "text"),
    [
        pytest.param([], {"answer": "Hello"}, "Hello", id="output"),
        pytest.param([], None, "", id="nothing"),
        pytest.param([_token("Hello")], {"answer": "other"}, "Hello", id="tokens-first"),
        pytest.param([], msgspec.Raw(b'{"n":1e400}'), '{"n":1e400}', id="large-number"),
    ],
)
def test_output_is_the_reply_of_an_agent_without_tokens(
    emitted: list[dict[str, Any]], output: Any, text: str
) -> None:
    assert _response(*emitted, end=DONE | {"output": output}).output_text == text


@pytest.mark.parametrize(
    ("end", "status", "reason", "event"),
    [
        ({"type": "error", "error": "no", "code": "AGENT_EXECUTION_ERROR"}, "failed", None, "failed"),
        ({"type": "error", "error": "no", "code": "LIMIT_EXCEEDED"}, "failed", None, "failed"),
        (
            {"type": "error", "error": "no", "code": "POLICY_VIOLATION"},
            *("incomplete", "content_filter", "incomplete"),
        ),
        ({"type": "cancelled", "reason": "x"}, "cancelled", None, "incomplete"),
        (
            DONE | {"output": "a", "metadata": {"truncated": True}},
            *("incomplete", "max_output_tokens", "incomplete"),
        ),
        (DONE | {"metadata": {"truncated": "agent's own"}}, "completed", None, "completed"),
    ],
    ids=["failed", "limit", "policy", "cancelled", "truncated", "completed"],
)
def test_ends(end: dict[str, Any], status: str, reason: str | None, event: str) -> None:
    last = _events(_token("Hel"), _call("c"), end=end)[-1]
    assert (last.type, last.response.status) == (f"response.{event}", status)
    assert (last.response.incomplete_details and last.response.incomplete_details.reason) == reason
    error = last.response.error
    assert (error and error.message) == ("no" if status == "failed" else None)
    assert [item.type for item in last.response.output] == ["message", "mcp_call"]


def test_text_that_the_end_interrupts_is_incomplete() -> None:
    response = _response(_token("Hel"), end={"type": "cancelled", "reason": None})
    assert response.output[0].status == "incomplete"  # type: ignore[union-attr]
    assert response.output_text == "Hel"


@pytest.mark.parametrize(("reason", "status"), [("length", "incomplete"), ("stop", "completed")])
def test_reason_of_the_model_for_its_last_message(reason: str, status: str) -> None:
    assert _response(_token("a", finish_reason="length"), _token("b", finish_reason=reason)).status == status


def test_usage_is_the_sum_of_what_the_models_report() -> None:
    details = {"input_token_details": {"cache_read": 2}, "output_token_details": {"reasoning": True}}
    usage = {"type": "usage", "input_tokens": 3, "output_tokens": 4, "details": details}
    failed = {"type": "error", "error": "no", "code": "TIMEOUT_ERROR"}
    found = _response(usage, usage | {"total_tokens": 10, "details": {"other": 1}}, end=failed).usage
    assert found is not None
    assert (found.input_tokens, found.output_tokens, found.total_tokens) == (6, 8, 17)
    assert (found.input_tokens_details.cached_tokens, found.output_tokens_details.reasoning_tokens) == (2, 1)
    assert _response().usage is None
    assert _response({"type": "usage", "input_tokens": 2**63, "output_tokens": 2**63}).usage is not None


def test_usage_is_known_if_the_dockfile_filters_its_events() -> None:
    counts = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    found = _response(end=DONE | {"metadata": {"usage": {"a": counts, "b": counts}}}).usage
    assert found is not None
    assert found.total_tokens == 14


def test_another_attempt_writes_the_output_anew() -> None:
    response = _response(
        _token("whole", message_id="m0", finish_reason="stop"),
        _token("Hel", message_id="m1"),
        _call("c1", "mine"),
        _call("c2"),
        {
            "type": "started",
            "agent_name": "tested",
            "framework": "custom",
            "attempt": 2,
            "previous": "worker_lost",
        },
        _token("Hello", message_id="m1"),
    )
    assert [_text(item) for item in response.output] == ["Hello"]


def test_response_that_works_has_what_is_written() -> None:
    response = _response(_token("a", finish_reason="stop"), _token("Hel"), _call("c", source="x"), end=None)
    assert response.status == "in_progress"
    assert [item.status for item in response.output] == [  # type: ignore[union-attr]
        "completed",
        "in_progress",
        "in_progress",
    ]
    assert response.output_text == "aHel"


def test_stream_ends_where_events_are_missing() -> None:
    frames, state = ENCODER.encode(ENCODER.start(), log_of(_token("a")))
    lost, after = ENCODER.encode_gap(state, Gap(3, 7))
    [error] = messages_of(lost)
    assert (error.event, after.ended, after.origin) == ("error", True, 6)
    assert _number(error) == _number(messages_of(frames)[-1])  # so that resuming after it misses nothing
    assert '"gone"' in error.data


def test_response_with_missing_events_has_the_output_and_no_piece_of_a_text() -> None:
    encoder = ResponseEncoder(INFO, after_gap=True)

    def response(*entries: Entry) -> Response:
        _, state = encoder.encode_gap(encoder.start(), Gap(1, 5))
        return Response.model_validate_json(encoder.response(encoder.encode(state, entries)[1]))

    middle: Sequence[Entry] = [entry(5, "token", {"content": "lo"})]
    call = [
        entry(6, "tool_call", {"tool_call_id": "c", "name": "x"}),
        entry(7, "tool_result", {"tool_call_id": "c"}),
    ]
    end = entry(8, "complete", {"output": {"answer": "Hello"}, "latency_seconds": 1.0, "metadata": {}})
    assert response(*middle).status == "in_progress"
    whole = response(*middle, *call, end)
    assert [item.type for item in whole.output] == ["mcp_call", "message"]
    assert whole.output_text == "Hello"
    assert response(*middle, *call, entry(8, "cancelled", {"reason": None})).status == "cancelled"


def test_notices_do_not_move_the_position() -> None:
    [message] = messages_of(ENCODER.encode_notice(ENCODER.start(), Draining()))
    assert (message.event, _number(message)) == ("error", 1)
    assert msgspec.json.decode(message.data)["code"] == "draining"


def test_open_items_are_bounded() -> None:
    tokens = [_token("a", message_id=f"m{number}") for number in range(3 * MAX_OPEN)]
    calls = [_call(f"c{number}") for number in range(3 * MAX_OPEN)]
    log = log_of(*tokens, *calls)
    _, state = encoded(ENCODER, log)
    assert len(state.items.texts) == len(state.items.calls) == MAX_OPEN
    response = _response(*tokens, *calls, _result("c0"), _result(f"c{3 * MAX_OPEN - 1}"))
    assert len(response.output) == 6 * MAX_OPEN
