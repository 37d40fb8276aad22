"""What a reader notices."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.events import Entry
from dockrion.events.control_frames import Gap
from dockrion.load import frames
from dockrion.load.measurements import Figures
from dockrion.load.verifier import Check, compare
from dockrion.wire import sse


def text(sequence: int, kind: str = "token", said: str = "x") -> bytes:
    return sse.encode_event(Entry(sequence, kind, f'"{said}"'.encode(), 0.0))


def feed(check: Check, stream: bytes) -> None:
    batch = frames.batch(stream)
    assert batch is not None
    check.take_all(batch, stream)


def checked(sequences: list[int], *, terminal: bool = True, **more: bool) -> Figures:
    figures = Figures()
    check = Check(figures, "a reader", **more)
    stream = b"".join(map(text, sequences[:-1]))
    feed(check, stream + text(sequences[-1], "complete" if terminal else "token"))
    check.end(complete=True)
    return figures


@given(st.integers(1, 50), st.data())
def test_a_whole_run_in_any_batches_breaks_nothing(last: int, data: st.DataObject) -> None:
    figures = Figures()
    check = Check(figures, "a reader")
    at = 1
    while at <= last:
        end = data.draw(st.integers(at, last))
        stream = b"".join(text(each, "complete" if each == last else "token") for each in range(at, end + 1))
        feed(check, stream)
        at = end + 1
    check.end(complete=True)
    assert not figures.violations
    assert (check.position, check.terminal) == (last, b"complete")
    assert check.digest is not None


@given(st.integers(2, 30).flatmap(lambda last: st.lists(st.integers(1, last), min_size=1)), st.data())
def test_anything_else_than_one_to_n_breaks_something_however_it_is_cut(
    sequences: list[int], data: st.DataObject
) -> None:
    figures = Figures()
    check = Check(figures, "a reader")
    rest = [text(sequence) for sequence in sequences[:-1]] + [text(sequences[-1], "complete")]
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        feed(check, b"".join(rest[:size]))
        del rest[:size]
    check.end(complete=True)
    assert bool(figures.violations) == (sequences != list(range(1, len(sequences) + 1)))


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
    assert checked(sequences).violations == violations


def after_the_end(check: Check) -> None:
    feed(check, text(1, "complete") + text(2))


def two_ends(check: Check) -> None:
    feed(check, text(1, "complete"))
    feed(check, text(2, "error"))


def no_end(check: Check) -> None:
    feed(check, text(1))


def lost_by_the_service(check: Check) -> None:
    check.gap(one_frame(sse.encode_control(Gap(1, 5))))
    feed(check, text(5, "complete"))


def senseless_gap(check: Check) -> None:
    check.gap(one_frame(b"event: gap\ndata: soon\n\n"))
    feed(check, text(1, "complete"))


def no_sequence(check: Check) -> None:
    check.unnumbered(one_frame(b"id: abc\nevent: token\ndata: 1\n\n"))
    feed(check, text(1, "complete"))


def one_frame(stream: bytes) -> frames.Frame:
    (frame,) = frames.parse(stream)
    return frame


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (after_the_end, "event after the terminal one"),
        (two_ends, "second terminal event"),
        (no_end, "no terminal event"),
        (lost_by_the_service, "gap"),
        (senseless_gap, "gap"),
        (no_sequence, "bad id"),
    ],
)
def test_each_broken_promise_has_its_name_and_an_example(behave: Callable[[Check], None], kind: str) -> None:
    figures = Figures()
    check = Check(figures, "reader 7")
    behave(check)
    check.end(complete=True)
    assert figures.violations == {kind: 1}
    assert figures.examples[0].startswith("reader 7: ")


def test_one_that_is_slow_on_purpose_may_fall_behind() -> None:
    figures = Figures()
    check = Check(figures, "slow", slow=True)
    lost_by_the_service(check)
    check.end(complete=True)
    assert not figures.violations
    assert check.digest is None


def test_a_connection_that_broke_is_not_said_to_lack_its_end() -> None:
    figures = Figures()
    check = Check(figures, "a reader")
    no_end(check)
    check.end(complete=False)
    assert not figures.violations


def test_readers_of_a_run_are_compared_byte_by_byte() -> None:
    figures = Figures()
    checks = [Check(figures, f"reader {number}") for number in range(3)]
    for check, said in zip(checks, ["same", "same", "other"], strict=True):
        feed(check, text(1, said=said) + text(2, "complete"))
    compare(checks)
    assert figures.violations == {"bytes differ": 1}
    assert figures.examples == ["reader 2: its events are not those of the run's other readers"]


def test_what_is_remembered_of_the_missing_is_bounded() -> None:
    figures = Figures()
    check = Check(figures, "a reader")
    feed(check, text(10**9) + text(10**9 + 1, "complete"))
    check.end(complete=True)
    assert figures.violations == {"lost": 1}
    assert figures.examples == [f"a reader: {10**9 - 1} events up to {10**9 + 1} never came"]
