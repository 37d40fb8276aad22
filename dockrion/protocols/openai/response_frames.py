"""The frames of a response's stream, and text that grows piece by piece."""

from collections.abc import Sequence
from typing import Any

import msgspec

Chain = tuple[()] | tuple[Any, Any]  # (what was before, the last value): appending copies nothing
_BLOCK = 256  # parts; it bounds what each takes beside its text
_encode = msgspec.json.Encoder().encode


class GrowingText(msgspec.Struct, frozen=True, eq=False):
    """Text that grows piece by piece. Appending copies a piece once, and not what was there before.

    Attributes:
        blocks: The JSON of the text without quotes, in long parts.
        parts: The JSON of what follows without quotes, in short parts.
        count: How many short parts these are.
    """

    blocks: Chain = ()
    parts: Chain = ()
    count: int = 0

    def with_pieces(self, pieces: Sequence[bytes]) -> "GrowingText":
        """Return the text followed by pieces, each the JSON of a string."""
        part = pieces[0][1:-1] if len(pieces) == 1 else _joined(pieces)
        if self.count + 1 < _BLOCK:
            return GrowingText(self.blocks, (self.parts, part), self.count + 1)
        return GrowingText((self.blocks, b"".join([*values_of(self.parts), part])))

    def json(self) -> bytes:
        """Return the JSON of the whole text."""
        return b'"%s%s"' % (b"".join(values_of(self.blocks)), b"".join(values_of(self.parts)))

    def __eq__(self, other: object) -> bool:
        """Return whether the text is the same, whatever parts it has come in."""
        return isinstance(other, GrowingText) and self.json() == other.json()

    def __hash__(self) -> int:
        return hash(self.json())


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


def values_of(chain: Chain) -> list[Any]:
    """Return the values of a chain, first to last."""
    values = []
    while chain:
        chain, value = chain
        values.append(value)
    values.reverse()
    return values


def _joined(pieces: Sequence[bytes]) -> bytes:
    """Return the JSON of the text that strings make together, without its quotes."""
    # JSON has no line break, so that these quotes are the end of one string and the beginning of the next.
    return b"\n".join(pieces).replace(b'"\n"', b"")[1:-1]
