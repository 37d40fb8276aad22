"""The JSON of an event: its fields, their order, and what cannot be encoded."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from dockrion import events
from dockrion.events import COMMON_FIELDS
from dockrion.json_encoding import NotJSON

AT = datetime(2026, 11, 22, 10, 30, 5, 123456, UTC)
FIELDS: dict[str, dict[str, Any]] = {
    "started": {"agent_name": "a", "framework": "custom"},
    "complete": {"output": {"b": 1}, "latency_seconds": 1.5, "metadata": {"c": 2}},
    "error": {"error": "e", "code": "C", "details": {"d": [1]}},
    "cancelled": {"reason": "r"},
    "progress": {"step": "s", "progress": 0.5, "message": "m"},
    "token": {"content": "Hello", "finish_reason": "stop", "message_id": "m", "source": "a"},
    "message": {"message_id": "m", "role": "user", "content": "Hi", "name": "Ann", "source": "a"},
    "reasoning": {"content": "So", "message_id": "m", "source": "a"},
    "tool_call": {"tool_call_id": "c", "name": "n", "arguments": {"q": 1}, "message_id": "m", "source": "a"},
    "tool_result": {
        "tool_call_id": "c",
        "name": "n",
        "result": [1],
        "is_error": True,
        "duration_ms": 1.5,
        "source": "a",
    },
    "usage": {
        "model": "m",
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "details": {"cached": 1},
        "source": "a",
    },
    "input_requested": {
        "request_id": "r",
        "prompt": "Send it?",
        "schema": {"type": "boolean"},
        "expires_at": "2026-11-22T10:30:05Z",
    },
    "input_received": {"request_id": "r", "value": True, "source": "ann"},
    "step": {"node_name": "n", "duration_ms": 1.5, "input_keys": ["i"], "output_keys": ["o"], "source": "a"},
    "checkpoint": {"name": "n", "data": {"x": 1}},
    "heartbeat": {},
    "custom:mine": {"x": 1, "a": [2], "data": None},
}
OPTIONAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "error": ({"error": "e", "code": "C"}, {"details": None}),
    "cancelled": ({}, {"reason": None}),
    "progress": ({"step": "s", "progress": 1.0}, {"message": None}),
    "token": ({"content": "c"}, {"finish_reason": None}),
    "message": ({"role": "user", "content": "c"}, {"name": None}),
    "reasoning": ({"content": "c"}, {}),
    "tool_call": ({"tool_call_id": "c", "name": "n"}, {"arguments": {}}),
    "tool_result": (
        {"tool_call_id": "c"},
        {"name": None, "result": None, "is_error": False, "duration_ms": None},
    ),
    "usage": ({}, dict.fromkeys(["model", "input_tokens", "output_tokens", "total_tokens", "details"])),
    "input_requested": ({"request_id": "r", "prompt": "p"}, {"schema": None, "expires_at": None}),
    "input_received": ({"request_id": "r"}, {"source": None}),
    "step": ({"node_name": "n"}, {"duration_ms": None, "input_keys": [], "output_keys": []}),
}


def encoded(event_type: str, fields: dict[str, Any], sequence: int = 7) -> bytes:
    return events.encode(event_type, "run-1", sequence, AT, fields)


@pytest.mark.parametrize(("event_type", "fields"), FIELDS.items())
def test_common_fields_come_first_then_the_types_own_in_order(
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


@pytest.mark.parametrize("at", [AT, AT.replace(microsecond=0)])
def test_own_fields_are_all_but_the_common_ones(at: datetime) -> None:
    for event_type, fields in FIELDS.items():
        data = events.encode(event_type, "run-1", 7, at, fields)
        assert msgspec.json.decode(events.own_fields(data)) == fields


@pytest.mark.parametrize("event_type", OPTIONAL)
def test_omitted_optional_field_is_null_or_left_out(event_type: str) -> None:
    given, filled = OPTIONAL[event_type]
    found = msgspec.json.decode(encoded(event_type, given))
    left_out = {name for name in FIELDS[event_type] if name not in given | filled}
    assert left_out <= {"message_id", "source", "value"}
    assert list(found) == [*COMMON_FIELDS, *(name for name in FIELDS[event_type] if name not in left_out)]
    assert {name: found[name] for name in filled} == filled


def test_example_of_the_contract_byte_for_byte() -> None:
    assert encoded("token", {"content": "Hello", "finish_reason": None}) == (
        b'{"id":"run-1:7","type":"token","run_id":"run-1","sequence":7,'
        b'"timestamp":"2026-11-22T10:30:05.123456Z","content":"Hello","finish_reason":null}'
    )


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\0", "\u2028", "\x85", "data: x\n\n"])
def test_event_is_one_line(text: str) -> None:
    data = encoded("token", {"content": text})
    assert b"\n" not in data
    assert b"\r" not in data
    assert msgspec.json.decode(data)["content"] == text


def test_raw_json_is_embedded_unchanged() -> None:
    data = encoded("checkpoint", {"name": "n", "data": msgspec.Raw(b'{"z":1,"a":1.0}')})
    assert data.endswith(b',"data":{"z":1,"a":1.0}}')


@pytest.mark.parametrize("event_type", ["checkpoint", "custom:mine"])
def test_error_names_the_field_that_cannot_be_json(event_type: str) -> None:
    with pytest.raises(NotJSON, match=r"^data\.x\[1\] cannot be JSON"):
        encoded(event_type, {"name": "n", "data": {"x": [1, object()]}})


def test_service_heartbeat_has_only_the_common_fields() -> None:
    found = msgspec.json.decode(events.encode_heartbeat("run-1", 41, "beat"))
    assert list(found) == list(COMMON_FIELDS)
    assert (found["type"], found["sequence"]) == ("heartbeat", 41)
    assert datetime.fromisoformat(found["timestamp"]).utcoffset() is not None


def test_service_heartbeats_have_unique_ids() -> None:
    ids = {msgspec.json.decode(events.encode_heartbeat("run-1", 1, beat))["id"] for beat in "ab"}
    assert len(ids | {"run-1:1"}) == 3
