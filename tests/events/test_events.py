"""The events of a run: which pass, what they carry, and their names."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from dockrion import events
from dockrion.events import COMMON_FIELDS, CONFIGURABLE, MANDATORY, PRESETS, TERMINAL, EventFilter
from dockrion.json_encoding import NotJSON

AT = datetime(2026, 11, 22, 10, 30, 5, 123456, UTC)
CUSTOM = {"custom:a", "custom:b"}
TYPES = {"progress", "token", "step", "checkpoint", "heartbeat"}
MANDATORY_TYPES = {"started", "complete", "error", "cancelled"}
EVERYTHING = TYPES | MANDATORY_TYPES | CUSTOM

FIELDS: dict[str, dict[str, Any]] = {
    "started": {"agent_name": "a", "framework": "custom"},
    "complete": {"output": {"b": 1}, "latency_seconds": 1.5, "metadata": {"c": 2}},
    "error": {"error": "e", "code": "C", "details": {"d": [1]}},
    "cancelled": {"reason": "r"},
    "progress": {"step": "s", "progress": 0.5, "message": "m"},
    "token": {"content": "Hello", "finish_reason": "stop"},
    "step": {"node_name": "n", "duration_ms": 1.5, "input_keys": ["i"], "output_keys": ["o"]},
    "checkpoint": {"name": "n", "data": {"x": 1}},
    "heartbeat": {},
    "custom:mine": {"x": 1, "a": [2], "data": None},
}
OPTIONAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "error": ({"error": "e", "code": "C"}, {"details": None}),
    "cancelled": ({}, {"reason": None}),
    "progress": ({"step": "s", "progress": 1.0}, {"message": None}),
    "token": ({"content": "c"}, {"finish_reason": None}),
    "step": ({"node_name": "n"}, {"duration_ms": None, "input_keys": None, "output_keys": None}),
}


def encoded(event_type: str, fields: dict[str, Any], sequence: int = 7) -> bytes:
    return events.encode(event_type, "run-1", sequence, AT, fields)


def passing(allowed: str | list[str] | None) -> set[str]:
    events_filter = EventFilter(allowed)
    return {event_type for event_type in EVERYTHING if events_filter.allows(event_type)}


def test_the_types_are_those_of_the_contract() -> None:
    assert set(CONFIGURABLE) == TYPES
    assert set(MANDATORY) == MANDATORY_TYPES
    assert {"complete", "error", "cancelled"} == TERMINAL
    assert COMMON_FIELDS == ("id", "type", "run_id", "sequence", "timestamp")


@pytest.mark.parametrize(("event_type", "fields"), FIELDS.items())
def test_an_event_has_the_common_fields_first_and_then_its_own_in_order(
    event_type: str, fields: dict[str, Any]
) -> None:
    found = msgspec.json.decode(encoded(event_type, fields))
    assert list(found) == [*COMMON_FIELDS, *fields]
    assert found == {
        "id": "run-1:7",
        "type": event_type,
        "run_id": "run-1",
        "sequence": 7,
        "timestamp": "2026-11-22T10:30:05.123456Z",
        **fields,
    }


@pytest.mark.parametrize("event_type", OPTIONAL)
def test_a_field_that_was_not_given_is_null_and_not_left_out(event_type: str) -> None:
    given, filled = OPTIONAL[event_type]
    found = msgspec.json.decode(encoded(event_type, given))
    assert list(found) == [*COMMON_FIELDS, *FIELDS[event_type]]
    assert {name: found[name] for name in filled} == filled


def test_the_example_of_the_contract_byte_for_byte() -> None:
    assert encoded("token", {"content": "Hello", "finish_reason": None}) == (
        b'{"id":"run-1:7","type":"token","run_id":"run-1","sequence":7,'
        b'"timestamp":"2026-11-22T10:30:05.123456Z","content":"Hello","finish_reason":null}'
    )


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\0", "\u2028", "\x85", "data: x\n\n"])
def test_an_event_is_one_line(text: str) -> None:
    data = encoded("token", {"content": text})
    assert b"\n" not in data
    assert b"\r" not in data
    assert msgspec.json.decode(data)["content"] == text


def test_raw_json_is_taken_as_it_is() -> None:
    data = encoded("checkpoint", {"name": "n", "data": msgspec.Raw(b'{"z":1,"a":1.0}')})
    assert data.endswith(b',"data":{"z":1,"a":1.0}}')


@pytest.mark.parametrize("event_type", ["checkpoint", "custom:mine"])
def test_a_field_that_cannot_be_json_is_named(event_type: str) -> None:
    with pytest.raises(NotJSON, match=r"^data\.x\[1\] cannot be JSON"):
        encoded(event_type, {"name": "n", "data": {"x": [1, object()]}})


def test_a_heartbeat_of_the_service_has_the_common_fields_alone() -> None:
    found = msgspec.json.decode(events.heartbeat("run-1", 41, "beat"))
    assert list(found) == list(COMMON_FIELDS)
    assert (found["type"], found["sequence"]) == ("heartbeat", 41)
    assert datetime.fromisoformat(found["timestamp"]).utcoffset() is not None


def test_heartbeats_of_the_service_have_ids_of_their_own() -> None:
    ids = {msgspec.json.decode(events.heartbeat("run-1", 1, beat))["id"] for beat in "ab"}
    assert len(ids | {"run-1:1"}) == 3


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ("minimal", set()),
        ("chat", {"token"}),
        ("debug", {"token", "step", "progress", "checkpoint", "heartbeat"}),
        ("all", TYPES | CUSTOM),
        (None, TYPES | CUSTOM),
        ([], set()),
        (["token"], {"token"}),
        (["step", "heartbeat"], {"step", "heartbeat"}),
        (["custom"], CUSTOM),
        (["custom:a"], {"custom:a"}),
        (["custom", "custom:a"], CUSTOM),
        (["started", "complete", "error", "cancelled"], set()),
        (["complete", "token", "token"], {"token"}),
    ],
)
def test_what_passes_beside_the_mandatory(allowed: str | list[str] | None, expected: set[str]) -> None:
    assert passing(allowed) == expected | MANDATORY_TYPES


def test_the_presets_are_those_of_the_contract() -> None:
    assert set(PRESETS) == {"minimal", "chat", "debug", "all"}


@pytest.mark.parametrize("allowed", [None, "all", ["custom"], ["token"]])
@pytest.mark.parametrize("event_type", ["tokens", "", "Token", "gap", "timeout"])
def test_an_unknown_type_does_not_pass(allowed: str | list[str] | None, event_type: str) -> None:
    assert not EventFilter(allowed).allows(event_type)


@pytest.mark.parametrize("preset", ["", "ALL", "tokens", "token", "custom", "minimal "])
def test_an_unknown_preset_is_refused_with_those_there_are(preset: str) -> None:
    with pytest.raises(ValueError, match="minimal, chat, debug, all"):
        EventFilter(preset)


@pytest.mark.parametrize("event_type", ["tokens", "", "Token", "chat", "all", "customs", " token"])
def test_an_unknown_type_in_a_list_is_refused_with_those_there_are(event_type: str) -> None:
    with pytest.raises(ValueError, match=r"token.*custom:<name>"):
        EventFilter(["token", event_type])


BAD_NAMES = ["", "1a", "a-b", "a b", "a.b", "\xe9", "a\n", "custom:a", "a:b", "a\u0660"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_malformed_custom_name_in_a_list_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must match"):
        EventFilter([f"custom:{name}"])


@pytest.mark.parametrize("name", [name for name in BAD_NAMES if name != "custom:a"])
@pytest.mark.parametrize("prefix", ["", "custom:"])
def test_a_malformed_custom_name_is_no_type(prefix: str, name: str) -> None:
    with pytest.raises(ValueError, match=r"\^\[a-zA-Z_\]\[a-zA-Z0-9_\]\*\$"):
        events.custom_type(prefix + name)


@pytest.mark.parametrize("name", ["a", "_", "A1_b", "token", "complete", "x" * 1_000])
@pytest.mark.parametrize("prefix", ["", "custom:"])
def test_a_custom_name_gets_its_prefix_once(prefix: str, name: str) -> None:
    assert events.custom_type(prefix + name) == f"custom:{name}"


@pytest.mark.parametrize("name", COMMON_FIELDS)
def test_a_custom_field_may_not_hide_a_common_one(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        events.check_custom_fields({"fine": 1, name: 2})


@pytest.mark.parametrize("name", [1, None, ("a",), b"a", 1.5])
def test_a_custom_field_is_named_by_text(name: object) -> None:
    with pytest.raises(ValueError, match="is not a string"):
        events.check_custom_fields({name: 1})


def test_other_custom_fields_are_fine() -> None:
    events.check_custom_fields({"data": 1, "content": 2, "": 3, "ID": 4, "a b": 5})
