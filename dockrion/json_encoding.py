"""JSON encoding of arbitrary Python values that agents emit and return.

msgspec encodes datetimes, dataclasses, sets, bytes, decimals, UUIDs and enums itself; `_convert` adds
pydantic models, numpy values, LangChain messages and common containers. The error for a value that has no
JSON form names the path of the innermost part that cannot be encoded.
"""

from collections.abc import Iterable, Mapping
from datetime import date, time
from pathlib import PurePath
from typing import Any

import msgspec

NOT_ENCODABLE = "it contains a value that is not JSON, or is nested too deeply"


class NotJSON(TypeError):
    """A value that has no JSON form.

    Args:
        path: The path of the value, such as `data.items[2]`.
        reason: Why it cannot be encoded.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be JSON: {reason}")
        self.path = path
        self.reason = reason


def encode(value: Any, name: str = "value") -> bytes:
    """Encode a value as JSON.

    Args:
        value: Any value. Encoding may run its own conversion methods, which may raise anything.
        name: The value's name in an error.

    Returns:
        UTF-8 JSON on one line.

    Raises:
        NotJSON: A part of the value has no JSON form.
    """
    result = _encode_or_reason(value)
    if isinstance(result, bytes):
        return result
    raise _locate(value, name) or NotJSON(name, result)


def safe_str(value: Any) -> str:
    """Return `str(value)`, or a placeholder if the value's own `__str__` raises."""
    try:
        return str(value)
    except (Exception, SystemExit) as error:
        return f"<{type(value).__name__}: __str__ raised {type(error).__name__}>"


def describe_error(error: BaseException) -> str:
    """Return an exception's type and message on one line."""
    return " ".join(f"{type(error).__name__}: {safe_str(error)}".split())


def _dump_model(model: Any) -> Any:
    try:
        return model.model_dump(mode="json")
    except Exception:  # this mode rejects values that `_convert` handles, such as numpy's
        return model.model_dump()


def _convert(value: Any) -> Any:
    """Convert a value of a type that msgspec does not support."""
    kind = type(value)  # not the value, as mocks have every attribute
    if hasattr(kind, "model_dump"):  # pydantic models, LangChain messages among them
        return _dump_model(value)
    if hasattr(kind, "dtype") and hasattr(kind, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    for base in _BASES:
        if isinstance(value, base):
            return base(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Iterable) and hasattr(value, "__len__"):  # deques, dict views, ranges
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_BASES: tuple[type[Any], ...] = (str, int, float, bytes)  # msgspec does not encode their subclasses
_encoder = msgspec.json.Encoder(enc_hook=_convert)
_MAX_DEPTH = 64


def _encode_or_reason(value: Any) -> bytes | str:
    """Return a value's JSON, or the reason why it cannot be encoded."""
    try:
        encoded = _encoder.encode(value)
        if b"\n" in encoded or b"\r" in encoded:  # only a `msgspec.Raw` can contain them
            encoded = _encoder.encode(msgspec.json.decode(encoded))
    except RecursionError:
        return "it is nested too deeply, or contains itself"
    except UnicodeEncodeError:
        return "it contains text that is not valid Unicode"
    except (Exception, SystemExit) as error:  # conversion methods are the agent's code
        return safe_str(error) or type(error).__name__
    return encoded


def _locate(value: Any, path: str, depth: int = 0) -> NotJSON | None:
    """Return the error of the innermost part that cannot be encoded, or None if the value can be."""
    result = _encode_or_reason(value)
    if isinstance(result, bytes):
        return None
    parts: list[tuple[str, Any]] = []
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        for key in value:
            if isinstance(key, tuple) or key is None:
                return NotJSON(path, f"a key must be text or a number, not {type(key).__name__}")
        parts = [(f"{path}.{safe_str(key)}", item) for key, item in value.items()]
    elif depth < _MAX_DEPTH and isinstance(value, list | tuple):
        parts = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    for part_path, part in parts:
        if (error := _locate(part, part_path, depth + 1)) is not None:
            return error
    return NotJSON(path, result)
