"""What a reader checks of its events, and what the readers of one run check of each other."""

import hashlib
from typing import Any

import msgspec

from dockrion import events
from dockrion.load.frames import Batch, Frame
from dockrion.load.measurements import Figures

TERMINAL = frozenset(name.encode() for name in events.TERMINAL)
_MOST_MISSING = 1000  # sequences that are remembered, to tell late ones from repeated ones


class Check:
    """Follows the events of one reader over all its connections.

    Args:
        figures: Where violations are counted.
        reader: Its name, for words.
        slow: Whether it may fall behind.

    Attributes:
        position: The highest sequence it has seen.
        terminal: The type of the terminal event, once that came.
    """

    def __init__(self, figures: Figures, reader: str, *, slow: bool = False) -> None:
        self.position = 0
        self.terminal: bytes | None = None
        self._figures = figures
        self._reader = reader
        self._slow = slow
        self._missing: set[int] = set()
        self._lost = 0
        self._whole = True
        self._hash = hashlib.blake2b(digest_size=16)

    @property
    def digest(self) -> bytes | None:
        """The hash of all events, or None where they cannot be compared."""
        return self._hash.digest() if self._whole and self.terminal is not None else None

    def take_all(self, batch: Batch, whole: bytes) -> None:
        """Check events that came together."""
        ids = list(map(int, batch.ids))
        first = self.position + 1
        in_order = ids == list(range(first, first + len(ids)))
        if in_order and self.terminal is None and TERMINAL.isdisjoint(batch.types[:-1]):
            self.position = ids[-1]
            self._hash.update(whole)
            if batch.types[-1] in TERMINAL:
                self.terminal = batch.types[-1]
        else:
            self._one_by_one(ids, batch, whole)
        if batch.sequences != batch.ids:
            self._compare_sequences(batch)

    def _one_by_one(self, ids: list[int], batch: Batch, whole: bytes) -> None:
        start = 0
        for sequence, kind in zip(ids, batch.types, strict=True):
            end = whole.index(b"\n\n", start) + 2
            self.take(sequence, kind, whole[start:end])
            start = end

    def take(self, sequence: int, kind: bytes, text: bytes) -> None:
        """Check one event."""
        if self.terminal is not None:
            again = kind in TERMINAL
            what = "second terminal event" if again else "event after the terminal one"
            self._violation(what, f"{_name(kind)} {sequence} after {_name(self.terminal)} at {self.position}")
        elif kind in TERMINAL:
            self.terminal = kind
        if sequence > self.position:
            self._miss(range(self.position + 1, sequence))
            self.position = sequence
        elif sequence in self._missing:
            self._missing.discard(sequence)
            self._violation("out of order", f"event {sequence} after event {self.position}")
        else:
            self._violation("repeated", f"event {sequence} once more, after event {self.position}")
        self._hash.update(text)

    def gap(self, frame: Frame) -> None:
        """Take note that the server no longer has some events."""
        try:
            told: Any = msgspec.json.decode(frame.data or b"")
            first = int(told["first_available"])
        except (msgspec.DecodeError, TypeError, KeyError, ValueError):
            self._violation("gap", "a gap frame that does not say what is gone")
            return
        if not self._slow:
            self._violation("gap", f"events {self.position + 1} to {first - 1} are no longer kept")
        self._whole = False
        self.position = max(self.position, first - 1)

    def unnumbered(self, frame: Frame) -> None:
        """Take note of an event whose id is no sequence."""
        with_id = "without an id" if frame.id is None else f"with the id {_name(frame.id)}"
        self._violation("bad id", f"{_name(frame.event)} {with_id}")

    def end(self, *, complete: bool) -> None:
        """Check what can only be checked at the end.

        Args:
            complete: Whether the server said that nothing follows.
        """
        lost = self._lost + len(self._missing)
        if lost:
            first = f", the first of them {min(self._missing)}" if self._missing else ""
            self._violation("lost", f"{lost} events up to {self.position} never came{first}")
        if complete and self.terminal is None:
            self._violation("no terminal event", f"the stream ended after event {self.position}")

    def differs(self) -> None:
        self._violation("bytes differ", "its events are not those of the run's other readers")

    def _compare_sequences(self, batch: Batch) -> None:
        for number, said in zip(batch.ids, batch.sequences, strict=True):
            if said and said != number:
                self._violation("bad id", f"event {_name(number)} says that its sequence is {_name(said)}")

    def _miss(self, sequences: range) -> None:
        if len(sequences) + len(self._missing) > _MOST_MISSING:
            self._lost += len(sequences)
        else:
            self._missing.update(sequences)

    def _violation(self, kind: str, words: str) -> None:
        self._whole = False
        self._figures.violation(kind, f"{self._reader}: {words}")


def _name(kind: bytes) -> str:
    return kind[:40].decode(errors="replace")


def compare(checks: list[Check]) -> None:
    """Find readers of one run that saw other bytes than the first."""
    first: bytes | None = None
    for check in checks:
        digest = check.digest
        first = digest if first is None else first
        if digest is not None and digest != first:
            check.differs()
