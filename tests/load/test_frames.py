"""Frames of a stream, many at once, beside the decoder that is written for being right."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion import events
from dockrion.events import Entry
from dockrion.events.control_frames import Gap
from dockrion.load import frames
from dockrion.load.frames import Frames, FrameTooLongError
from dockrion.wire import sse
from dockrion.wire.sse import Decoder

NOW = datetime(2026, 11, 23, 10, 30, 5, 123456, tzinfo=UTC)


def event(sequence: int, content: str = "x", kind: str = "token") -> bytes:
    fields = {"content": content} if kind == "token" else {"reason": content}
    data = events.encode(kind, "r", sequence, NOW, fields)
    return sse.encode_event(Entry(sequence, kind, data, 0.0))


pieces = st.lists(
    st.one_of(
        st.builds(event, st.integers(1, 10**6), st.text()),
        st.just(sse.KEEPALIVE),
        st.just(sse.PREAMBLE),
        st.just(sse.encode_control(Gap(1, 5))),
        st.just(b"data: a\r\ndata: b\r\n\r\n"),
        st.just(b"\n\n\n"),
        st.just(b"id: 5\rdata: c\r\r"),
        st.just(b"id\ndata\n\n"),
    )
)


@given(pieces, st.data())
def test_however_it_is_cut_the_frames_are_those_of_the_decoder(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    joined, found = Frames(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += [each for each in frames.parse(joined.feed(stream[start:end])) if each.data is not None]
    expected = Decoder().feed(stream + b"\n\n")[: len(found)]
    assert [(each.event.decode(), (each.data or b"").decode()) for each in found] == [
        (message.event, message.data) for message in expected
    ]
    assert [None if each.id is None else each.id.decode() for each in found] == [
        message.id for message in expected
    ]


def test_a_batch_is_only_what_the_service_itself_writes() -> None:
    two = event(7) + event(8, kind="cancelled")
    batch = frames.batch(two)
    assert batch is not None
    assert (batch.ids, batch.types) == ((b"7", b"8"), (b"token", b"cancelled"))
    for other in (
        sse.KEEPALIVE,
        sse.encode_control(Gap(1, 2)),
        b"id: 07\nevent: token\ndata: {}\n\n",
        b"id: x\ndata: 1\n\n",
        b"",
    ):
        assert frames.batch(two + other) is None or not other
        assert frames.batch(other) is None


def test_the_text_of_an_event_cannot_pass_for_another() -> None:
    batch = frames.batch(event(1, 'a\n\nid: 2\nevent: token\ndata: {"timestamp":"2020-01-01T00:00:00Z"}\n\n'))
    assert batch is not None
    assert batch.ids == (b"1",)
    assert frames.ages(batch, NOW.timestamp() + 2) == [pytest.approx(2, abs=1e-3)]


def test_ages_of_those_that_say_when() -> None:
    silent = b'id: 3\nevent: token\ndata: {"content":"x"}\n\n'
    wrong = re.sub(rb"2026-11-23", b"2026-99-99", event(4))
    batch = frames.batch(event(1) + event(2) + silent + wrong)
    assert batch is not None
    assert frames.ages(batch, NOW.timestamp()) == [pytest.approx(0, abs=1e-3)] * 2


def test_a_frame_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_BYTES", 100)
    joined = Frames()
    joined.feed(b"data: 1\n\n")
    joined.feed(b"data: 12345\n" * 8)
    with pytest.raises(FrameTooLongError):
        joined.feed(b"data: 12345\n")
