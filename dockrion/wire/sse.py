"""Server-Sent Events as bytes, both ways, without I/O.

The format is that of WHATWG HTML, section 9.2, "Server-sent events".
"""

import re
from collections.abc import Iterable

import msgspec

from dockrion.events import Entry
from dockrion.events.control_frames import Control, Draining

MEDIA_TYPE = "text/event-stream"
OPENING = b"retry: 2000\n\n"  # milliseconds until a client that lost its connection comes back
KEEP_ALIVE = b": keep-alive\n\n"
_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_RETRY = re.compile(r"[0-9]{1,9}", re.ASCII)


def frame(entry: Entry) -> bytes:
    """Frame an event of the log. Its JSON is one line, so one `data:` holds it."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (entry.sequence, entry.type.encode(), entry.data)


def said(control: Control) -> bytes:
    """Frame what the connection says of itself."""
    if isinstance(control, Draining):  # nothing that a page would listen for: it connects again
        return b": %s\n\n" % control.message.encode()
    return _named(control.type, msgspec.json.encode(msgspec.structs.asdict(control)))


def sign_of_life(heartbeat: bytes | None) -> bytes:
    """Frame what fills a silence: a heartbeat's JSON, or nothing that pages would see."""
    return KEEP_ALIVE if heartbeat is None else _named("heartbeat", heartbeat)


def frames(entries: Iterable[Entry]) -> bytes:
    """Frame events of the log, to be written together."""
    return b"".join(map(frame, entries))


def _named(name: str, data: bytes) -> bytes:
    """Frame what is no event of the log: without `id:`, so that no cursor moves."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


class Message(msgspec.Struct, frozen=True):
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
        self._line = bytearray()  # of a line that has not ended
        self._at_start = True
        self._after_cr = False
        self._event = ""
        self._data: list[str] = []
        self._data_bytes = 0
        self._id: str | None = None

    @property
    def pending(self) -> int:
        """How many bytes are held of a message that has not ended."""
        return len(self._line) + self._data_bytes

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that these bytes complete."""
        messages = []
        for line in self._lines(data):
            if line:
                self._field(line.decode("utf-8", "replace"))
            elif (message := self._dispatch()) is not None:
                messages.append(message)
        return messages

    def _lines(self, data: bytes) -> list[bytes]:
        """Return the lines that end in these bytes, without their ends."""
        if self._at_start:
            data = bytes(self._line) + data
            if _BOM.startswith(data):
                self._line[:] = data.removeprefix(_BOM)
                self._at_start = data != _BOM
                return []
            data = data.removeprefix(_BOM)
            self._line.clear()
            self._at_start = False
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        first, *others = _LINE_END.split(data)
        self._line += first
        if not others:
            return []
        self._after_cr = data.endswith(b"\r")
        lines = [bytes(self._line), *others]
        self._line[:] = lines.pop()
        return lines

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
            self._data_bytes += len(line) + 1  # an empty line is not free
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and _RETRY.fullmatch(value):
            self.retry = int(value)

    def _dispatch(self) -> Message | None:
        if self._id is not None:
            self.last_event_id = self._id
        message = None
        if self._data:
            data = "\n".join(self._data)
            message = Message(self._event or "message", data, self._id, self.last_event_id)
        self._event, self._data, self._data_bytes, self._id = "", [], 0, None
        return message
