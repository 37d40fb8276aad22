"""Checks what agents emit and converts it to the fields of an event."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from dockrion import events, json_encoding

BuildFields = Callable[..., dict[str, Any]]
_MAX_EXACT = 2**53  # below it a float represents every integer


def is_event(value: Any) -> bool:
    """Return whether a yielded value is an event: a mapping whose `type` is one that agents may emit."""
    if not isinstance(value, Mapping):
        return False
    event_type = value.get("type")
    return isinstance(event_type, str) and (
        event_type in events.CONFIGURABLE or event_type.startswith(events.CUSTOM_PREFIX)
    )


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    return str(value)


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}") from None


def _duration(name: str, value: Any) -> float:
    """Return a number, as an integer if it is whole: `12` is shorter and clearer than `12.0`."""
    number = _number(name, value)
    return int(number) if number.is_integer() and abs(number) < _MAX_EXACT else number


def _names(name: str, values: Iterable[str] | None) -> list[str]:
    if isinstance(values, str):
        raise TypeError(f"{name} must be a list of strings, not a string")
    return [] if values is None else [_text(name, value) for value in values]


def progress(step: str, progress: float, message: str | None = None) -> dict[str, Any]:
    fraction = _number("progress", progress)
    if not 0.0 <= fraction <= 1.0:  # NaN too becomes 0.0
        fraction = 1.0 if fraction > 1.0 else 0.0
    return {
        "step": _text("step", step),
        "progress": fraction,
        "message": None if message is None else _text("message", message),
    }


def token(content: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {
        "content": _text("content", content),
        "finish_reason": None if finish_reason is None else _text("finish_reason", finish_reason),
    }


def step(
    node_name: str,
    duration_ms: float | None = None,
    input_keys: Iterable[str] | None = None,
    output_keys: Iterable[str] | None = None,
) -> dict[str, Any]:
    return {
        "node_name": _text("node_name", node_name),
        "duration_ms": None if duration_ms is None else _duration("duration_ms", duration_ms),
        "input_keys": _names("input_keys", input_keys),
        "output_keys": _names("output_keys", output_keys),
    }


def checkpoint(name: str, data: Any) -> dict[str, Any]:
    return {"name": _text("name", name), "data": _json("data", data)}


def custom(data: Any = None, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    values = dict(data) if isinstance(data, Mapping) else {} if data is None else {"data": data}
    values.update(fields or {})
    events.check_custom_fields(values)
    return {name: _json(name, value) for name, value in values.items()}


def _json(name: str, value: Any) -> msgspec.Raw:
    # Encoded here, outside the event buffer's lock, because a conversion may run the agent's code.
    return msgspec.Raw(json_encoding.encode(value, name))


_BUILDERS: dict[str, BuildFields] = {
    "progress": progress,
    "token": token,
    "step": step,
    "checkpoint": checkpoint,
    "heartbeat": dict,
}


def type_of(event: Mapping[str, Any]) -> str:
    """Return the event type of a mapping for which `is_event` is true.

    Raises:
        ValueError: The name of a custom event is malformed.
    """
    event_type: str = event["type"]
    return event_type if event_type in _BUILDERS else events.custom_type(event_type)


def from_mapping(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an event that an agent yielded as a mapping.

    Raises:
        TypeError: A field is missing or has the wrong type.
        ValueError: A field does not belong to this type.
        json_encoding.NotJSON: A value has no JSON form.
    """
    return fields_of(event["type"], {name: value for name, value in event.items() if name != "type"})


def fields_of(event_type: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an event of a type that agents may emit.

    Raises:
        TypeError: A field is missing or has the wrong type.
        ValueError: A field does not belong to this type.
        json_encoding.NotJSON: A value has no JSON form.
    """
    if event_type not in _BUILDERS:
        return custom(values)
    known = events.CONFIGURABLE[event_type].__struct_fields__
    for name in values:
        if name not in known or name in events.COMMON_FIELDS:
            raise ValueError(f"a {event_type} event has no field {name!r}")
    try:
        return _BUILDERS[event_type](**values)
    except TypeError as error:
        raise TypeError(f"a {event_type} event is incomplete or mistyped: {error}") from None
