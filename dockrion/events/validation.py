"""Checks what agents emit and converts it to the fields of an event."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from dockrion import events
from dockrion.events import values

BuildFields = Callable[..., dict[str, Any]]


def is_event(value: Any) -> bool:
    """Return whether a yielded value is an event: a mapping whose `type` is one that agents may emit."""
    if not isinstance(value, Mapping):
        return False
    event_type = value.get("type")
    return isinstance(event_type, str) and (
        event_type in events.EMITTED_BY_AGENTS or event_type.startswith(events.CUSTOM_PREFIX)
    )


def progress(step: str, progress: float, message: str | None = None) -> dict[str, Any]:
    fraction = values.number("progress", progress)
    if not 0.0 <= fraction <= 1.0:  # NaN too becomes 0.0
        fraction = 1.0 if fraction > 1.0 else 0.0
    return {
        "step": values.text("step", step),
        "progress": fraction,
        "message": None if message is None else values.text("message", message),
    }


def token(
    content: str, finish_reason: str | None = None, message_id: str | None = None, source: str | None = None
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "content": values.text("content", content),
        "finish_reason": None if finish_reason is None else values.text("finish_reason", finish_reason),
    }
    if message_id is None and source is None:
        return fields
    return values.add_texts(fields, message_id=message_id, source=source)


def message(
    content: Any,
    role: str = "assistant",
    message_id: str | None = None,
    name: str | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    return values.add_texts(
        {
            "role": values.text("role", role),
            "content": content if isinstance(content, str) else values.blocks("content", content),
            "name": None if name is None else values.text("name", name),
        },
        message_id=message_id,
        source=source,
    )


def reasoning(content: str, message_id: str | None = None, source: str | None = None) -> dict[str, Any]:
    return values.add_texts(
        {"content": values.text("content", content)}, message_id=message_id, source=source
    )


def tool_call(
    tool_call_id: str,
    name: str,
    arguments: Any = None,
    message_id: str | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    return values.add_texts(
        {
            "tool_call_id": values.text("tool_call_id", tool_call_id),
            "name": values.text("name", name),
            "arguments": values.raw_json("arguments", {} if arguments is None else arguments),
        },
        message_id=message_id,
        source=source,
    )


def tool_result(
    tool_call_id: str,
    result: Any = None,
    is_error: bool = False,
    name: str | None = None,
    duration_ms: float | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    return values.add_texts(
        {
            "tool_call_id": values.text("tool_call_id", tool_call_id),
            "name": None if name is None else values.text("name", name),
            "result": values.raw_json("result", result),
            "is_error": values.flag("is_error", is_error),
            "duration_ms": None if duration_ms is None else values.duration("duration_ms", duration_ms),
        },
        source=source,
    )


def usage(
    model: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    total_tokens: int | None = None,
    details: Mapping[str, Any] | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    counts = {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total_tokens}
    fields: dict[str, Any] = {"model": None if model is None else values.text("model", model)}
    fields |= {name: None if count is None else values.count(name, count) for name, count in counts.items()}
    if total_tokens is None and None not in (input_tokens, output_tokens):
        fields["total_tokens"] = fields["input_tokens"] + fields["output_tokens"]
    fields["details"] = None if details is None else values.json_object("details", details)
    return values.add_texts(fields, source=source)


def input_requested(
    request_id: str,
    prompt: str,
    schema: Mapping[str, Any] | None = None,
    expires_at: datetime | str | None = None,
) -> dict[str, Any]:
    return {
        "request_id": values.text("request_id", request_id),
        "prompt": values.text("prompt", prompt),
        "schema": None if schema is None else values.json_object("schema", schema),
        "expires_at": None if expires_at is None else values.time("expires_at", expires_at),
    }


def step(
    node_name: str,
    duration_ms: float | None = None,
    input_keys: Iterable[str] | None = None,
    output_keys: Iterable[str] | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    return values.add_texts(
        {
            "node_name": values.text("node_name", node_name),
            "duration_ms": None if duration_ms is None else values.duration("duration_ms", duration_ms),
            "input_keys": values.names("input_keys", input_keys),
            "output_keys": values.names("output_keys", output_keys),
        },
        source=source,
    )


def checkpoint(name: str, data: Any) -> dict[str, Any]:
    return {"name": values.text("name", name), "data": values.raw_json("data", data)}


def custom(data: Any = None, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    own = dict(data) if isinstance(data, Mapping) else {} if data is None else {"data": data}
    own.update(fields or {})
    events.check_custom_fields(own)
    return {name: values.raw_json(name, value) for name, value in own.items()}


_BUILDERS: dict[str, BuildFields] = {
    "progress": progress,
    "token": token,
    "message": message,
    "reasoning": reasoning,
    "tool_call": tool_call,
    "tool_result": tool_result,
    "usage": usage,
    "input_requested": input_requested,
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


def fields_of(event_type: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an event of a type that agents may emit.

    Raises:
        TypeError: A field is missing or has the wrong type.
        ValueError: A field does not belong to this type.
        json_encoding.NotJSON: A value has no JSON form.
    """
    if event_type not in _BUILDERS:
        return custom(given)
    known = events.CONFIGURABLE[event_type].__struct_fields__
    for name in given:
        if name not in known or name in events.COMMON_FIELDS:
            raise ValueError(f"a {event_type} event has no field {name!r}")
    builder = _BUILDERS[event_type]
    try:
        return builder(**given)
    except TypeError as error:
        if missing := [name for name in _required(builder) if name not in given]:
            raise TypeError(f"a {event_type} event needs {' and '.join(missing)}") from None
        raise TypeError(f"a {event_type} event is mistyped: {error}") from None


def _required(builder: BuildFields) -> list[str]:
    parameters = inspect.signature(builder).parameters.values()
    return [each.name for each in parameters if each.default is each.empty]
