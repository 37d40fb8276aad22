"""The frames of a response's stream."""

from collections.abc import Sequence
from typing import Any

import msgspec

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

    def add_deltas(self, frame: bytes, deltas: Sequence[bytes]) -> None:
        """Add one event for each delta.

        Args:
            frame: What `delta_frame` returns.
            deltas: JSON.
        """
        self._frames.append(delta_frames(frame, self.count, deltas))
        self.count += len(deltas)

    def data(self) -> bytes:
        return b"".join(self._frames)


def delta_frame(event: bytes, fields: bytes) -> bytes:
    """Return the frame of an event with JSON fields, to be formatted with its number and its delta."""
    return b'event: %s\ndata: {"type":"%s",%s,"sequence_number":%%d,"delta":%%s}\n\n' % (event, event, fields)


def delta_frames(frame: bytes, number: int, deltas: Sequence[bytes]) -> bytes:
    """Return the frames of deltas, the first of which has a number."""
    if len(deltas) == 1:
        return frame % (number, deltas[0])
    values: list[Any] = [None] * (2 * len(deltas))
    values[::2] = range(number, number + len(deltas))
    values[1::2] = deltas
    return frame * len(deltas) % tuple(values)


def in_json(value: Any) -> bytes:
    """Return a value as JSON."""
    return _encode(value)
