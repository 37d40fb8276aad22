"""WebSocket frames as a server sends them (RFC 6455, 5.2): events and control frames are text messages."""

from collections.abc import Iterable, Iterator

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Control

PREAMBLE = b""
FRAME_BYTES = 60 * 1024  # a longer message is sent in fragments, so that pongs can go between them
_PING = b"\x89\x00"
_HEAD_BYTES = 4
_CONTINUATION, _TEXT, _PONG, _LAST = 0x0, 0x1, 0xA, 0x80
_SHORT, _TWO_BYTES = 125, 126


def text_message(data: bytes) -> bytes:
    """Return the frames of a text message."""
    if len(data) <= FRAME_BYTES - _HEAD_BYTES:
        return _frame(_LAST | _TEXT, data)
    size = FRAME_BYTES - _HEAD_BYTES
    first, *others = (data[start : start + size] for start in range(0, len(data), size))
    *middle, last = (_frame(_CONTINUATION, each) for each in others)
    return b"".join([_frame(_TEXT, first), *middle, bytes((last[0] | _LAST,)), last[1:]])


def encode_events(entries: Iterable[Entry]) -> bytes:
    return b"".join([text_message(entry.data) for entry in entries])


def encode_control(control: Control) -> bytes:
    return text_message(msgspec.json.encode(control))


def keepalive(_heartbeat: bytes | None) -> bytes:
    """Return a ping, which the peer has to respond to (RFC 6455, 5.5.2)."""
    return _PING


def pong(data: bytes) -> bytes:
    """Return the response to a ping that carried this data."""
    return _frame(_LAST | _PONG, data)


def split_between_frames(data: bytes, max_bytes: int) -> Iterator[memoryview]:
    """Split bytes that the functions above returned into pieces of whole frames.

    Args:
        data: The frames.
        max_bytes: The size of a piece, which only a single frame may exceed.
    """
    whole = memoryview(data)
    start = end = 0
    while end < len(data):
        after = end + _frame_bytes(data, end)
        if after - start > max_bytes and end > start:
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
