"""The laws of encoders: they hold for one that obeys them, and are noticed where one does not."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given

from dockrion import events
from dockrion.events import Entry
from dockrion.events.control_frames import Gap, Notice
from tests.protocols.logs import (
    check_encoder,
    check_resuming,
    log_of,
    logs,
    resumption,
)
from tests.protocols.tiny import Skip, TinyEncoder, TinyState, skip_after

LOG = log_of(
    {"type": "token", "content": "a"},
    {"type": "token", "content": "b"},
    {"type": "token", "content": "c"},
    end={"type": "cancelled"},
)


@given(logs())
def test_frames_are_the_same_in_pages_and_for_whoever_resumes(entries: list[Entry]) -> None:
    check_encoder(TinyEncoder(), entries)
    check_resuming(TinyEncoder(), entries, skip_after)


@given(logs(ended=True))
def test_logs_begin_once_end_once_and_have_every_number(entries: list[Entry]) -> None:
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[0].type == "started"
    assert [entry.type in events.TERMINAL for entry in entries] == [False] * (len(entries) - 1) + [True]


@given(logs(ended=False))
def test_logs_of_runs_that_go_on_have_no_terminal_event(entries: list[Entry]) -> None:
    assert not [entry for entry in entries if entry.type in events.TERMINAL]


class OpensInEachPage(TinyEncoder, frozen=True):
    def encode(self, state: TinyState, entries: Sequence[Entry]) -> tuple[bytes, TinyState]:
        return super().encode(TinyState(frames=state.frames), entries)


class GoesOnAfterAGap(TinyEncoder, frozen=True):
    def encode_gap(self, state: TinyState, gap: Gap) -> tuple[bytes, TinyState]:
        return b"", TinyState(origin=gap.first_available - 1, frames=state.frames)


class WritesTwoMessagesInAFrame(TinyEncoder, frozen=True):
    def encode(self, state: TinyState, entries: Sequence[Entry]) -> tuple[bytes, TinyState]:
        data, state = super().encode(state, entries)
        return data.replace(b"\n\n", b"\ndata: 2\n\n"), state


class NumbersAGap(TinyEncoder, frozen=True):
    def encode_gap(self, state: TinyState, gap: Gap) -> tuple[bytes, TinyState]:
        data, state = super().encode_gap(state, gap)
        return b"id: 1\n" + data, state


class NumbersANotice(TinyEncoder, frozen=True):
    def encode_notice(self, state: TinyState, notice: Notice) -> bytes:
        return b"id: 1\n" + super().encode_notice(state, notice)


@pytest.mark.parametrize(
    "wrong",
    [OpensInEachPage, GoesOnAfterAGap, WritesTwoMessagesInAFrame, NumbersAGap, NumbersANotice],
)
def test_encoder_that_breaks_a_law_is_found(wrong: Any) -> None:
    with pytest.raises(AssertionError):
        check_encoder(wrong(), LOG)


def test_frames_that_a_resuming_reader_misses_are_found() -> None:
    with pytest.raises(AssertionError):
        check_resuming(TinyEncoder(), LOG, lambda message: Skip(int(message.id or 0) + 1))


class EndsAtAGap(TinyEncoder, frozen=True):
    def encode_gap(self, state: TinyState, gap: Gap) -> tuple[bytes, TinyState]:
        return super().encode_gap(state, gap)[0], TinyState(origin=gap.first_available - 1, ended=True)


def test_reader_of_dropped_events_is_told_when_it_resumes() -> None:
    stored = log_of(*({"type": "token", "content": f"{number}"} for number in range(9)))[5:]
    lost = b'data: {"lost":1}\n\n'
    beyond = resumption(TinyEncoder(), stored, lambda _before, _after, sequence: 0 if sequence > 3 else None)
    assert (beyond.after, beyond.state, beyond.frames) == (5, TinyState(origin=5), lost)
    within = resumption(TinyEncoder(), stored, lambda _before, _after, sequence: 0 if sequence > 7 else None)
    assert (within.after, within.frames, within.state.frames) == (8, b'id: 4\ndata: "6"\n\n', 4)
    ended = resumption(EndsAtAGap(), stored, lambda *_: None)
    assert (ended.after, ended.frames, ended.state.ended) == (5, lost, True)
    check_encoder(EndsAtAGap(), LOG)


def test_reader_of_everything_goes_on_at_the_end_and_one_of_nothing_at_the_beginning() -> None:
    everything = resumption(TinyEncoder(), LOG, lambda *_: None)
    assert (everything.after, everything.frames, everything.state.frames) == (len(LOG), b"", 6)
    nothing = resumption(TinyEncoder(), LOG, lambda *_: 0)
    assert (nothing.after, nothing.frames, nothing.before, nothing.state) == (
        1,
        b"",
        TinyState(),
        TinyState(),
    )
    assert resumption(TinyEncoder(), [], lambda *_: 0).after == 0


def test_frames_of_an_event_that_the_reader_has_are_told_apart() -> None:
    found = resumption(TinyEncoder(), LOG, Skip(1))
    assert (found.after, found.skipped) == (2, [b'id: 1\ndata: "open"'])
    assert (found.before.frames, found.frames, found.state.frames) == (0, b'id: 2\ndata: "a"\n\n', 2)
