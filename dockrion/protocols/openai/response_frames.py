"""The frames of a response's stream, and text that grows piece by piece."""

from collections.abc import Sequence
from typing import Any

import msgspec

Chain = tuple[()] | tuple[Any, Any]  # (what was before, the last value): appending copies nothing
_BLOCK = 256  # pieces; it bounds what each takes beside its text
_encode = msgspec.json.Encoder().encode


class GrowingText(msgspec.Struct, frozen=True):
    """Text that grows piece by piece. Appending copies a piece once, and not what was there before.

    Attributes:
        blocks: The JSON of the text without quotes, in long parts.
        pieces: The JSON of the last pieces.
        count: How many these are.
    """

    blocks: Chain = ()
    pieces: Chain = ()
    count: int = 0

    def with_pieces(self, pieces: Sequence[bytes]) -> "GrowingText":
        """Return the text followed by pieces, each the JSON of a string."""
        if len(pieces) == 1 and self.count + 1 < _BLOCK:  # the usual case, so it is worth a way of its own
            return GrowingText(self.blocks, (self.pieces, pieces[0]), self.count + 1)
        blocks, chain, count, start = self.blocks, self.pieces, self.count, 0
        while start < len(pieces):
            part = pieces[start : start + _BLOCK - count]
            start += len(part)
            if count + len(part) == _BLOCK:
                blocks, chain, count = (blocks, _joined([*values_of(chain), *part])), (), 0
                continue
            for piece in part:
                chain = (chain, piece)
            count += len(part)
        return GrowingText(blocks, chain, count)

    def json(self) -> bytes:
        """Return the JSON of the whole text."""
        return b'"%s%s"' % (b"".join(values_of(self.blocks)), _joined(values_of(self.pieces)))


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
