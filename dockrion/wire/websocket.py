"""WebSocket frames as bytes, as a server sends them, without I/O (RFC 6455, 5.2)."""

from collections.abc import Iterable, Iterator

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Control

OPENING = b""
PING = b"\x89\x00"
FRAME_BYTES = 60 * 1024  # a longer message is sent in fragments, between which control frames may stand
_HEAD_BYTES = 4
_CONTINUATION, _TEXT, _PONG, _LAST = 0x0, 0x1, 0xA, 0x80
_SHORT, _TWO_BYTES = 125, 126


def message(data: bytes) -> bytes:
    """Frame a text message."""
    if len(data) <= FRAME_BYTES - _HEAD_BYTES:
        return _frame(_LAST | _TEXT, data)
    size = FRAME_BYTES - _HEAD_BYTES
    first, *others = (data[start : start + size] for start in range(0, len(data), size))
    *middle, last = (_frame(_CONTINUATION, each) for each in others)
    return b"".join([_frame(_TEXT, first), *middle, bytes((last[0] | _LAST,)), last[1:]])


def frames(entries: Iterable[Entry]) -> bytes:
    """Frame events of the log, a message each."""
    return b"".join([message(entry.data) for entry in entries])


def said(control: Control) -> bytes:
    """Frame what the connection says of itself."""
    return message(msgspec.json.encode(control))


def sign_of_life(_heartbeat: bytes | None) -> bytes:
    """Frame what fills a silence, and has to be answered (RFC 6455, 5.5.2)."""
    return PING


def pong(data: bytes) -> bytes:
    """Frame the answer to a ping that carried this data."""
    return _frame(_LAST | _PONG, data)


def pieces(data: bytes, most: int) -> Iterator[memoryview]:
    """Cut frames of ours into pieces of whole frames.

    Args:
        data: The frames.
        most: Bytes of a piece that has more than one frame.
    """
    whole = memoryview(data)
    start = end = 0
    while end < len(data):
        after = end + _frame_bytes(data, end)
        if after - start > most and end > start:
            yield whole[start:end]
            start = end
        end = after
    yield whole[start:end]


def _frame(first: int, data: bytes) -> bytes:
    if len(data) <= _SHORT:
        return bytes((first, len(data))) + data
    return bytes((first, _TWO_BYTES)) + len(data).to_bytes(2) + data


def _frame_bytes(data: bytes, start: int) -> int:
    size = data[start + 1]
    return 2 + size if size <= _SHORT else _HEAD_BYTES + int.from_bytes(data[start + 2 : start + 4])
