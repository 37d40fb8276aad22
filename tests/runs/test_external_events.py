"""Events of other processes: which are accepted, and which are refused and why."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion import events
from dockrion.runs import external_events
from dockrion.runs.outcome import Cancelled, Completed, Failed, Outcome

COMMON: dict[str, Any] = {"id": "r:1", "run_id": "r", "sequence": 1, "timestamp": "2026-01-01T00:00:00Z"}
OWN: list[dict[str, Any]] = [
    {"type": "token", "content": "a"},
    {"type": "progress", "step": "s", "progress": 0.5},
    {"type": "step", "node_name": "n"},
    {"type": "checkpoint", "name": "c", "data": [1]},
    {"type": "heartbeat"},
    {"type": "custom:own", "anything": {"a": None}},
]


@pytest.mark.parametrize("event", OWN, ids=lambda event: event["type"])
def test_events_that_agents_may_send_are_accepted_unchanged(event: dict[str, Any]) -> None:
    parsed = external_events.parse(event)
    assert (parsed.type, parsed.outcome) == (event["type"], None)
    assert {"type": parsed.type, **parsed.values} == event
    assert parsed.fields().keys() >= event.keys() - {"type"}


@pytest.mark.parametrize("event", OWN, ids=lambda event: event["type"])
def test_common_fields_are_ignored_if_all_are_present(event: dict[str, Any]) -> None:
    parsed = external_events.parse(COMMON | event)
    parsed.fields()
    assert {**parsed.values, "type": parsed.type} == event


@pytest.mark.parametrize("missing", COMMON)
def test_common_fields_are_refused_if_one_is_missing(missing: str) -> None:
    some = {name: value for name, value in COMMON.items() if name != missing}
    for event in OWN:
        with pytest.raises(ValueError, match=r"no field|reserved"):
            _publishable(some | event)


def _publishable(value: Any) -> dict[str, Any]:
    """Return the fields of an event, none of a terminal one."""
    parsed = external_events.parse(value)
    return parsed.fields() if parsed.outcome is None else {}


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        ({"type": "complete"}, Completed(b"null")),
        ({"type": "complete", "output": {"a": 1}}, Completed(b'{"a":1}')),
        ({"type": "complete", "output": 1, "metadata": None}, Completed(b"1")),
        ({"type": "complete", "output": 1, "latency_seconds": 2.5}, Completed(b"1")),
        ({"type": "complete", "metadata": {"a": 1}}, Completed(b"null", {"a": 1})),
        ({"type": "error", "error": "e"}, Failed("e", "AGENT_EXECUTION_ERROR")),
        ({"type": "error", "error": "e", "code": "A", "details": [1]}, Failed("e", "A", [1])),
        ({"type": "error", "error": "", "code": "A" * 64}, Failed("", "A" * 64)),
        ({"type": "cancelled"}, Cancelled(None)),
        ({"type": "cancelled", "reason": None}, Cancelled(None)),
        ({"type": "cancelled", "reason": "r" * 1000}, Cancelled("r" * 1000)),
    ],
)
def test_a_terminal_event_has_the_outcome_of_the_run(event: dict[str, Any], outcome: Outcome) -> None:
    assert external_events.parse(event).outcome == outcome
    assert external_events.parse(COMMON | event).outcome == outcome


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "a JSON object with a `type`"),
        ([], "a JSON object with a `type`"),
        ("token", "a JSON object with a `type`"),
        ({}, "has a `type`"),
        ({"type": None}, "has a `type`"),
        ({"type": ["token"]}, "has a `type`"),
        ({"type": "started"}, "'started' is not a type"),
        ({"type": "custom"}, "'custom' is not a type"),
        ({"type": "own"}, "input_received, step, checkpoint, heartbeat, custom:<name>, complete"),
        ({"type": "custom:"}, "custom event name"),
        ({"type": "custom:a-b"}, "custom event name"),
        ({"type": "custom:a\n"}, "custom event name"),
        ({"type": "custom:ä"}, "custom event name"),
        ({"type": "token"}, "needs content"),
        ({"type": "token", "content": 1}, "content must be a string"),
        ({"type": "token", "content": "a", "finish_reason": 1}, "finish_reason must be a string"),
        ({"type": "token", "content": "a", "more": 1}, "no field 'more'"),
        ({"type": "progress", "step": "s", "progress": "much"}, "progress must be a number"),
        ({"type": "progress", "step": "s", "progress": None}, "progress must be a number"),
        ({"type": "step", "node_name": "n", "input_keys": "a"}, "list of strings"),
        ({"type": "step", "node_name": "n", "input_keys": [1]}, "input_keys must be a string"),
        ({"type": "step", "node_name": "n", "input_keys": 1}, "input_keys|iterable"),
        ({"type": "checkpoint", "name": "n"}, "needs data"),
        ({"type": "heartbeat", "beat": 1}, "no field 'beat'"),
        ({"type": "complete", "result": 1}, "no field 'result'"),
        ({"type": "complete", "metadata": "m"}, "metadata is an object"),
        ({"type": "error"}, "has an `error`"),
        ({"type": "error", "error": None}, "has an `error`"),
        ({"type": "error", "error": "e", "code": None}, "code must match"),
        ({"type": "error", "error": "e", "code": ""}, "code must match"),
        ({"type": "error", "error": "e", "code": "low"}, "code must match"),
        ({"type": "error", "error": "e", "code": "A\n"}, "code must match"),
        ({"type": "error", "error": "e", "code": "Ä"}, "code must match"),
        ({"type": "error", "error": "e", "code": "1A"}, "code must match"),
        ({"type": "error", "error": "e", "code": "A" * 65}, "code must match"),
        ({"type": "error", "error": "e", "message": "m"}, "no field 'message'"),
        ({"type": "cancelled", "reason": 1}, "reason is text"),
        ({"type": "cancelled", "reason": "r" * 1001}, "at most 1000"),
    ],
)
def test_malformed_events_are_refused_with_the_reason(value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        _publishable(value)


@pytest.mark.parametrize("long", [{"type": "x" * 10_000}, {"type": "complete", "x" * 10_000: 1}])
def test_a_reason_quotes_little_of_the_event(long: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as error:
        _publishable(long)
    assert len(str(error.value)) < 400


keys = st.sampled_from(
    [
        "id",
        "run_id",
        "sequence",
        "timestamp",
        "content",
        "progress",
        "step",
        "node_name",
        "input_keys",
        "name",
        "data",
        "output",
        "metadata",
        "error",
        "code",
        "details",
        "reason",
    ]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner), max_leaves=5
)
types = st.sampled_from([*events.CONFIGURABLE, *events.MANDATORY, "custom:a", "custom:", "x"])


@settings(max_examples=80)
@given(event=st.dictionaries(keys, values, max_size=6), event_type=types | values)
def test_any_json_is_accepted_or_refused(event: dict[str, Any], event_type: Any) -> None:
    value = msgspec.json.decode(msgspec.json.encode({**event, "type": event_type}))
    try:
        fields = _publishable(value)
    except ValueError:
        return
    msgspec.json.encode(fields)
    assert not fields.keys() & set(events.COMMON_FIELDS)
