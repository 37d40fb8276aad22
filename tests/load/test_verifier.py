"""What the verifier reports about the events of one reader, and of the readers of one run."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion import events
from dockrion.events import Entry
from dockrion.events.control_frames import Gap
from dockrion.load.measurements import Measurements
from dockrion.load.verifier import Envelope, Verifier, compare, decode_envelopes
from dockrion.wire import sse
from dockrion.wire.sse import Decoder, Message

NOW = datetime(2026, 11, 23, 10, 30, 5, 123456, tzinfo=UTC)


def frame(sequence: int, type_: str = "token", content: str = "x") -> bytes:
    return sse.encode_event(Entry(sequence, type_, f'"{content}"'.encode(), 0.0))


def verify(verifier: Verifier, stream: bytes) -> None:
    messages = Decoder().feed(stream)
    verifier.verify(messages, decode_envelopes(messages))


def verified(sequences: list[int]) -> Measurements:
    measurements = Measurements()
    verifier = Verifier(measurements, "a reader")
    verify(verifier, b"".join(map(frame, sequences[:-1])) + frame(sequences[-1], "complete"))
    verifier.end(complete=True)
    return measurements


@given(st.integers(1, 50), st.data())
def test_a_whole_run_in_any_batches_violates_nothing(last: int, data: st.DataObject) -> None:
    measurements = Measurements()
    verifier = Verifier(measurements, "a reader")
    first = 1
    while first <= last:
        end = data.draw(st.integers(first, last))
        types = {last: "complete"}
        verify(verifier, b"".join(frame(n, types.get(n, "token")) for n in range(first, end + 1)))
        first = end + 1
    verifier.end(complete=True)
    assert not measurements.violations
    assert verifier.terminal is not None
    assert (verifier.position, verifier.terminal.event) == (last, "complete")
    assert verifier.digest is not None


@given(st.integers(2, 30).flatmap(lambda last: st.lists(st.integers(1, last), min_size=1)), st.data())
def test_any_sequences_but_one_to_n_are_a_violation_in_any_batches(
    sequences: list[int], data: st.DataObject
) -> None:
    measurements = Measurements()
    verifier = Verifier(measurements, "a reader")
    rest = [frame(sequence) for sequence in sequences[:-1]] + [frame(sequences[-1], "complete")]
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        verify(verifier, b"".join(rest[:size]))
        del rest[:size]
    verifier.end(complete=True)
    assert bool(measurements.violations) == (sequences != list(range(1, len(sequences) + 1)))


@pytest.mark.parametrize(
    ("sequences", "violations"),
    [
        ([1, 2, 2, 3], {"repeated": 1}),
        ([1, 3], {"lost": 1}),
        ([2, 3], {"lost": 1}),
        ([1, 3, 2, 4], {"out of order": 1}),
        ([1, 2, 3, 1, 2, 3, 4], {"repeated": 3}),
    ],
)
def test_sequences_that_are_not_one_to_n(sequences: list[int], violations: dict[str, int]) -> None:
    assert verified(sequences).violations == violations


def event_after_the_end(verifier: Verifier) -> None:
    verify(verifier, frame(1, "complete") + frame(2))


def two_ends(verifier: Verifier) -> None:
    verify(verifier, frame(1, "complete"))
    verify(verifier, frame(2, "error"))


def no_end(verifier: Verifier) -> None:
    verify(verifier, frame(1))


def events_no_longer_stored(verifier: Verifier) -> None:
    verifier.verify_gap(message(sse.encode_control(Gap(1, 5))))
    verify(verifier, frame(5, "complete"))


def malformed_gap(verifier: Verifier) -> None:
    verifier.verify_gap(message(b"event: gap\ndata: soon\n\n"))
    verify(verifier, frame(1, "complete"))


def no_sequence(verifier: Verifier) -> None:
    verify(verifier, b"id: abc\nevent: token\ndata: 1\n\n")
    verify(verifier, frame(1, "complete"))


def no_id(verifier: Verifier) -> None:
    verifier.report_bad_id(message(b"event: token\ndata: 1\n\n"))
    verify(verifier, frame(1, "complete"))


def leading_zero(verifier: Verifier) -> None:
    verify(verifier, b"id: 01\nevent: token\ndata: 1\n\n" + frame(1, "complete"))


def no_sequence_despite_one_in_the_data(verifier: Verifier) -> None:
    verify(verifier, b'id: abc\nevent: token\ndata: {"sequence":1}\n\n')
    verify(verifier, frame(1, "complete"))


def other_sequence_in_the_data(verifier: Verifier) -> None:
    verify(verifier, b'id: 1\nevent: complete\ndata: {"sequence":2}\n\n')


def message(stream: bytes) -> Message:
    (decoded,) = Decoder().feed(stream)
    return decoded


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (event_after_the_end, "event after the terminal one"),
        (two_ends, "second terminal event"),
        (no_end, "no terminal event"),
        (events_no_longer_stored, "gap"),
        (malformed_gap, "gap"),
        (no_sequence, "bad id"),
        (no_sequence_despite_one_in_the_data, "bad id"),
        (no_id, "bad id"),
        (leading_zero, "bad id"),
        (other_sequence_in_the_data, "bad id"),
    ],
)
def test_each_violation_has_a_kind_and_an_example(behave: Callable[[Verifier], None], kind: str) -> None:
    measurements = Measurements()
    verifier = Verifier(measurements, "reader 7")
    behave(verifier)
    verifier.end(complete=True)
    assert measurements.violations == {kind: 1}
    assert measurements.examples[0].startswith("reader 7: ")


def test_a_slow_reader_may_miss_events() -> None:
    measurements = Measurements()
    verifier = Verifier(measurements, "slow", slow=True)
    events_no_longer_stored(verifier)
    verifier.end(complete=True)
    assert not measurements.violations
    assert verifier.digest is None


def test_a_broken_connection_needs_no_terminal_event() -> None:
    measurements = Measurements()
    verifier = Verifier(measurements, "a reader")
    no_end(verifier)
    verifier.end(complete=False)
    assert not measurements.violations


@pytest.mark.parametrize(
    "other",
    [frame(1, content="other"), frame(1, "custom:x", "same"), b'id: 1\nevent: token\ndata: "same" \n\n'],
)
def test_readers_of_one_run_are_compared_byte_by_byte(other: bytes) -> None:
    measurements = Measurements()
    verifiers = [Verifier(measurements, f"reader {number}") for number in range(3)]
    for verifier, first in zip(verifiers, [frame(1, content="same")] * 2 + [other], strict=True):
        verify(verifier, first + frame(2, "complete"))
    compare(verifiers)
    assert measurements.violations == {"bytes differ": 1}
    assert measurements.examples == ["reader 2: its events differ from those of the run's other readers"]


def test_the_batches_of_readers_make_no_difference() -> None:
    measurements = Measurements()
    verifiers = [Verifier(measurements, "a reader") for _ in range(2)]
    verify(verifiers[0], frame(1) + frame(2, "complete"))
    verify(verifiers[1], frame(1))
    verify(verifiers[1], frame(2, "complete"))
    compare(verifiers)
    assert not measurements.violations


def test_the_memory_for_missing_sequences_is_bounded() -> None:
    measurements = Measurements()
    verifier = Verifier(measurements, "a reader")
    verify(verifier, frame(10**9) + frame(10**9 + 1, "complete"))
    verifier.end(complete=True)
    assert measurements.violations == {"lost": 1}
    assert measurements.examples == [f"a reader: {10**9 - 1} events up to {10**9 + 1} were not received"]


def test_envelopes_are_decoded_where_there_are_any() -> None:
    text = 'a\n\nid: 2\nevent: token\ndata: {"timestamp":"2020-01-01T00:00:00Z"}\n\n'
    whole = events.encode("token", "r", 1, NOW, {"content": text}).decode()
    wrong_time = whole.replace("2026-11-23", "2026-99-99")
    data = [whole, '{"content":"x"}', wrong_time, "no JSON", '"text"', "", '{"sequence":4}\n{}', "[" * 5000]
    envelopes = decode_envelopes([Message("token", each, "1", "1") for each in data])
    assert envelopes[0] == Envelope(1, NOW)
    assert [each.sequence for each in envelopes] == [1, None, 1, *[None] * 5]
    assert [each.timestamp for each in envelopes[1:]] == [None] * 7
