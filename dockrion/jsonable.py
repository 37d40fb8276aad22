"""Any value an agent may hold, as JSON bytes.

msgspec knows datetimes, dataclasses, sets, bytes, decimals, UUIDs and enums; what it does
not know is converted here. What cannot be JSON is named by its path.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import msgspec


class NotJSON(TypeError):
    """A value that has no JSON form.

    Args:
        path: Where it stands, such as `data.items[2]`.
        reason: Why it cannot be converted.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be JSON: {reason}")
        self.path = path
        self.reason = reason


def encode(value: Any, name: str = "value") -> bytes:
    """Encode a value as JSON.

    Args:
        value: Anything.
        name: What the value is called in an error.

    Returns:
        UTF-8 JSON on one line.

    Raises:
        NotJSON: Some part of the value has no JSON form.
    """
    try:
        return _encoder.encode(value)
    except _FAILURES as error:
        raise _locate(value, name) or NotJSON(name, _reason(error)) from None


def _convert(value: Any) -> Any:
    """Turn a value that msgspec does not know into one that it knows."""
    if hasattr(value, "model_dump"):  # pydantic models, LangChain messages among them
        return value.model_dump()
    if hasattr(value, "dtype") and hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    for known in (str, int, float):
        if isinstance(value, known):  # msgspec refuses subclasses of these
            return known(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Iterable) and hasattr(value, "__len__"):  # deques, dict views, ranges
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encoder = msgspec.json.Encoder(enc_hook=_convert)
# What an encoder, or a model's own conversion, may raise is whatever it likes.
_FAILURES = (Exception,)
_MAX_DEPTH = 64


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or contains itself"
    if isinstance(error, UnicodeEncodeError):
        return "it holds text that is not valid Unicode"
    return str(error) or type(error).__name__


def _locate(value: Any, path: str, depth: int = 0) -> NotJSON | None:
    """Find the innermost part of a value that cannot be encoded."""
    if depth > _MAX_DEPTH:
        return NotJSON(path, "it is nested too deeply, or contains itself")
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        parts = [(f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    for part_path, part in parts:
        if (found := _locate(part, part_path, depth + 1)) is not None:
            return found
    try:
        _encoder.encode(value)
    except _FAILURES as error:
        return NotJSON(path, _reason(error))
    return None
