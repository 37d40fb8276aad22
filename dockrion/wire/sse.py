"""Server-Sent Events: encoder and decoder (WHATWG HTML, section 9.2, "Server-sent events")."""

import re
from collections.abc import Iterable

import msgspec

from dockrion.events import MAX_EVENT_BYTES, Entry
from dockrion.events.control_frames import Control, Draining

MEDIA_TYPE = "text/event-stream"
MAX_MESSAGE_BYTES = MAX_EVENT_BYTES + 1024 * 1024  # an output, and the envelope around it
# What has no `data:` is a line of the block that follows, and never a block of its own: several clients
# (httpx-sse, fetch-event-source) hand a block without data to the application as an empty message.
PREAMBLE = b"retry: 2000\n"  # milliseconds after which a disconnected client reconnects
KEEPALIVE = b": keep-alive\n"
_BOM = b"\xef\xbb\xbf"
# An event as `encode_event` writes it, else one line. Matching whole events makes decoding five times as
# fast as decoding their four lines one by one. Each line is scanned a bounded number of times.
_EVENT_OR_LINE = re.compile(r"id: ([0-9]+)\nevent: (.+)\ndata: (.*)\n\n|(.*)\n")
_RETRY = re.compile(r"[0-9]{1,9}", re.ASCII)


def encode_event(entry: Entry) -> bytes:
    # The JSON of an event has no line break, so that one `data:` line holds it.
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (entry.sequence, entry.type.encode(), entry.data)


def encode_events(entries: Iterable[Entry]) -> bytes:
    return b"".join(map(encode_event, entries))


def encode_control(control: Control) -> bytes:
    if isinstance(control, Draining):  # a comment: EventSource reconnects without a listener for it
        return b": %s\n" % control.message.encode()
    return _without_id(control.type, msgspec.json.encode(msgspec.structs.asdict(control)))


def keepalive(heartbeat: bytes | None) -> bytes:
    return KEEPALIVE if heartbeat is None else _without_id("heartbeat", heartbeat)


def _without_id(name: str, data: bytes) -> bytes:
    """Return a frame that does not move a reader's cursor, since it has no `id:` line."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


class Message(msgspec.Struct, frozen=True, gc=False):
    """One dispatched event.

    Attributes:
        event: Its type; `message` where the block has no `event:` line.
        data: Its `data:` lines, joined by newlines.
        id: The `id:` of its own block, or None.
        last_event_id: The stream's last event id after this block.
    """

    event: str
    data: str
    id: str | None
    last_event_id: str


class Decoder:
    """Decodes a stream incrementally, whatever the boundaries of the chunks.

    It does not limit what it buffers: callers compare `pending` with their limit after each `feed`.

    Attributes:
        last_event_id: The id to resume after.
        retry: Milliseconds to wait before reconnecting; None until the stream has sent it.
        comments: The number of comment lines so far.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self.comments = 0
        self._line = bytearray()  # the incomplete last line
        self._at_start = True
        self._after_cr = False
        self._in_block = False
        self._event = ""
        self._data: list[str] = []
        self._data_bytes = 0
        self._id: str | None = None

    @property
    def pending(self) -> int:
        """The number of bytes buffered for an incomplete message."""
        return len(self._line) + self._data_bytes

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that are complete with these bytes."""
        messages = []
        for number, event, value, line in _EVENT_OR_LINE.findall(self._complete_lines(data)):
            if number and not self._in_block:
                messages.append(Message(event, value, number, number))
                self.last_event_id = number
                continue
            for each in (f"id: {number}", f"event: {event}", f"data: {value}", "") if number else (line,):
                if each:
                    self._field(each)
                elif (message := self._dispatch()) is not None:
                    messages.append(message)
        return messages

    def _complete_lines(self, data: bytes) -> str:
        """Return the lines that are complete with these bytes, each ended by LF, without a BOM."""
        if self._at_start:
            data = bytes(self._line) + data
            if _BOM.startswith(data):
                self._line[:] = data.removeprefix(_BOM)
                self._at_start = data != _BOM
                return ""
            data = data.removeprefix(_BOM)
            self._line.clear()
            self._at_start = False
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = data.rfind(b"\n") + 1
        if not end:
            self._line += data
            return ""
        lines = self._line + data[:end]
        self._line[:] = data[end:]
        return lines.decode("utf-8", "replace")

    def _field(self, line: str) -> None:
        self._in_block = True
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not name:
            self.comments += 1
        elif name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
            self._data_bytes += len(line) + 1  # the newline, so that empty lines count
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
        self._in_block = False
        return message
