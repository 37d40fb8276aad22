"""Server-Sent Events as bytes, both ways, without I/O.

The format is that of WHATWG HTML, section 9.2, "Server-sent events".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from dockrion.backends.base import Entry

KEEP_ALIVE = b": keep-alive\n\n"
DRAINING = b": the server is going away, connect again\n\n"
_WRITE_BYTES = 64 * 1024


def retry(milliseconds: int) -> bytes:
    """Tell the client how long to wait before it connects again."""
    return b"retry: %d\n\n" % milliseconds


def frame(entry: Entry) -> bytes:
    """Frame an event of the log. Its JSON is one line, so one `data:` holds it."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (entry.sequence, entry.type.encode(), entry.data)


def control(name: str, data: bytes) -> bytes:
    """Frame what is no event of the log: without `id:`, so that no cursor moves."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


def gap(requested: int, first_available: int) -> bytes:
    """Say that the events from `requested` to just before `first_available` are gone."""
    lost = {"requested": requested, "first_available": first_available}
    return control("gap", msgspec.json.encode(lost))


def timeout(seconds: int) -> bytes:
    """Say that the connection's time is over, though the run goes on."""
    message = f"{seconds} s are over; connect again to go on"
    return control("timeout", msgspec.json.encode({"message": message}))


def chunks(entries: Iterable[Entry]) -> list[bytes]:
    """Frame entries and join them into pieces of about 64 KiB, each one write."""
    done: list[bytes] = []
    frames: list[bytes] = []
    size = 0
    for framed in map(frame, entries):
        frames.append(framed)
        size += len(framed)
        if size >= _WRITE_BYTES:
            done.append(b"".join(frames))
            frames, size = [], 0
    if frames:
        done.append(b"".join(frames))
    return done


@dataclass(frozen=True, slots=True)
class Message:
    """One dispatched event.

    Attributes:
        event: Its type, `message` where the stream names none.
        data: Its data, the lines joined by newlines.
        id: The id that its own block carried, or None.
        last_event_id: What a reconnecting client would send.
    """

    event: str
    data: str
    id: str | None
    last_event_id: str


class Decoder:
    """Turns the bytes of a stream into messages, however they are cut.

    Attributes:
        last_event_id: The id to resume after.
        retry: Milliseconds to wait before reconnecting, once the stream said so.
        comments: How many comment lines went by.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self.comments = 0
        self._buffer = b""
        self._at_start = True
        self._after_cr = False
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that these bytes complete."""
        for line in self._lines(data):
            if line:
                self._field(line.decode("utf-8", "replace"))
            elif (message := self._dispatch()) is not None:
                yield message

    def _lines(self, data: bytes) -> Iterator[bytes]:
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        self._buffer += data
        if self._at_start and len(self._buffer) >= len(_BOM):
            self._buffer = self._buffer.removeprefix(_BOM)
            self._at_start = False
        elif self._at_start and _BOM.startswith(self._buffer):
            return
        start = 0
        while (end := _line_end(self._buffer, start)) >= 0:
            line = self._buffer[start:end]
            start = end + 1
            if self._buffer[end] == _CR:
                if start == len(self._buffer):
                    self._after_cr = True
                elif self._buffer[start] == _LF:
                    start += 1
            yield line
        self._buffer = self._buffer[start:]

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self) -> Message | None:
        if self._id is not None:
            self.last_event_id = self._id
        message = None
        if self._data:
            data = "\n".join(self._data)
            message = Message(self._event or "message", data, self._id, self.last_event_id)
        self._event, self._data, self._id = "", [], None
        return message


_BOM = b"\xef\xbb\xbf"
_CR, _LF = b"\r\n"


def _line_end(buffer: bytes, start: int) -> int:
    cr, lf = buffer.find(b"\r", start), buffer.find(b"\n", start)
    return min(cr, lf) if cr >= 0 and lf >= 0 else max(cr, lf)
