"""Frames whose ids are `<sequence>.<number>`: the log event that they come from, and which of its frames."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from dockrion.errors import InvalidRequest
from dockrion.events import MAX_SEQUENCE

_CURSOR = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))?", re.ASCII)


class Cursor(msgspec.Struct, frozen=True):
    """The last frame that a reader has: its id.

    Attributes:
        sequence: The sequence of its log event.
        frame: Its number; None for the last frame of the event.
    """

    sequence: int
    frame: int | None = None

    def skip(self, _before: Any, _after: Any, sequence: int) -> int | None:
        """Return how many frames of an event the reader has, None for all; see `resuming.resume`."""
        if sequence == self.sequence:
            return self.frame
        return None if sequence < self.sequence else 0


def parse_cursor(text: str) -> Cursor:
    """Return the cursor in a `Last-Event-ID`.

    Raises:
        InvalidRequest: It is malformed.
    """
    found = _CURSOR.fullmatch(text)
    if found is None or int(found[1]) > MAX_SEQUENCE:
        raise InvalidRequest("Last-Event-ID: must be the id of a frame, <sequence>.<number>, or a <sequence>")
    return Cursor(int(found[1]), None if found[2] is None else int(found[2]))


def frame(data: bytes, sequence: int, number: int) -> bytes:
    """Return a frame.

    Args:
        data: What it carries, one line.
        sequence: That of the log event that it comes from; 0 for none, and for a frame without an id, which
            does not move a reader's cursor.
        number: Its number among the frames of the log event, from 1.
    """
    return b"id: %d.%d\ndata: %s\n\n" % (sequence, number, data) if sequence else b"data: %s\n\n" % data


def text_format(before: bytes, after: bytes) -> bytes:
    """Return the format of frames that differ in a text.

    Its arguments are the sequence of the log event, the frame's number, and the text as JSON.

    Args:
        before: What precedes the text in the frame's data.
        after: What follows it.
    """
    return b"id: %%d.%%d\ndata: %b%%s%b\n\n" % (before.replace(b"%", b"%%"), after.replace(b"%", b"%%"))


def text_frames(frame_format: bytes, sequences: Sequence[int], texts: Sequence[bytes]) -> bytes:
    """Return the first frames of several log events, formatted at once.

    Args:
        frame_format: As `text_format` returns it.
        sequences: Those of the log events.
        texts: Their texts, as JSON.
    """
    if len(texts) == 1:
        return frame_format % (sequences[0], 1, texts[0])
    first = frame_format.replace(b"%d.%d", b"%d.1", 1)
    values: list[Any] = [None] * (2 * len(texts))
    values[::2], values[1::2] = sequences, texts
    return first * len(texts) % tuple(values)
