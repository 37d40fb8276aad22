"""Server-Sent Events: the encoder's bytes, and the decoder against WHATWG HTML section 9.2."""

import time
from collections.abc import Iterable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dockrion.events import Entry
from dockrion.events.control_frames import AuthExpired, Draining, Gap, Gone, Timeout
from dockrion.wire import sse
from dockrion.wire.sse import Decoder, Message

BOM = b"\xef\xbb\xbf"
TEXTS = [
    "",
    "line\nline\r\nline\r",
    "\u2028\u2029\x85\x0b\x0c\x1c",
    'id: 7\nevent: complete\ndata: {"a":1}\n\n',
    "\n\ndata: x\n\n: comment\nretry: 1\n\n",
    "\0",
    "\ufeff",
    "😀 \ud7ff é",
]


def entry(sequence: int, content: object, kind: str = "token") -> Entry:
    return Entry(sequence, kind, msgspec.json.encode({"content": content}), 0.0)


def feed(pieces: Iterable[bytes]) -> tuple[list[Message], Decoder]:
    decoder = Decoder()
    return [message for piece in pieces for message in decoder.feed(piece)], decoder


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def msg(event: str = "message", data: str = "", id: str | None = None, last: str | None = None) -> Message:  # noqa: A002
    return Message(event, data, id, last if last is not None else id or "")


# name: stream, the messages it dispatches
VECTORS: dict[str, tuple[bytes, list[Message]]] = {
    "one event": (b"event: a\ndata: b\nid: 1\n\n", [msg("a", "b", "1")]),
    "no type is message": (b"data: b\n\n", [msg(data="b")]),
    "no blank line, no event": (b"data: b\n", []),
    "end within a line": (b"data: b", []),
    "CR": (b"data: a\rdata: b\r\rdata: c\r\r", [msg(data="a\nb"), msg(data="c")]),
    "LF": (b"data: a\ndata: b\n\ndata: c\n\n", [msg(data="a\nb"), msg(data="c")]),
    "CRLF": (b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", [msg(data="a\nb"), msg(data="c")]),
    "mixed line ends": (b"data: a\r\ndata: b\rdata: c\n\r\n", [msg(data="a\nb\nc")]),
    "LF CR is two lines": (b"data: a\n\rdata: b\n\r", [msg(data="a"), msg(data="b")]),
    "CR CR LF is two lines": (b"data: a\r\r\ndata: b\n\n", [msg(data="a"), msg(data="b")]),
    "BOM at the start": (BOM + b"data: a\n\n", [msg(data="a")]),
    "second BOM is text": (BOM + BOM + b"data: a\n\n", []),
    "BOM later is text": (b":\n" + BOM + b"data: a\n\ndata: b\n\n", [msg(data="b")]),
    "BOM after a blank line is text": (b"\n" + BOM + b"data: a\n\n", []),
    "BOM after the first event is text": (b"data: a\n\n" + BOM + b"data: b\n\n", [msg(data="a")]),
    "part of a BOM": (b"\xef\xbbdata: a\n\ndata: b\n\n", [msg(data="b")]),
    "BOM and nothing": (BOM, []),
    "BOM in data": (b"data: " + BOM + b"a\n\n", [msg(data="\ufeffa")]),
    "one leading space is removed": (
        b"data:a\n\ndata: a\n\ndata:  a\n\n",
        [*[msg(data="a")] * 2, msg(data=" a")],
    ),
    "a tab is kept": (b"data:\ta\n\n", [msg(data="\ta")]),
    "trailing space is kept": (b"data: a \n\n", [msg(data="a ")]),
    "colons in the value": (b"data: a: b:c\n\n", [msg(data="a: b:c")]),
    "data without a colon": (b"data\n\n", [msg(data="")]),
    "two data without a colon": (b"data\ndata\n\n", [msg(data="\n")]),
    "empty data": (b"data:\n\n", [msg(data="")]),
    "multi-line data": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [msg(data="YHOO\n+2\n10")]),
    "data with empty lines": (b"data: a\ndata:\ndata: b\n\n", [msg(data="a\n\nb")]),
    "type without data": (b"event: a\n\ndata: b\n\n", [msg(data="b")]),
    "the last type wins": (b"event: a\nevent: b\ndata: c\n\n", [msg("b", "c")]),
    "empty type is message": (b"event: a\nevent:\ndata: c\n\n", [msg(data="c")]),
    "a type applies to one event": (
        b"event: a\ndata: 1\n\ndata: 2\n\n",
        [msg("a", "1"), msg(data="2")],
    ),
    "comment": (b": hello\ndata: a\n:\n: x\n\n", [msg(data="a")]),
    "only comments": (b": keep-alive\n\n: keep-alive\n\n", []),
    "unknown fields": (b"foo: 1\nDATA: no\n data: no\ndatax: no\ndata: a\n\n", [msg(data="a")]),
    "an id persists": (
        b"id: 1\ndata: a\n\ndata: b\n\n",
        [msg(data="a", id="1"), msg(data="b", last="1")],
    ),
    "an empty id resets": (
        b"id: 1\ndata: a\n\nid\ndata: b\n\nid:\ndata: c\n\n",
        [msg(data="a", id="1"), msg(data="b", id=""), msg(data="c", id="")],
    ),
    "an id with NUL is ignored": (
        b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n",
        [msg(data="a", id="1"), msg(data="b", last="1")],
    ),
    "an id without data is remembered": (b"id: 5\n\ndata: a\n\n", [msg(data="a", last="5")]),
    "an id of an incomplete event is ignored": (b"id: 1\ndata: a\n\nid: 2\n", [msg(data="a", id="1")]),
    "the last id of an event wins": (b"id: 1\nid: 2\ndata: a\n\n", [msg(data="a", id="2")]),
    "an id is any text": (b"id: a b:c\xc3\xa9\ndata: a\n\n", [msg(data="a", id="a b:c\xe9")]),
    "bad UTF-8 is replaced": (b"data: \xff\xc3\n\n", [msg(data="\ufffd\ufffd")]),
    "blank lines dispatch nothing": (b"\n\n\r\n\r\rdata: a\n\n\n\n", [msg(data="a")]),
    "other line separators are text": (
        "data: a\u2028b\x85c\x0bd\n\n".encode(),
        [msg(data="a\u2028b\x85c\x0bd")],
    ),
}
CONTROLS = [Gap(1, 2), Timeout("over"), AuthExpired(), Gone(), Draining()]
vectors = pytest.mark.parametrize(("stream", "expected"), VECTORS.values(), ids=VECTORS.keys())


@vectors
def test_whole(stream: bytes, expected: list[Message]) -> None:
    assert feed([stream])[0] == expected


@vectors
def test_byte_by_byte(stream: bytes, expected: list[Message]) -> None:
    assert feed(bytewise(stream))[0] == expected


@vectors
def test_cut_anywhere(stream: bytes, expected: list[Message]) -> None:
    for cut in range(len(stream) + 1):
        assert feed([stream[:cut], b"", stream[cut:]])[0] == expected, cut


@vectors
def test_with_trailing_data(stream: bytes, expected: list[Message]) -> None:
    if not stream.endswith((b"\n", b"\r")):
        stream += b"\n"
    head = feed([stream, b"\n"])[0]
    found, _ = feed([stream + b"\n: x\n\nevent: z\ndata: after\n\nevent: cut"])
    assert found[:-1] == head
    assert head[: len(expected)] == expected
    assert (found[-1].event, found[-1].data) == ("z", "after")


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"retry: 2000\n\n", 2000),
        (b"retry:0\n", 0),
        (b"retry: 1\nretry: 2\n", 2),
        (b"retry: 2000\nretry: x\nretry: -1\nretry: 1.5\nretry:\nretry\nretry:  3\n", 2000),
        ("retry: 2000\nretry: \u0663\nretry: \u00b2\n".encode(), 2000),
        (b"retry: 1", None),
        (b"data: 1\n\n", None),
    ],
)
def test_retry(stream: bytes, expected: int | None) -> None:
    assert feed([stream])[1].retry == expected
    assert feed(bytewise(stream))[1].retry == expected


def test_retry_with_thousands_of_digits_is_ignored() -> None:
    found, _ = feed([b"retry: " + b"9" * 5_000 + b"\ndata: a\n\n"])
    assert found == [msg(data="a")]


def test_comments_are_counted() -> None:
    assert feed([b": a\n:\n\ndata: x\n: b\n\n"])[1].comments == 3


def test_last_event_id_is_that_of_the_last_complete_event() -> None:
    _, decoder = feed([b"id: 1\ndata: a\n\nid: 2\ndata: b\n"])
    assert decoder.last_event_id == "1"


def test_consumer_that_stops_early_gets_nothing_twice() -> None:
    decoder = Decoder()
    for message in decoder.feed(b"data: 1\n\ndata: 2\n\ndata: 3\n"):
        assert message.data == "1"
        break
    rest = [message.data for message in decoder.feed(b"\ndata: 4\n\n")]
    assert rest in (["2", "3", "4"], ["3", "4"])


def test_ignored_results_lose_no_bytes() -> None:
    decoder = Decoder()
    decoder.feed(b"data: a\n")
    assert [message.data for message in decoder.feed(b"data: b\n\n")] == ["a\nb"]


def test_decoding_takes_linear_time() -> None:
    stream = b'id: 1\nevent: token\ndata: {"content":"hello"}\n\n' * 40_000
    before = time.process_time()
    assert len(feed([stream])[0]) == 40_000
    assert time.process_time() - before < 2.0


def test_bytes_of_a_data_frame() -> None:
    framed = sse.encode_event(Entry(7, "custom:a", b'{"content":"Hi"}', 0.0))
    assert framed == b'id: 7\nevent: custom:a\ndata: {"content":"Hi"}\n\n'


def test_bytes_of_control_frames_have_no_id() -> None:
    assert sse.PREAMBLE == b"retry: 2000\n"
    assert sse.encode_control(Gap(3, 9)) == b'event: gap\ndata: {"requested":3,"first_available":9}\n\n'
    assert sse.keepalive(b"{}") == b"event: heartbeat\ndata: {}\n\n"
    assert sse.keepalive(None) == sse.KEEPALIVE == b": keep-alive\n"
    assert sse.encode_control(Draining()) == b": the server is going away, connect again\n"
    assert sse.encode_control(Timeout("over")) == b'event: timeout\ndata: {"message":"over"}\n\n'


@pytest.mark.parametrize(
    "framed",
    [*map(sse.encode_control, CONTROLS), sse.keepalive(b"{}"), sse.KEEPALIVE, sse.PREAMBLE],
)
def test_control_frames_do_not_move_the_cursor(framed: bytes) -> None:
    messages, decoder = feed([sse.encode_event(entry(5, "a")), framed, sse.encode_event(entry(6, "b"))[:-1]])
    assert decoder.last_event_id == "5"
    assert all(message.id is None for message in messages[1:])


@settings(max_examples=60)
@given(
    parts=st.lists(
        st.builds(lambda text: sse.encode_event(entry(1, text)), st.text())
        | st.sampled_from([sse.KEEPALIVE, sse.keepalive(b"{}"), *map(sse.encode_control, CONTROLS)])
    )
)
def test_every_block_has_data_so_that_no_client_dispatches_an_empty_message(parts: list[bytes]) -> None:
    *blocks, rest = (sse.PREAMBLE + b"".join(parts)).split(b"\n\n")
    assert all(block.count(b"\ndata: ") == 1 for block in blocks)
    assert not any(line.startswith(b"data") for line in rest.split(b"\n"))


@pytest.mark.parametrize("text", TEXTS)
def test_content_cannot_break_out_of_its_frame(text: str) -> None:
    framed = sse.encode_event(entry(3, text))
    assert framed.count(b"\n") == 4
    assert b"\r" not in framed
    (message,), _ = feed([framed])
    assert (message.event, message.id) == ("token", "3")
    assert msgspec.json.decode(message.data) == {"content": text}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60)
@given(contents=st.lists(json_values, max_size=6), data=st.data())
def test_decoder_reverses_the_encoder_for_any_chunks(contents: list[object], data: st.DataObject) -> None:
    entries = [entry(number, content) for number, content in enumerate(contents, 1)]
    stream = sse.PREAMBLE + b"".join(map(sse.encode_event, entries)) + sse.KEEPALIVE
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    messages, decoder = feed(stream[a:b] for a, b in pairwise(edges))
    assert [message.data.encode() for message in messages] == [each.data for each in entries]
    assert [message.id for message in messages] == [str(each.sequence) for each in entries]
    assert decoder.retry == 2000


@settings(max_examples=60)
@given(
    stream=st.lists(st.sampled_from([BOM, b"data", b"id", b":", b" ", b"a", b"\r", b"\n", b"\0"])),
    cut=st.integers(0),
)
@example(stream=[b"\r", b"\n"], cut=1)
def test_chunk_boundaries_do_not_change_the_result(stream: list[bytes], cut: int) -> None:
    whole = b"".join(stream)
    expected, one = feed([whole])
    cut %= len(whole) + 1
    for pieces in (bytewise(whole), [whole[:cut], whole[cut:]]):
        found, other = feed(pieces)
        assert found == expected
        assert (other.last_event_id, other.comments) == (one.last_event_id, one.comments)


blocks = st.one_of(
    st.builds(lambda number, text: sse.encode_event(entry(number, text)), st.integers(0, 10**20), st.text()),
    st.sampled_from(
        [
            *(
                sse.KEEPALIVE,
                sse.PREAMBLE,
                sse.encode_control(Gap(1, 5)),
                b"\n\n",
                b"data: x\n",
                b"id: 5\n",
                b"event: y\n",
            ),
            *(b"data: a\r\ndata: b\r\n\r\n", b"id: 5\rdata: c\r\r", b"id\ndata\n\n", b"id: 7\nevent: a\n"),
            *(
                b"id: 7\nevent: a\ndata: 1\ndata: 2\n\n",
                b"id:7\nevent: a\ndata: 1\n\n",
                b": x\n",
                b"\xff\xc3\n",
            ),
        ]
    ),
)


@settings(max_examples=60)
@given(parts=st.lists(blocks), data=st.data())
def test_events_matched_whole_equal_those_decoded_line_by_line(
    parts: list[bytes], data: st.DataObject
) -> None:
    """Fed byte by byte no event is matched whole."""
    stream = data.draw(st.sampled_from([b"", BOM])) + b"".join(parts)
    expected, one = feed(bytewise(stream))
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8))), len(stream)]
    found, other = feed(stream[start:end] for start, end in pairwise(edges))
    assert found == expected
    for name in ("last_event_id", "retry", "comments", "pending"):
        assert getattr(other, name) == getattr(one, name)


def test_several_events_are_their_frames_concatenated() -> None:
    entries = [entry(n, "x" * n) for n in range(1, 50)]
    assert sse.encode_events(entries) == b"".join(map(sse.encode_event, entries))
    assert sse.encode_events([]) == b""


@pytest.mark.parametrize(
    ("stream", "pending"),
    [
        (b"", 0),
        (b"data: 12345", 11),
        (b"data: 12345\n", 12),
        (b"data: 12345\ndata: 1", 19),
        (b"data\n" * 10, 50),
        (b": a comment\n", 0),
        (b": a comment", 11),
        (b"event: a\n", 0),
        (b"data: 12345\n\n", 0),
        (b"data: 12345\n\ndata", 4),
        (b"data: 12345\r\r", 0),
        (BOM[:2], 2),
        (BOM, 0),
    ],
)
def test_pending_counts_the_bytes_of_an_incomplete_message(stream: bytes, pending: int) -> None:
    assert feed([stream])[1].pending == pending
    assert feed(bytewise(stream))[1].pending == pending
