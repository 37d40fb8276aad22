"""What a reader verifies of its events, and what the readers of one run verify of each other."""

import hashlib
import re
from collections.abc import Sequence
from typing import TypeGuard

import msgspec

from dockrion.events import TERMINAL, Utc
from dockrion.load.measurements import Measurements
from dockrion.wire.sse import Message

_SEQUENCE = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_MAX_MISSING = 1000  # sequences that are remembered, to tell late events from repeated ones


class Envelope(msgspec.Struct, gc=False):
    """The common fields of an event's data that are checked; None for one that is absent."""

    sequence: int | None = None
    timestamp: Utc | None = None


class _Sequence(msgspec.Struct):
    sequence: int | None = None


class _Gap(msgspec.Struct):
    first_available: int


_envelope_decoder = msgspec.json.Decoder(Envelope)


def decode_envelopes(events: Sequence[Message]) -> list[Envelope]:
    """Decode the envelope of each event, an empty one for data that has none."""
    try:
        envelopes = _envelope_decoder.decode_lines("\n".join([event.data for event in events]))
    except (msgspec.DecodeError, RecursionError):
        envelopes = []
    if len(envelopes) == len(events):  # else an event's data is malformed, or not one line
        return envelopes
    return [_decode_envelope(event.data) for event in events]


def _decode_envelope(data: str) -> Envelope:
    try:
        return _envelope_decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:  # its timestamp may be what is malformed
        return Envelope(msgspec.json.decode(data, type=_Sequence).sequence)
    except (msgspec.DecodeError, RecursionError):
        return Envelope()


class Verifier:
    """Verifies the events of one reader, over all its connections.

    Args:
        measurements: Where violations are counted.
        reader: The reader's name in descriptions of violations.
        slow: Whether the reader is slow on purpose, and may miss events.

    Attributes:
        position: The highest sequence so far.
        terminal: The terminal event, once it has been received.
    """

    def __init__(self, measurements: Measurements, reader: str, *, slow: bool = False) -> None:
        self.position = 0
        self.terminal: Message | None = None
        self._measurements = measurements
        self._reader = reader
        self._slow = slow
        self._missing: set[int] = set()
        self._lost = 0
        self._comparable = True
        self._hash = hashlib.blake2b(digest_size=16)

    @property
    def digest(self) -> bytes | None:
        """The hash of all events, None if they cannot be compared with another reader's."""
        return self._hash.digest() if self._comparable and self.terminal is not None else None

    def verify(self, events: Sequence[Message], envelopes: Sequence[Envelope]) -> None:
        """Verify events that were received together."""
        expected = range(self.position + 1, self.position + 1 + len(events))
        in_order = [event.id for event in events] == list(map(str, expected))
        if in_order and self.terminal is None and TERMINAL.isdisjoint([each.event for each in events[:-1]]):
            self.position += len(events)
            if events[-1].event in TERMINAL:
                self.terminal = events[-1]
        else:
            for event in events:
                self._verify_one(event)
        if not in_order or [each.sequence for each in envelopes] != list(expected):
            self._compare_sequences(events, envelopes)
        text = "".join([f"{event.id}\n{event.event}\n{event.data}\n" for event in events])
        self._hash.update(text.encode())

    def _verify_one(self, event: Message) -> None:
        if not _is_sequence(event.id):
            self.report_bad_id(event)
            return
        sequence = int(event.id)
        if self.terminal is not None:
            kind = "second terminal event" if event.event in TERMINAL else "event after the terminal one"
            self._report(kind, f"{event.event:.40} {sequence} after {self.terminal.event} at {self.position}")
        elif event.event in TERMINAL:
            self.terminal = event
        if sequence > self.position:
            self._add_missing(range(self.position + 1, sequence))
            self.position = sequence
        elif sequence in self._missing:
            self._missing.discard(sequence)
            self._report("out of order", f"event {sequence} after event {self.position}")
        else:
            self._report("repeated", f"event {sequence} again, after event {self.position}")

    def _compare_sequences(self, events: Sequence[Message], envelopes: Sequence[Envelope]) -> None:
        for event, envelope in zip(events, envelopes, strict=True):
            differs = envelope.sequence is not None and str(envelope.sequence) != event.id
            if differs and _is_sequence(event.id):  # other ids have been reported
                self._report(
                    "bad id", f"event {event.id:.40} has the sequence {envelope.sequence} in its data"
                )

    def verify_gap(self, frame: Message) -> None:
        """Process a `gap` frame: the service no longer stores some events."""
        try:
            first_available = msgspec.json.decode(frame.data, type=_Gap).first_available
        except (msgspec.DecodeError, RecursionError):
            self._report("gap", "malformed gap frame")
            return
        if not self._slow:
            self._report("gap", f"events {self.position + 1} to {first_available - 1} are no longer stored")
        self._comparable = False
        self.position = max(self.position, first_available - 1)

    def report_bad_id(self, event: Message) -> None:
        """Report an event whose id is not a sequence."""
        id_ = "without an id" if event.id is None else f"with the id {event.id:.40}"
        self._report("bad id", f"{event.event:.40} {id_}")

    def end(self, *, complete: bool) -> None:
        """Report what is certain only at the end.

        Args:
            complete: Whether the service ended the stream, rather than an error.
        """
        lost = self._lost + len(self._missing)
        if lost:
            first = f", the first of them {min(self._missing)}" if self._missing else ""
            self._report("lost", f"{lost} events up to {self.position} were not received{first}")
        if complete and self.terminal is None:
            self._report("no terminal event", f"the stream ended after event {self.position}")

    def report_difference(self) -> None:
        self._report("bytes differ", "its events differ from those of the run's other readers")

    def _add_missing(self, sequences: range) -> None:
        if len(sequences) + len(self._missing) > _MAX_MISSING:
            self._lost += len(sequences)
        else:
            self._missing.update(sequences)

    def _report(self, kind: str, description: str) -> None:
        self._comparable = False
        self._measurements.count_violation(kind, f"{self._reader}: {description}")


def _is_sequence(id_: str | None) -> TypeGuard[str]:
    return id_ is not None and _SEQUENCE.fullmatch(id_) is not None


def compare(verifiers: Sequence[Verifier]) -> None:
    """Report the readers of one run whose events differ from those of the first."""
    first: bytes | None = None
    for verifier in verifiers:
        digest = verifier.digest
        first = digest if first is None else first
        if digest is not None and digest != first:
            verifier.report_difference()
