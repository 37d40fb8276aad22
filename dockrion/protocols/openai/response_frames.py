"""The frames of a response's stream, and text that grows piece by piece."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

Chain = tuple[()] | tuple[Any, Any]  # (what was before, the last value): appending copies nothing
_encode = msgspec.json.Encoder().encode


class Frames:
    """Numbered server-sent events.

    Args:
        count: How many there were before.

    Attributes:
        count: How many there are; the number of the next one.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._frames: list[bytes] = []

    def add(self, event: bytes, fields: bytes) -> None:
        """Add an event with JSON fields."""
        self._frames.append(
            b'event: %s\ndata: {"type":"%s","sequence_number":%d,%s}\n\n' % (event, event, self.count, fields)
        )
        self.count += 1

    def add_deltas(self, event: bytes, fields: bytes, deltas: Sequence[bytes]) -> None:
        """Add one event for each delta, which is JSON."""
        one = b'event: %s\ndata: {"type":"%s",%s,"sequence_number":%%d,"delta":%%s}\n\n'
        values: list[Any] = [None] * (2 * len(deltas))
        values[::2] = range(self.count, self.count + len(deltas))
        values[1::2] = deltas
        self._frames.append((one % (event, event, fields)) * len(deltas) % tuple(values))
        self.count += len(deltas)

    def data(self) -> bytes:
        return b"".join(self._frames)


def in_json(value: Any) -> bytes:
    """Return a value as JSON."""
    return _encode(value)


def from_json(value: bytes) -> Any:
    """Return the value of JSON that an agent has emitted."""
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:  # a number beyond those of msgspec
        return json.loads(bytes(value))


def values_of(chain: Chain) -> list[Any]:
    """Return the values of a chain, first to last."""
    values = []
    while chain:
        chain, value = chain
        values.append(value)
    values.reverse()
    return values


def joined(pieces: Chain) -> bytes:
    """Return the JSON of the text that consists of these pieces."""
    return b'"%s"' % b"".join(piece[1:-1] for piece in values_of(pieces))
