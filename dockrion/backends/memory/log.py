"""One run as memory holds it."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from dockrion.backends.pages import PAGE_BYTES, PAGE_EVENTS, Page, Watch
from dockrion.backends.run_log import Run
from dockrion.errors import RunClosed, SequenceConflict, TooManySubscribers
from dockrion.events import Entry

_SLACK = 256  # trimming moves the whole window, so it waits until this many are over


class Log:
    """One run: its record, the window of its events, who watches it."""

    __slots__ = ("_entries", "_max_events", "_tail", "expired", "number", "run", "subscribers", "watches")

    def __init__(self, run: Run, number: int, max_events: int) -> None:
        self.run = run
        self.number = number
        self.watches: set[Watch] = set()
        self.subscribers = 0
        self.expired = False
        self._entries: list[Entry] = []
        self._max_events = max_events
        self._tail: tuple[int, int, Page] | None = None

    def append(self, run: Run, entries: Sequence[Entry], *, after_gap: bool = False) -> None:
        if self.run.finished:
            raise RunClosed(self.run.run_id)
        missing = entries[0].sequence - self.run.last_sequence - 1
        if missing < 0 or (missing and not after_gap):
            raise SequenceConflict(self.run.run_id)
        self._entries.extend(entries)
        if len(self._entries) > self._max_events + _SLACK or run.finished:
            del self._entries[: -self._max_events]
        self._tail = None
        self.run = run
        for watch in self.watches:
            watch.wake()

    def read(self, after: int, limit: int) -> Page:
        """Return a page, the same object to all readers who ask the same between two writes."""
        if self._tail is not None and self._tail[:2] == (after, limit):
            return self._tail[2]
        last = self.run.last_sequence
        oldest = max(len(self._entries) - self._max_events, 0)
        start = bisect_right(self._entries, after, lo=oldest, key=_sequence)
        entries = _page(self._entries, start, start + limit)
        reached = entries[-1].sequence if entries else max(after, last)
        page = Page(entries, closed=self.run.finished and reached >= last, more=reached < last)
        if self.watches:
            self._tail = (after, limit, page)
        return page

    def at_hand(self, after: int) -> Page:
        """Return what can be read without waiting, which here is everything."""
        return self.read(after, PAGE_EVENTS)

    def leave(self, watch: Watch) -> None:
        self.watches.discard(watch)
        if not self.watches:
            self._tail = None


class Watching(AbstractAsyncContextManager[Watch]):
    """One reader's time at a log. A class, since a generator takes more memory than all else of it."""

    __slots__ = ("_forget", "_limit", "_log", "_watch")

    def __init__(self, log: Log, forget: Callable[[Log], None], limit: int | None) -> None:
        self._log = log
        self._forget = forget
        self._limit = limit

    async def __aenter__(self) -> Watch:
        if self._limit is not None:
            if self._log.subscribers >= self._limit:
                run_id = self._log.run.run_id
                raise TooManySubscribers(
                    f"run {run_id!r} has {self._limit} subscribers, the most allowed; try again later"
                )
            self._log.subscribers += 1
        self._watch = Watch(self._log.at_hand)
        self._log.watches.add(self._watch)
        return self._watch

    async def __aexit__(self, *_error: object) -> None:
        self._watch.close()
        self._log.leave(self._watch)
        if self._limit is not None:
            self._log.subscribers -= 1
        if self._log.expired and not self._log.watches:
            self._forget(self._log)


def _page(entries: list[Entry], start: int, stop: int) -> list[Entry]:
    page: list[Entry] = []
    size = 0
    for entry in entries[start:stop]:
        if page and entry.sequence != page[-1].sequence + 1:
            break
        page.append(entry)
        size += len(entry.data)
        if size >= PAGE_BYTES:
            break
    return page


def _sequence(entry: Entry) -> int:
    return entry.sequence
