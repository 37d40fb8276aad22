"""Readers of responses, without I/O: their results, limits and memory."""

import tracemalloc
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from dockrion.agents import responses
from dockrion.agents.responses import Part, ProtocolError
from dockrion.agents.servers.dockrion_readers import reader_for
from dockrion.runs.outcome import Completed, Failed, Outcome

JSON, NDJSON, SSE = "application/json", "application/x-ndjson", "text/event-stream"
TYPES = (JSON, NDJSON, SSE)


def read(content_type: str, pieces: Iterable[bytes]) -> list[Part]:
    """Return the parts of a response, up to its outcome."""
    answer = reader_for(content_type)
    said: list[Part] = []
    for parts in (*(answer.feed(piece) for piece in pieces), answer.end()):
        for part in parts:
            said.append(part)
            if isinstance(part, Outcome):
                return said
    return said


def output(said: list[Part]) -> Any:
    assert isinstance(said[-1], Completed), said
    return msgspec.json.decode(said[-1].output)


@pytest.mark.parametrize("content_type", ["text/html", "", "application/octet-stream", "x" * 5000])
def test_unsupported_content_type_is_a_short_protocol_error(content_type: str) -> None:
    with pytest.raises(
        ProtocolError, match="application/json, text/event-stream or application/x-ndjson"
    ) as error:
        reader_for(content_type)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("content_type", TYPES)
def test_reading_stops_at_the_first_outcome(content_type: str) -> None:
    if content_type == JSON:
        assert len(read(content_type, [b"1"])) == 1
    else:
        line = b'data: {"type":"complete"}\n\n' if content_type == SSE else b'{"type":"complete"}\n'
        assert len(read(content_type, [line * 3])) == 1


@pytest.mark.parametrize("event", [b"started", b"started\ndata: x"])
def test_started_is_skipped(event: bytes) -> None:
    assert len(read(SSE, [b"event: " + event + b"\ndata: {}\n\n"])) == 1


def test_terminal_event_after_text_determines_the_output() -> None:
    said = read(SSE, [b'data: a\n\nevent: complete\ndata: {"output":"b"}\n\ndata: [DONE]\n\n'])
    assert output(said) == "b"


def test_done_after_plain_text_completes_with_the_text() -> None:
    assert output(read(SSE, [b'data: a \n\ndata: "b\\n"\n\ndata: c\n\ndata: [DONE]\n\n'])) == "a b\nc"


def test_protocol_error_has_the_event_s_number() -> None:
    with pytest.raises(ProtocolError, match="event 3 of"):
        read(NDJSON, [b'{"type":"token","content":"a"}\n\n\n', b'{"type":"started"}\n{"type":7}\n'])


@pytest.mark.parametrize(
    "choices",
    [[], [None], [1], [[]], [{}], [{"delta": None}], [{"delta": []}], [{"delta": {"content": None}}],
     [{"delta": {"content": [1]}}], [{"delta": {"tool_calls": [{}]}}],
     [{"finish_reason": {"a": 1}}]],
)  # fmt: skip
def test_chunks_without_text_make_no_event(choices: list[Any]) -> None:
    chunk = msgspec.json.encode({"choices": choices})
    said = read(SSE, [b"data: %s\n\ndata: [DONE]\n\n" % chunk])
    assert len(said) == 1
    assert output(said) == ""


@pytest.mark.parametrize("content_type", TYPES)
def test_empty_response_is_an_error(content_type: str) -> None:
    if content_type == JSON:
        with pytest.raises(ProtocolError):
            read(content_type, [])
    else:
        (end,) = read(content_type, [])
        assert isinstance(end, Failed)
        assert end.code == "AGENT_DISCONNECTED"


@pytest.mark.parametrize(
    ("content_type", "start", "piece", "end"),
    [
        (JSON, b'"', b"x" * 1000, b'"'),
        (NDJSON, b'{"type":"complete","output":"', b"x" * 1000, b'"}'),
        (SSE, b"event: complete\ndata: ", b"x" * 1000, b"\n\n"),
        (SSE, b"event: complete\n", b"data: " + b"x" * 993 + b"\n", b"\n"),
        (SSE, b"", b"data: " + b"x" * 992 + b"\n\n", b"data: [DONE]\n\n"),
    ],
)
def test_size_limit_is_exact(
    monkeypatch: pytest.MonkeyPatch, content_type: str, start: bytes, piece: bytes, end: bytes
) -> None:
    monkeypatch.setattr(responses, "MAX_PART_BYTES", 100_000)
    assert len(str(output(read(content_type, [start, *[piece] * 95, end])))) > 90_000
    with pytest.raises(ProtocolError, match="at once"):
        read(content_type, [start, *[piece] * 105, end])


def test_many_events_may_exceed_the_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MAX_PART_BYTES", 10_000)
    token = b'{"type":"token","content":"%s"}\n' % (b"x" * 900)
    assert len(read(NDJSON, [token] * 100 + [b'{"type":"complete"}\n'])) == 101


@pytest.mark.parametrize(
    ("content_type", "piece"),
    [
        (NDJSON, b'{"type":"token","content":"abc"}\n'),
        (NDJSON, b"\n"),
        (NDJSON, b" \r\n"),
        (SSE, b'event: token\ndata: {"content":"abc"}\n\n'),
        (SSE, b": comment\n"),
        (SSE, b"id: 1\nevent: x\n\n"),
        (SSE, b'data: {"choices":[{"delta":{}}]}\n\n'),
        (SSE, b'data: {"choices":[]}\n\n'),
        (SSE, b'data: ""\n\n'),
        (SSE, b"data\n\n"),
    ],
)
def test_forwarded_events_take_no_memory(content_type: str, piece: bytes) -> None:
    answer = reader_for(content_type)
    tracemalloc.start()
    try:
        for _ in range(2):
            for _part in answer.feed(piece * 1000):
                pass
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            for _part in answer.feed(piece * 1000):
                pass
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000


def test_short_pieces_of_text_take_little_more_than_their_length() -> None:
    for _part in reader_for(SSE).feed(b"data: 0000\n\n" * 2000):
        pass  # fills CPython's free lists, which are not the reader's memory
    answer = reader_for(SSE)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(5):
            for _part in answer.feed(
                b"".join(b"data: %04d\n\n" % (number * 1000 + each) for each in range(1000))
            ):
                pass
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000 * 5
