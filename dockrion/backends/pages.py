"""A page: what one read of a run's log returns."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from dockrion.events import Entry

PAGE_BYTES = 128 * 1024
PAGE_EVENTS = 512
T = TypeVar("T")


class Page:
    """Consecutive events, shared by all readers at the same position.

    Attributes:
        entries: The events, in order and without a gap between them.
        closed: The run is over and no event follows these.
        more: The log already has further events, so the next read need not wait.
        delivered: A reader has been sent these events.
    """

    __slots__ = ("_computed", "closed", "delivered", "entries", "more")

    def __init__(self, entries: Sequence[Entry], *, closed: bool = False, more: bool = False) -> None:
        self.entries = entries
        self.closed = closed
        self.more = more
        self.delivered = False
        self._computed: dict[Hashable, Any] = {}

    @property
    def size(self) -> int:
        """How many bytes the events have."""
        return sum(len(entry.data) for entry in self.entries)

    def encoded(self, encode: Callable[[Sequence[Entry]], bytes]) -> bytes:
        """Return the entries as a transport writes them, encoded once for all its readers."""
        data: bytes | None = self._computed.get(encode)
        if data is None:
            data = self._computed[encode] = encode(self.entries)
        return data

    def once(self, key: Hashable, compute: Callable[[Sequence[Entry]], T]) -> T:
        """Return what is computed of the entries, once for all who give the same key.

        Args:
            key: Determines the result, together with the entries.
            compute: Returns it.
        """
        result: T | None = self._computed.get(key)
        if result is None:
            result = self._computed[key] = compute(self.entries)
        return result


IDLE = Page(())
