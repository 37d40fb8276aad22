"""The texts of one run: tokens as one text, other strings separately, truncation, violations."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.json_encoding import NotJSON
from dockrion.policies.output_redaction import MAX_STREAMS, OutputPolicy, RunTextFilter
from dockrion.policies.patterns import MASK, Patterns
from dockrion.runs.outcome import Cancelled, Completed, Failed, Outcome
from dockrion.runs.outcome_redaction import filtered, with_violation
from tests.policies.pattern_strategies import CHARS, compiled, cuts, patterns

SECRET = r"secret-\d+"
DEEP = 20_000
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(CHARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(CHARS), inner, max_size=3),
    max_leaves=8,
)


def texts(*redact_patterns: str, **spec: Any) -> RunTextFilter:
    return OutputPolicy(redact_patterns, **spec).new_filter()


def said(run: RunTextFilter, parts: list[str], reason: str | None = None) -> str:
    """Return the filtered text of tokens, to the end."""
    released = [token for part in parts for token in piece(run, part, reason)]
    return "".join(token["content"] for token in [*released, *rest(run)])


def piece(run: RunTextFilter, content: str, reason: str | None = None, **origin: str) -> list[dict[str, Any]]:
    """Filter a token; return the tokens that it releases."""
    return run.filter_streamed("token", {"content": content, "finish_reason": reason, **origin})


def rest(run: RunTextFilter) -> list[dict[str, Any]]:
    """End the texts of a run; return what they held back."""
    return [fields for _, fields in run.end_streams()]


def outcome(run: RunTextFilter, result: Outcome) -> Outcome:
    run.end_streams()
    return filtered(result, run)


def completed(run: RunTextFilter, output: Any, **metadata: Any) -> tuple[Any, dict[str, Any]]:
    result = outcome(run, Completed(msgspec.json.encode(output), metadata))
    assert isinstance(result, Completed), result
    return msgspec.json.decode(result.output), result.metadata


def masked(patterns: Patterns, value: Any) -> Any:
    match value:
        case str():
            return patterns.mask(value)[0]
        case dict():
            return {patterns.mask(name)[0]: masked(patterns, item) for name, item in value.items()}
        case list():
            return [masked(patterns, item) for item in value]
    return value


def strings(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for item in value.values() for text in strings(item)]
        case list():
            return [text for item in value for text in strings(item)]
    return []


@settings(max_examples=50)
@given(patterns(), st.text(CHARS, max_size=30), st.lists(st.integers(0, 30), max_size=6), st.integers(1, 40))
def test_tokens_are_the_masked_text_up_to_the_limit(
    sources: list[str], text: str, places: list[int], most: int
) -> None:
    whole = compiled(sources).mask(text)[0]
    parts = cuts(text, places)
    assert said(texts(*sources), parts) == whole
    run = texts(*sources, max_output_chars=most)
    assert said(run, parts) == whole[:most]
    _, metadata = completed(run, None)
    assert metadata == ({"truncated": True} if len(whole) > most else {})


@settings(max_examples=50)
@given(patterns(), JSON)
def test_every_string_of_an_output_is_masked_including_keys(sources: list[str], output: Any) -> None:
    patterns, metadata = compiled(sources), {"said": output}
    expected = masked(patterns, output), masked(patterns, metadata)
    assert completed(texts(*sources), output, **metadata) == expected


@settings(max_examples=50)
@given(JSON, st.integers(1, 5))
def test_every_string_of_an_output_is_truncated_separately(output: Any, most: int) -> None:
    cut, metadata = completed(texts(max_output_chars=most), output)
    assert strings(cut) == [text[:most] for text in strings(output)]
    assert metadata == ({"truncated": True} if strings(cut) != strings(output) else {})


@pytest.mark.parametrize(
    ("event_type", "name"),
    [
        ("message", "content"),
        ("tool_call", "arguments"),
        ("tool_result", "result"),
        ("input_requested", "prompt"),
    ],
)
def test_what_an_agent_says_at_once_is_truncated_too(event_type: str, name: str) -> None:
    said = "abcdefgh" if name == "prompt" else {"abcdefgh": ["abcdefgh", "abc", 1]}
    run = texts(max_output_chars=4)
    fields = run.mask_fields(event_type, {"source": "supervisor", name: said})
    raw = run.mask_fields(event_type, {name: msgspec.Raw(msgspec.json.encode(said))})
    assert fields["source"] == "supervisor"
    assert fields[name] == ("abcd" if name == "prompt" else {"abcdefgh": ["abcd", "abc", 1]})
    assert msgspec.json.decode(raw[name]) == fields[name]
    assert run.truncated
    halting = texts(max_output_chars=4, halt_on_violation=True)
    halting.mask_fields(event_type, {name: said})
    assert halting.violation is not None


@settings(max_examples=50)
@given(patterns(), JSON)
def test_every_string_of_an_event_is_masked(sources: list[str], data: Any) -> None:
    expected = masked(compiled(sources), data)
    raw = msgspec.Raw(msgspec.json.encode(data))
    fields = texts(*sources).mask_fields("checkpoint", {"name": "n", "data": raw})
    assert msgspec.json.decode(fields["data"]) == expected


def test_token_that_is_held_back_entirely_is_dropped() -> None:
    run = texts(SECRET)
    assert piece(run, "secre") == []
    assert piece(run, "") == [{"content": "", "finish_reason": None}]
    assert piece(run, "t", "stop") == [{"content": "", "finish_reason": "stop"}]
    assert piece(run, "s") == [{"content": "secret", "finish_reason": None}]


def test_finish_reason_is_a_separate_text() -> None:
    run = texts(SECRET)
    assert piece(run, "my secret-", "secret-1") == [{"content": "my ", "finish_reason": MASK}]
    assert said(run, ["2!"]) == f"{MASK}!"


def test_tokens_after_the_end_are_dropped() -> None:
    run = texts(SECRET)
    assert piece(run, "secret-") == []
    assert rest(run) == [{"content": "secret-", "finish_reason": None}]
    assert piece(run, "1", "stop") == []
    assert rest(run) == []


def test_each_message_of_each_source_and_its_reasoning_are_texts_of_their_own() -> None:
    run = texts(SECRET)
    origins: list[dict[str, str]] = [{}, {"source": "a"}, {"source": "b"}, {"message_id": "m", "source": "b"}]
    for part in ("my sec", "ret-", "12"):  # no stream sees the others, which would split its secret
        for origin in origins:
            assert all("12" not in token["content"] for token in piece(run, part, **origin))
            run.filter_streamed("reasoning", {"content": part, **origin})
    released = [fields for origin in origins for fields in piece(run, "!", **origin)]
    assert [fields["content"] for fields in released] == ["!"] * len(origins)
    assert [fields.get("source") for fields in released] == [None, "a", "b", "b"]
    assert rest(run) == []


def test_reasoning_that_was_held_back_ends_as_reasoning_of_its_message() -> None:
    run = texts(SECRET)
    assert run.filter_streamed("reasoning", {"content": "a secr", "message_id": "secret-1"}) == [
        {"content": "a ", "message_id": MASK}
    ]
    assert run.end_streams() == [("reasoning", {"content": "secr", "message_id": MASK})]


def test_a_text_ends_when_too_many_are_open() -> None:
    run = texts(SECRET)
    for number in range(MAX_STREAMS):
        assert piece(run, "secret-", source=f"s{number}") == []
    assert len(piece(run, "", source="s0")) == 1  # the first is now the last used one
    released = piece(run, "hello", source="another")
    assert [(token["source"], token["content"]) for token in released] == [
        ("s1", "secret-"),
        ("another", "hello"),
    ]
    assert len(rest(run)) == MAX_STREAMS - 1


def test_reasoning_has_a_limit_of_its_own() -> None:
    run = texts(max_output_chars=5)
    assert [token["content"] for token in piece(run, "1234")] == ["1234"]
    assert [part["content"] for part in run.filter_streamed("reasoning", {"content": "123456"})] == ["12345"]
    assert [token["content"] for token in piece(run, "56", source="a")] == ["5"]


def test_field_names_are_masked_in_custom_events_only() -> None:
    run = texts("name", "secret")
    assert run.mask_fields("custom:name", {"secret": 1}) == {MASK: 1}
    assert run.mask_fields("checkpoint", {"name": "name", "data": None}) == {"name": MASK, "data": None}


@pytest.mark.parametrize("raw", [b"secret-1", b'"\\ud800"', b'"\xff"', b"1e999", b"[" * DEEP + b"]" * DEEP])
def test_malformed_json_is_rejected(raw: bytes) -> None:
    with pytest.raises(NotJSON) as caught:
        texts(SECRET).mask_fields("checkpoint", {"name": "n", "data": msgspec.Raw(raw)})
    assert "secret" not in str(caught.value)
    result = outcome(texts(SECRET), Completed(raw))
    assert isinstance(result, Failed)
    assert (result.code, result.details) == ("INVALID_OUTPUT", None)
    assert "secret" not in result.error


def test_metadata_is_masked_after_encoding() -> None:
    class Stranger:
        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Any:
            return iter(["secret-1"])

    _, metadata = completed(texts(SECRET), None, strange=Stranger(), raw=msgspec.Raw(b'{"secret-2": 3}'))
    assert metadata == {"strange": [MASK], "raw": {MASK: 3}}


def test_outcomes_are_masked() -> None:
    failed = outcome(texts(SECRET), Failed("E: secret-1", "CODE", {"secret-2": ["secret-3", 4]}))
    assert failed == Failed(f"E: {MASK}", "CODE", {MASK: [MASK, 4]})
    assert outcome(texts(SECRET), Cancelled("for secret-1")) == Cancelled(f"for {MASK}")
    assert outcome(texts(SECRET), Cancelled(None)) == Cancelled(None)
    for result in (Failed("E", "CODE", metadata={"a": "secret-1"}), Cancelled(None, {"a": "secret-1"})):
        assert outcome(texts(SECRET), result).metadata == {"a": MASK}


HALTING: dict[str, Any] = {
    "a token": lambda run: piece(run, "is secret-1 "),
    "a finish reason": lambda run: piece(run, "", "secret-1"),
    "a source": lambda run: piece(run, "a", source="secret-1"),
    "reasoning": lambda run: run.filter_streamed("reasoning", {"content": "secret-1 "}),
    "tokens": lambda run: said(run, ["sec", "ret", "-", "1"]),
    "the rest": lambda run: said(run, ["secret-1"]),
    "an event": lambda run: run.mask_fields("custom:a", {"b": msgspec.Raw(b'{"c": ["secret-1"]}')}),
    "a key": lambda run: run.mask_fields("custom:a", {"b": msgspec.Raw(b'{"secret-1": 1}')}),
    "too much": lambda run: said(run, ["a" * 60, "a" * 41]),
}


@pytest.mark.parametrize("how", HALTING)
def test_violation_replaces_every_outcome_but_cancellation(how: str) -> None:
    run = texts(SECRET, max_output_chars=100, halt_on_violation=True)
    HALTING[how](run)
    assert run.violation is not None
    for result in (Completed(b"1"), Failed("e", "TIMEOUT_ERROR")):
        assert with_violation(result, run) == Failed(run.violation, "POLICY_VIOLATION")
    assert outcome(run, Cancelled("why")) == Cancelled("why")


@pytest.mark.parametrize(
    "result",
    [
        Completed(b'{"a": "secret-1"}'),
        Completed(b'{"secret-1": 1}'),
        Completed(b'["%s"]' % (b"a" * 101)),
        Completed(b"1", {"a": "secret-1"}),
        Failed("secret-1", "C"),
        Failed("e", "C", ["secret-1"]),
    ],
)
def test_outcome_can_be_a_violation(result: Outcome) -> None:
    run = texts(SECRET, max_output_chars=100, halt_on_violation=True)
    assert outcome(run, result) == Failed(run.violation or "", "POLICY_VIOLATION")


def test_harmless_output_halts_nothing() -> None:
    run = texts(SECRET, max_output_chars=100, halt_on_violation=True)
    assert said(run, ["a" * 50, "secret-", "a" * 43]) == "a" * 50 + "secret-" + "a" * 43
    assert completed(run, {"a": "b" * 100, "c": ["d" * 100]}) == ({"a": "b" * 100, "c": ["d" * 100]}, {})
    assert run.violation is None


def test_without_halt_there_are_no_violations() -> None:
    run = texts(SECRET, max_output_chars=5)
    assert said(run, ["secret-1", " is it"]) == MASK[:5]
    assert completed(run, "secret-1") == (MASK[:5], {"truncated": True})
    assert run.violation is None


def test_copies_of_texts_are_masked_without_being_counted() -> None:
    hits: list[str] = []
    policy = OutputPolicy(["[0-9]{4}"], on_hit=hits.append)
    assert policy.uncounted.new_filter().mask({"card": "1234"}) == {"card": MASK}
    assert hits == []
    policy.new_filter().mask("1234")
    assert hits == ["redaction"]
