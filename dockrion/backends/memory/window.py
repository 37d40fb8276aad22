"""The stored events of one run: the newest as objects, the others packed.

An event is four small objects, which take almost twice the memory of its JSON. Python returns the memory
of small objects to the operating system in arenas of 1 MiB, each of which a single remaining object
holds. So events that are not likely to be read are packed, many in one block of memory.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import attrgetter

import msgspec

from dockrion.backends.pages import PAGE_BYTES, PAGE_EVENTS
from dockrion.events import Entry

# Measured on CPython 3.11 to 3.13 as the growth of a process, beside the bytes of the events' JSON.
_ENTRY_BYTES = 180
_CHUNK_BYTES = 130
_LARGE_EVENT = 4096  # bytes; packing larger events would copy much to save little

_packer = msgspec.msgpack.Encoder()
_buffer = bytearray()
_unpacker = msgspec.msgpack.Decoder(list[Entry])
_data, _last = attrgetter("data"), attrgetter("last")


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Consecutive events, about a page of them.

    Attributes:
        first: The sequence of the first event.
        last: The sequence of the last event.
        weight: The memory that they take, in bytes.
        stored: The events, packed if they are small.
    """

    first: int
    last: int
    weight: int
    stored: bytes | list[Entry]

    def __len__(self) -> int:
        return self.last - self.first + 1

    @property
    def entries(self) -> list[Entry]:
        return self.stored if isinstance(self.stored, list) else _unpacker.decode(self.stored)


class Window:
    """The newest events of a run.

    Args:
        max_events: How many events are shown. Some more may be stored until the window is packed.

    Attributes:
        weight: The memory that the events take, in bytes.
    """

    __slots__ = ("_chunk_events", "_chunks", "_count", "_max_events", "_tail", "_tail_bytes", "weight")

    def __init__(self, max_events: int) -> None:
        self.weight = 0
        self._max_events = max_events
        self._chunk_events = min(PAGE_EVENTS, max_events)
        self._chunks: list[Chunk] = []
        self._tail: list[Entry] = []  # without a gap
        self._tail_bytes = 0
        self._count = 0

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add consecutive events, which may follow a gap."""
        tail = self._tail
        if tail and entries[0].sequence != tail[-1].sequence + 1:
            self.pack()
        tail.extend(entries)
        number = len(entries)
        size = len(entries[0].data) if number == 1 else _size(entries)
        self._tail_bytes += size
        self._count += number
        self.weight += size + number * _ENTRY_BYTES
        while len(tail) > 2 * self._chunk_events or (self._tail_bytes > 2 * PAGE_BYTES and len(tail) > 1):
            self._pack_chunk()
        while self._chunks and self._count - len(self._chunks[0]) >= self._max_events:
            self._drop_chunk()

    def pack(self) -> None:
        """Pack all events, and drop those that are not shown. Call it when reading becomes unlikely."""
        if hidden := self._hidden:
            if self._chunks:
                self._replace_chunk(self._chunks[0].entries[hidden:])
            else:
                self._drop_from_tail(hidden)
        while self._tail:
            self._pack_chunk()

    def read(self, after: int, limit: int) -> list[Entry]:
        """Return the events after a position, up to a gap or about a page of them."""
        if not self._count:
            return []
        start = max(after + 1, self._first)
        if not self._chunks or start > self._chunks[-1].last:
            return self._read_tail(start, limit)
        chunk = self._chunks[bisect_left(self._chunks, start, key=_last)]
        entries, skipped = chunk.entries, max(start - chunk.first, 0)
        return entries[skipped : skipped + limit] if skipped or len(entries) > limit else entries

    def drop_oldest(self) -> int:
        """Drop about a page of the oldest events, but never the newest one; return how many."""
        before = self._count
        if len(self._chunks) > 1 or (self._chunks and self._tail):
            self._drop_chunk()
        elif self._chunks:
            self._replace_chunk(self._chunks[0].entries[-1:])
        elif len(self._tail) > 1:
            self._drop_from_tail(len(self._tail) // 2)
        return before - self._count

    @property
    def _hidden(self) -> int:
        """How many of the oldest events are not shown; fewer than the first chunk has."""
        return max(self._count - self._max_events, 0)

    @property
    def _first(self) -> int:
        """The sequence of the first event that is shown."""
        oldest = self._chunks[0].first if self._chunks else self._tail[0].sequence
        return oldest + self._hidden

    def _read_tail(self, start: int, limit: int) -> list[Entry]:
        if not self._tail:
            return []
        skipped = max(start - self._tail[0].sequence, 0)
        entries = self._tail[skipped : skipped + limit]
        if self._tail_bytes > PAGE_BYTES:
            _cut_to_page(entries)
        return entries

    def _pack_chunk(self) -> None:
        """Pack the oldest events that are not packed."""
        entries = self._tail[: self._chunk_events]
        whole = len(entries) == len(self._tail) and self._tail_bytes <= PAGE_BYTES
        size = self._tail_bytes if whole else _cut_to_page(entries)
        del self._tail[: len(entries)]
        self._tail_bytes -= size
        chunk = _pack(entries, size)
        self._chunks.append(chunk)
        self.weight += chunk.weight - size - len(entries) * _ENTRY_BYTES

    def _drop_from_tail(self, number: int) -> None:
        size = _size(self._tail[:number])
        del self._tail[:number]
        self._tail_bytes -= size
        self._count -= number
        self.weight -= size + number * _ENTRY_BYTES

    def _drop_chunk(self) -> None:
        chunk = self._chunks.pop(0)
        self._count -= len(chunk)
        self.weight -= chunk.weight

    def _replace_chunk(self, entries: list[Entry]) -> None:
        """Replace the oldest chunk by a part of it."""
        self._drop_chunk()
        chunk = _pack(entries, _size(entries))
        self._chunks.insert(0, chunk)
        self._count += len(chunk)
        self.weight += chunk.weight


def _pack(entries: list[Entry], size: int) -> Chunk:
    if size > len(entries) * _LARGE_EVENT:
        stored: bytes | list[Entry] = entries
        weight = size + len(entries) * _ENTRY_BYTES
    else:
        _packer.encode_into(entries, _buffer)
        stored = bytes(_buffer)
        weight = len(stored)
    return Chunk(entries[0].sequence, entries[-1].sequence, weight + _CHUNK_BYTES, stored)


def _cut_to_page(entries: list[Entry]) -> int:
    """Remove what exceeds a page of about `PAGE_BYTES`; return the size of the rest."""
    size = _size(entries)
    if size <= PAGE_BYTES:
        return size
    size = 0
    for number, entry in enumerate(entries, 1):
        size += len(entry.data)
        if size >= PAGE_BYTES:
            del entries[number:]
    return size


def _size(entries: Iterable[Entry]) -> int:
    return sum(map(len, map(_data, entries)))
