"""Any value an agent may hold, as JSON bytes.

msgspec knows datetimes, dataclasses, sets, bytes, decimals, UUIDs and enums; what it does
not know is converted here. What cannot be JSON is named by its path.
"""

from collections.abc import Iterable, Mapping
from datetime import date, time
from pathlib import PurePath
from typing import Any

import msgspec

NOT_ENCODABLE = "it holds what is no JSON, or is nested too deeply"


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
        value: Anything. Its own conversions may run, and may do whatever they like.
        name: What the value is called in an error.

    Returns:
        UTF-8 JSON on one line.

    Raises:
        NotJSON: Some part of the value has no JSON form.
    """
    failure = _failure(value)
    if isinstance(failure, bytes):
        return failure
    raise _locate(value, name) or NotJSON(name, failure)


def safe_str(value: Any) -> str:
    """Return a value as text, also where its class, code of the agent's, fails to say it."""
    try:
        return str(value)
    except (Exception, SystemExit) as broken:
        return f"<{type(value).__name__}, whose text cannot be had: {type(broken).__name__}>"


def _dumped(model: Any) -> Any:
    try:
        return model.model_dump(mode="json")
    except Exception:  # this mode refuses what the other leaves to us, such as numpy's values
        return model.model_dump()


def _convert(value: Any) -> Any:
    """Turn a value that msgspec does not know into one that it knows."""
    kind = type(value)  # asked instead of the value, since mocks have every attribute
    if hasattr(kind, "model_dump"):  # pydantic models, LangChain messages among them
        return _dumped(value)
    if hasattr(kind, "dtype") and hasattr(kind, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    for known in _SUBCLASSED:
        if isinstance(value, known):
            return known(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Iterable) and hasattr(value, "__len__"):  # deques, dict views, ranges
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_SUBCLASSED: tuple[type[Any], ...] = (str, int, float, bytes)  # msgspec takes them, not their subclasses
_encoder = msgspec.json.Encoder(enc_hook=_convert)
_MAX_DEPTH = 64


def _failure(value: Any) -> bytes | str:
    """Return a value's JSON, or why it has none."""
    try:
        encoded = _encoder.encode(value)
        if b"\n" in encoded or b"\r" in encoded:  # from a msgspec.Raw: nothing else leaves them in
            encoded = _encoder.encode(msgspec.json.decode(encoded))
    except RecursionError:
        return "it is nested too deeply, or contains itself"
    except UnicodeEncodeError:
        return "it holds text that is not valid Unicode"
    except (Exception, SystemExit) as error:  # a conversion is the agent's code
        return safe_str(error) or type(error).__name__
    return encoded


def _locate(value: Any, path: str, depth: int = 0) -> NotJSON | None:
    """Find the innermost part of a value that cannot be encoded."""
    failure = _failure(value)
    if isinstance(failure, bytes):
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
        if (found := _locate(part, part_path, depth + 1)) is not None:
            return found
    return NotJSON(path, failure)
