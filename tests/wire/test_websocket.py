"""WebSocket frames, read by aiohttp's parser."""

from collections.abc import Sequence
from unittest.mock import Mock

import pytest
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketReader
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.events import Entry
from dockrion.events.control_frames import Gap
from dockrion.wire import websocket

MOST = websocket.FRAME_BYTES
EDGES = [0, 1, 125, 126, 127, 65535 - MOST, MOST - 4, MOST - 3, 2 * (MOST - 4), 2 * (MOST - 4) + 1, 300_000]


def read(pieces: Sequence[bytes | memoryview]) -> list[tuple[WSMsgType, object]]:
    queue = WebSocketDataQueue(Mock(), 10**9, loop=Mock())
    reader = WebSocketReader(queue, 10**7, compress=False, decode_text=True)
    for piece in pieces:
        assert reader.feed_data(bytes(piece)) == (False, b"")
    return [(message.type, message.data) for message, _ in queue._buffer]


@pytest.mark.parametrize("size", EDGES)
def test_message_of_any_size_arrives_complete(size: int) -> None:
    assert read([websocket.text_message(b"x" * size)]) == [(WSMsgType.TEXT, "x" * size)]


@settings(max_examples=50)
@given(st.lists(st.one_of(st.integers(0, 400), st.sampled_from(EDGES)), min_size=1, max_size=8))
def test_pieces_are_whole_frames_so_that_pongs_fit_between(sizes: list[int]) -> None:
    entries = [Entry(n, "token", b"x" * size, 0.0) for n, size in enumerate(sizes, 1)]
    data = websocket.encode_events(entries)
    pieces = list(websocket.split_between_frames(data, MOST))
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= MOST for piece in pieces)
    with_pongs = [part for piece in pieces for part in (piece, websocket.pong(b"p"))]
    got = read(with_pongs)
    texts = [data for kind, data in got if kind is WSMsgType.TEXT]
    assert texts == ["x" * size for size in sizes]
    assert len(got) - len(texts) == len(pieces)


def test_control_frame_has_a_type_and_no_sequence() -> None:
    expected = '{"type":"gap","requested":1,"first_available":7}'
    assert read([websocket.encode_control(Gap(1, 7))]) == [(WSMsgType.TEXT, expected)]


def test_keepalive_is_a_ping() -> None:
    assert read([websocket.keepalive(b"{}"), websocket.keepalive(None)]) == [(WSMsgType.PING, b"")] * 2
