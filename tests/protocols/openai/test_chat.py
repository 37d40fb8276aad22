"""A run's log as a chat completion: chunks of a stream, and one completion."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from dockrion.events import Entry
from dockrion.events.control_frames import AuthExpired, Draining, Gap, Gone, Notice
from dockrion.protocols.openai.chat import ChunkEncoder, CompletionEncoder, chunk_head, completion
from dockrion.protocols.openai.chat_parts import Failed, Finished, ReplyOptions
from dockrion.protocols.openai.chat_positions import CountingEncoder
from tests.protocols.logs import check_encoder, encoded, log_of, logs, messages_of

HEAD = {"id": "chatcmpl-run-1", "created": 7, "model": 'm"\n'}
CALL = {"type": "tool_call", "tool_call_id": "c1", "name": "search", "arguments": {"q": 1}}
RESULT = {"type": "tool_result", "tool_call_id": "c1", "name": "search", "result": "wet"}
USAGE = {"usage": {"small": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 6}}}
OPTIONS = st.builds(
    ReplyOptions, st.none() | st.just("a.b"), st.booleans(), st.sampled_from([frozenset(), frozenset({""})])
)


def token(content: str, message_id: str | None = None) -> dict[str, Any]:
    return {"type": "token", "content": content} | ({"message_id": message_id} if message_id else {})


def said(content: Any, message_id: str | None = None, role: str = "assistant") -> dict[str, Any]:
    event = {"type": "message", "role": role, "content": content}
    return event | ({"message_id": message_id} if message_id else {})


def complete(output: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"type": "complete", "output": output, "latency_seconds": 1.0, "metadata": metadata}


def chunks(entries: Sequence[Entry], **options: Any) -> list[Any]:
    """Return the decoded data of a stream's frames."""
    include_usage = options.pop("include_usage", False)
    encoder = ChunkEncoder(chunk_head(HEAD), ReplyOptions(**options), include_usage)
    frames, _ = encoded(encoder, entries)
    data = [message.data for message in messages_of(frames)]
    return [each if each == "[DONE]" else msgspec.json.decode(each) for each in data]


def deltas(entries: Sequence[Entry], **options: Any) -> list[dict[str, Any]]:
    return [each["choices"][0]["delta"] for each in chunks(entries, **options) if "choices" in each]


def text(entries: Sequence[Entry], field: str = "content", **options: Any) -> str:
    return "".join(delta.get(field) or "" for delta in deltas(entries, **options))


def completed(entries: Sequence[Entry], **options: Any) -> Any:
    """Return the completion of a log, or the failure."""
    _, state = encoded(CompletionEncoder(ReplyOptions(**options)), entries)
    if not isinstance(state.end, Finished):
        return state.end
    return msgspec.json.decode(msgspec.json.encode(completion(HEAD, state, state.end)))


@given(logs(), OPTIONS, st.booleans())
def test_frames_obey_the_laws_of_encoders(entries: list[Entry], options: ReplyOptions, usage: bool) -> None:
    encoder = ChunkEncoder(chunk_head(HEAD), options, usage)
    messages = check_encoder(encoder, entries)
    assert check_encoder(counting := CountingEncoder(encoder), entries) == messages
    assert encoded(counting, entries)[1].chunks == len(messages)
    check_encoder(CompletionEncoder(options), entries)
    for message in messages:
        assert (message.event, message.id) == ("message", None)
        if message.data != "[DONE]" and "error" not in (chunk := msgspec.json.decode(message.data)):
            ChatCompletionChunk.model_validate(chunk)


@given(logs(ended=True), OPTIONS)
def test_completion_is_what_the_stream_of_a_single_attempt_adds_up_to(
    entries: list[Entry], options: ReplyOptions
) -> None:
    entries = [each for number, each in enumerate(entries) if number == 0 or each.type != "started"]
    entries = [msgspec.structs.replace(each, sequence=number) for number, each in enumerate(entries, 1)]
    options_of = msgspec.structs.asdict(options)
    whole = completed(entries, **options_of)
    *streamed, last = chunks(entries, **options_of)
    if isinstance(whole, Failed):
        assert last["error"]["message"] == whole.message
        return
    assert last == "[DONE]"
    ChatCompletion.model_validate(whole)
    message = whole["choices"][0]["message"]
    assert streamed[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    for field in ("content", "reasoning_content", "refusal"):
        assert text(entries, field, **options_of) == (message.get(field) or "")
    calls = [call for delta in deltas(entries, **options_of) for call in delta.get("tool_calls", [])]
    assert [call.pop("index") for call in calls] == list(range(len(calls)))
    assert calls == message.get("tool_calls", [])


def test_stream_of_tokens() -> None:
    entries = log_of(token("Hel"), token("lo\n"), end=complete({"answer": "unused"}))
    stream = chunks(entries)
    assert stream[-1] == "[DONE]"
    common = {"object": "chat.completion.chunk", **HEAD}
    deltas = [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo\n"}, {}]
    assert stream[:-1] == [
        common | {"choices": [{"index": 0, "delta": delta, "finish_reason": "stop" if not delta else None}]}
        for delta in deltas
    ]


def test_completion_of_tokens() -> None:
    assert completed(log_of(token("Hel"), token("lo"), end=complete(None, **USAGE))) == {
        **HEAD,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 6},
    }


def test_usage_comes_in_a_last_chunk_and_is_null_in_the_others() -> None:
    *others, last, done = chunks(log_of(token("a"), end=complete(None, **USAGE)), include_usage=True)
    assert done == "[DONE]"
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 6)
    assert [each["usage"] for each in others] == [None] * 3


@pytest.mark.parametrize(
    "metadata",
    [{}, {"usage": "the agent's own"}, {"usage": {"m": 1}}, {"usage": {"m": {"input_tokens": 2**70}}}],
)
def test_usage_that_is_not_known_is_left_out(metadata: dict[str, Any]) -> None:
    entries = log_of(token("a"), end=complete(None, **metadata))
    assert "usage" not in completed(entries)
    assert [each for each in chunks(entries, include_usage=True)[:-1] if each["usage"]] == []


@pytest.mark.parametrize(
    ("events", "output", "shown"),
    [
        ([token("a"), said("a")], "x", "a"),
        ([token("a", "m1"), said("a", "m1"), said("b", "m2")], "x", "a\n\nb"),
        ([token("a", "m1"), token("b", "m2"), token("c", "m1")], "x", "a\n\nbc"),
        ([token("a"), CALL, RESULT, token("b"), token("c")], "x", "a\n\nbc"),
        ([token("a"), said("a"), said("b"), token("c")], "x", "a\n\nb\n\nc"),
        ([token("", "m1"), token("a", "m1"), token("", "m2")], "x", "a"),
        (
            [said([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}])],
            "x",
            "ab",
        ),
        ([said("q", role="user"), said("a", role="ai")], "x", "a"),
        ([said("q", role="user")], {"answer": "x"}, "x"),
        ([], {"answer": "x"}, "x"),
        ([], {"n": 1}, '{"n":1}'),
        ([], None, ""),
        ([token("")], "x", "x"),
    ],
)
def test_text_of_a_reply(events: list[dict[str, Any]], output: Any, shown: str) -> None:
    entries = log_of(*events, end=complete(output))
    assert text(entries) == shown
    assert (completed(entries)["choices"][0]["message"]["content"] or "") == shown


def test_output_is_found_where_the_dockfile_says() -> None:
    entries = log_of(end=complete({"text": "no", "a": [{"b": "yes"}]}))
    assert text(entries, output="a.0.b") == "yes"


def test_reasoning_has_a_field_of_its_own() -> None:
    entries = log_of({"type": "reasoning", "content": "Hm"}, token("a"), end=complete())
    assert text(entries, "reasoning_content") == "Hm"
    message = completed(entries)["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm", "a")


def test_question_is_shown_as_a_paragraph_and_the_reply_goes_on() -> None:
    asked = {"type": "input_requested", "request_id": "r", "prompt": "Send it?"}
    answered = {"type": "input_received", "request_id": "r", "value": True}
    entries = log_of(token("Wait.", "m"), asked, answered, token("Sent.", "m"), end=complete())
    assert text(entries) == "Wait.\n\nSend it?\n\nSent."
    assert text(log_of(asked, answered, end=complete("Sent."))) == "Send it?\n\nSent."


def test_tool_calls_are_hidden_unless_the_dockfile_shows_them() -> None:
    entries = log_of(CALL, RESULT, token("wet"), end=complete())
    assert [delta for delta in deltas(entries) if "tool_calls" in delta] == []
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q":1}'}}
    assert deltas(entries, show_tools=True)[1] == {"tool_calls": [{"index": 0, **call}]}
    choice = completed(entries, show_tools=True)["choices"][0]
    assert (choice["message"]["tool_calls"], choice["finish_reason"]) == ([call], "stop")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"q":', '{"q":'), ("", ""), (None, "{}"), ([1], "[1]"), ("\u00e9\n", "\u00e9\n")],
)
def test_arguments_are_text_that_stays_as_the_model_wrote_it(arguments: Any, text: str) -> None:
    (call,) = deltas(log_of(CALL | {"arguments": arguments}), show_tools=True)[1]["tool_calls"]
    assert call["function"]["arguments"] == text


@pytest.mark.parametrize("show_tools", [False, True])
def test_call_of_a_tool_of_the_client_is_left_to_the_client(show_tools: bool) -> None:
    options: dict[str, Any] = {"client_tools": frozenset({"search"}), "show_tools": show_tools}
    entries = log_of(CALL, end=complete({"unused": 1}))
    choice = completed(entries, **options)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["c1"]
    assert choice["message"]["content"] is None
    executed = log_of(CALL, RESULT, token("wet"), end=complete())
    assert completed(executed, **options)["choices"][0]["finish_reason"] == "stop"


def test_failure_is_an_error_in_the_stream() -> None:
    failed = {"type": "error", "error": "it broke", "code": "MINE", "details": {"a": 1}}
    entries = log_of(token("a"), end=failed)
    error = {"message": "it broke", "type": "server_error", "param": None, "code": "mine"}
    assert chunks(entries)[-1] == {"error": error}
    assert completed(entries) == Failed("MINE", "it broke")


def test_cancelled_run_is_an_error() -> None:
    assert chunks(log_of(end={"type": "cancelled", "reason": "no"}))[-1]["error"] == {
        "message": "the run was cancelled: no",
        "type": "server_error",
        "param": None,
        "code": "cancelled",
    }


def test_violated_policy_ends_the_text_as_filtered() -> None:
    violated = {"type": "error", "error": "policies.safety: no", "code": "POLICY_VIOLATION"}
    entries = log_of(token("a"), end=violated)
    assert text(entries, "refusal") == "policies.safety: no"
    choice = completed(entries)["choices"][0]
    assert choice["finish_reason"] == chunks(entries)[-2]["choices"][0]["finish_reason"] == "content_filter"
    assert choice["message"] == {"role": "assistant", "content": "a", "refusal": "policies.safety: no"}


def test_text_that_a_policy_has_cut_ends_for_its_length() -> None:
    assert (
        completed(log_of(token("a"), end=complete("a", truncated=True)))["choices"][0]["finish_reason"]
        == "length"
    )


def test_new_attempt_begins_a_paragraph_of_a_stream_and_replaces_a_completion() -> None:
    again = {"type": "started", "agent_name": "a", "framework": "custom", "attempt": 2}
    entries = log_of(token("Hel", "m"), CALL, again, token("Hello", "m"), end=complete())
    assert text(entries) == "Hel\n\nHello"
    assert completed(entries, show_tools=True)["choices"][0]["message"]["content"] == "Hello"
    assert "tool_calls" not in completed(entries, show_tools=True)["choices"][0]["message"]


def test_stream_that_has_lost_events_ends_with_an_error() -> None:
    encoder = ChunkEncoder(chunk_head(HEAD), ReplyOptions())
    frames, state = encoder.encode_gap(encoder.start(), Gap(1, 5))
    assert state.ended
    assert b'"code":"gone"' in frames


def test_completion_that_has_lost_events_is_the_output_or_fails() -> None:
    encoder = CompletionEncoder(ReplyOptions())
    for output, content in (({"answer": "whole"}, "whole"), (None, None)):
        entries = log_of(token("a"), token("b"), token("c"), end=complete(output))
        _, state = encoder.encode_gap(encoder.start(), Gap(1, 3))
        _, state = encoder.encode(state, entries[2:])
        if content is None:
            assert isinstance(state.end, Failed)
        else:
            assert isinstance(state.end, Finished)
            assert msgspec.json.encode(completion(HEAD, state, state.end)).count(b'"content":"whole"') == 1


@pytest.mark.parametrize(
    ("notice", "code"),
    [(Draining(), "service_unavailable"), (Gone(), "gone"), (AuthExpired(), "invalid_api_key")],
)
def test_stream_that_ends_before_its_run_ends_with_an_error(notice: Notice, code: str) -> None:
    encoder = ChunkEncoder(chunk_head(HEAD), ReplyOptions())
    (message,) = messages_of(encoder.encode_notice(encoder.start(), notice))
    error = msgspec.json.decode(message.data)["error"]
    assert (error["type"], error["code"]) == ("server_error", code)
