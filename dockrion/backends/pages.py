"""A page: what one read of a run's log returns."""

from collections.abc import Callable, Sequence

from dockrion.events import Entry

PAGE_BYTES = 128 * 1024
PAGE_EVENTS = 512


class Page:
    """Consecutive events, shared by all readers at the same position.

    Attributes:
        entries: The events, in order and without a gap between them.
        closed: The run is over and no event follows these.
        more: The log already has further events, so the next read need not wait.
        delivered: A reader has been sent these events.
    """

    __slots__ = ("_encoded", "closed", "delivered", "entries", "more")

    def __init__(self, entries: Sequence[Entry], *, closed: bool = False, more: bool = False) -> None:
        self.entries = entries
        self.closed = closed
        self.more = more
        self.delivered = False
        self._encoded: dict[Callable[[Sequence[Entry]], bytes], bytes] = {}

    @property
    def size(self) -> int:
        """How many bytes the events have."""
        return sum(len(entry.data) for entry in self.entries)

    def encoded(self, encode: Callable[[Sequence[Entry]], bytes]) -> bytes:
        """Return the entries as a transport writes them, encoded once for all its readers."""
        data = self._encoded.get(encode)
        if data is None:
            data = self._encoded[encode] = encode(self.entries)
        return data


IDLE = Page(())
