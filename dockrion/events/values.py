"""Conversion of the values that agents give to those of an event's fields."""

import math
import operator
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from dockrion import events, json_encoding

_MAX_EXACT = 2**53  # below it a float represents every integer


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    return str(value)


def number(name: str, value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}") from None


def duration(name: str, value: Any) -> float:
    """Return a number, as an integer if it is whole: `12` is shorter and clearer than `12.0`."""
    length = number(name, value)
    whole = length.is_integer() and abs(length) < _MAX_EXACT
    return int(length) if whole else length


def count(name: str, value: Any) -> int:
    """Return a number of tokens; some frameworks count in floats."""
    try:
        tokens = operator.index(int(value) if isinstance(value, float) and value.is_integer() else value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if not 0 <= tokens <= _MAX_EXACT:
        raise TypeError(f"{name} must be from 0 to {_MAX_EXACT}")
    return tokens


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, not {type(value).__name__}")
    return value


def json_object(name: str, value: Any) -> msgspec.Raw:
    """Return a mapping as JSON."""
    encoded = raw_json(name, value)
    if not bytes(encoded).startswith(b"{"):
        raise TypeError(f"{name} must be an object, not {type(value).__name__}")
    return encoded


def add_texts(fields: dict[str, Any], **texts: str | None) -> dict[str, Any]:
    """Add the texts that are given; an event has no field for the others."""
    for name, value in texts.items():
        if value is not None:
            fields[name] = text(name, value)
    return fields


def names(name: str, given: Iterable[str] | None) -> list[str]:
    if isinstance(given, str):
        raise TypeError(f"{name} must be a list of strings, not a string")
    return [] if given is None else [text(name, value) for value in given]


def raw_json(name: str, value: Any) -> msgspec.Raw:
    # Encoded here, outside the event buffer's lock, because a conversion may run the agent's code.
    return msgspec.Raw(json_encoding.encode(value, name))


def time(name: str, value: Any) -> datetime:
    try:
        return msgspec.convert(value, events.Utc)
    except msgspec.ValidationError:
        raise TypeError(f"{name} must be a time with a time zone (RFC 3339)") from None


def blocks(name: str, value: Any) -> msgspec.Raw:
    """Return content blocks as JSON."""
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} must be text or a list of blocks, not {type(value).__name__}")
    encoded = [bytes(json_object(f"{name}[{index}]", block)) for index, block in enumerate(value)]
    return msgspec.Raw(b"[" + b",".join(encoded) + b"]")


def shown(value: Any, limit: int) -> Any:
    """Return a value as JSON or, without a JSON form or above a limit in bytes, text that names its type."""
    try:
        encoded = json_encoding.encode(value)
    except json_encoding.NotJSON:
        encoded = None
    if encoded is not None and len(encoded) <= limit:
        return msgspec.Raw(encoded)
    return f"<{type(value).__name__}>"
