"""Text that grows piece by piece, in the states of encoders, which are immutable and follow each other."""

from collections.abc import Sequence
from typing import Any

import msgspec

PARAGRAPH = b'"\\n\\n"'  # as JSON; what separates messages
Chain = tuple[()] | tuple[Any, Any]  # (what was before, the last value): appending copies nothing
_BLOCK = 256  # parts; it bounds what each takes beside its text


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

    @property
    def is_empty(self) -> bool:
        """Whether it has no pieces so far."""
        return not (self.blocks or self.parts)

    def json(self) -> bytes:
        """Return the JSON of the whole text."""
        return b'"%s%s"' % (b"".join(values_of(self.blocks)), b"".join(values_of(self.parts)))

    def __eq__(self, other: object) -> bool:
        """Return whether the text is the same, whatever parts it has come in."""
        return isinstance(other, GrowingText) and self.json() == other.json()

    def __hash__(self) -> int:
        return hash(self.json())


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
