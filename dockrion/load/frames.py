"""The frames of a stream as bytes, many at once: the fast counterpart of `dockrion.wire.sse.Decoder`."""

import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

MOST_BYTES = 64 * 1024 * 1024  # of a frame: events are at most 10 MiB, and as text a few times that
MOST_DIGITS = 18
_BOM = b"\xef\xbb\xbf"
_TIME = rb'"timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d):(\d\d(?:\.\d{1,9})?)Z"'
_HEAD = rb'\{"id":"[^"\n]*","type":"[^"\n]*","run_id":"[^"\n]*","sequence":(\d+),' + _TIME
_EVENT = re.compile(
    rb"^id: ([1-9][0-9]{0,17})\nevent: ([^\n]+)\ndata: (?:" + _HEAD + rb")?[^\n]*\n\n", re.MULTILINE
)
_EVENT_LINES = 4


class FrameTooLongError(Exception):
    """A frame does not end."""


class Batch(NamedTuple):
    """Events of the log that came together, in columns.

    Attributes:
        ids: The ids of their frames.
        types: Their types.
        sequences: What their data says of their sequence; empty here and below where it says nothing.
        minutes: What it says of when they were emitted, to the minute.
        seconds: The seconds of that minute.
    """

    ids: tuple[bytes, ...]
    types: tuple[bytes, ...]
    sequences: tuple[bytes, ...]
    minutes: tuple[bytes, ...]
    seconds: tuple[bytes, ...]


class Frame(NamedTuple):
    """One frame, of any form.

    Attributes:
        id: Its own id, or None where it is about the connection.
        event: Its type.
        data: Its data, or None where it has none.
        text: Its id, event and data lines as they came.
    """

    id: bytes | None
    event: bytes
    data: bytes | None
    text: bytes


class Frames:
    """Joins chunks to whole frames, however they are cut."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._at_start = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> bytes:
        """Return the frames that this chunk completes, their lines ended by LF.

        Raises:
            FrameTooLongError: One does not end.
        """
        if self._at_start or self._after_cr or b"\r" in chunk:
            chunk = self._plain(chunk)
        rest = self._rest
        if not rest:
            end = chunk.rfind(b"\n\n") + 2
            if end == 1:
                rest += chunk
                return b""
            rest += memoryview(chunk)[end:]
            return chunk[:end]
        start = len(rest) - 1
        rest += chunk
        end = rest.rfind(b"\n\n", start) + 2
        if end == 1:
            if len(rest) > MOST_BYTES:
                raise FrameTooLongError
            return b""
        whole = bytes(memoryview(rest)[:end])
        del rest[:end]
        return whole

    def _plain(self, chunk: bytes) -> bytes:
        """Leave out a byte order mark, and end lines by LF."""
        if self._at_start:
            chunk = bytes(self._rest) + chunk
            self._rest.clear()
            if _BOM.startswith(chunk) and chunk != _BOM:
                self._rest += chunk
                return b""
            self._at_start = False
            chunk = chunk.removeprefix(_BOM)
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def batch(whole: bytes) -> Batch | None:
    """Return the events of whole frames, or None if there is anything else among them."""
    found = _EVENT.findall(whole)
    if not found or len(found) * _EVENT_LINES != whole.count(b"\n"):
        return None
    return Batch(*zip(*found, strict=True))


def parse(whole: bytes) -> Iterable[Frame]:
    """Yield whole frames one by one."""
    for block in whole.split(b"\n\n"):
        if text := block.strip(b"\n"):
            yield _frame(text)


def _frame(text: bytes) -> Frame:
    own_id: bytes | None = None
    event = b""
    data: list[bytes] = []
    kept: list[bytes] = []
    for line in text.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"id" and b"\0" not in value:
            own_id = value
        elif name == b"event":
            event = value
        elif name == b"data":
            data.append(value)
        else:
            continue
        kept.append(line)
    joined = b"\n".join(data) if data else None
    return Frame(own_id, event or b"message", joined, b"\n".join(kept) + b"\n\n")


def ages(columns: Batch, now: float) -> list[float]:
    """Return how many seconds ago events were emitted, of those that say when."""
    bases = {minute: _epoch(minute) for minute in set(columns.minutes)}
    if None not in bases.values():
        return [
            now - bases[minute] - float(second)  # type: ignore[operator]  # none is None
            for minute, second in zip(columns.minutes, columns.seconds, strict=True)
        ]
    pairs = zip(columns.minutes, columns.seconds, strict=True)
    return [now - base - float(second) for minute, second in pairs if (base := bases[minute]) is not None]


@lru_cache(maxsize=64)
def _epoch(minute: bytes) -> float | None:
    try:
        return datetime.fromisoformat(f"{minute.decode()}:00+00:00").timestamp()
    except ValueError:
        return None
