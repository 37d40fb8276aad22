"""The runs in memory: the log of each with its watches, and their order."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from dockrion.backends.fanout import Watch
from dockrion.backends.pages import PAGE_BYTES, PAGE_EVENTS, Page
from dockrion.backends.run_log import MAX_SCANNED, BadCursor, Listing, Run, Status
from dockrion.errors import RunClosed, SequenceConflict, TooManySubscribers
from dockrion.events import Entry

_SLACK = 256  # events over the window before it is trimmed, since trimming moves all of it
_CURSOR_DIGITS = 18
_STALE_ENTRIES = 64  # entries of removed runs that are not worth a compaction


class Log:
    """A run's record, the window of its newest events, and its watches.

    Args:
        run: The record of the new run.
        number: How many runs were created before it.
        max_events: The size of the window.

    Attributes:
        watches: The watches that each append wakes.
        subscribers: How many of them count towards a limit.
        expired: The run's time to live is over; it is removed when the last watch closes.
    """

    __slots__ = ("_entries", "_max_events", "_page", "expired", "number", "run", "subscribers", "watches")

    def __init__(self, run: Run, number: int, max_events: int) -> None:
        self.run = run
        self.number = number
        self.watches: set[Watch] = set()
        self.subscribers = 0
        self.expired = False
        self._entries: list[Entry] = []
        self._max_events = max_events
        self._page: tuple[int, int, Page] | None = None  # position, limit, and the page read there last

    def append(self, run: Run, entries: Sequence[Entry], *, after_gap: bool = False) -> None:
        if run.incarnation != self.run.incarnation:
            raise SequenceConflict(run.run_id)
        if self.run.finished:
            raise RunClosed(self.run.run_id)
        missing = entries[0].sequence - self.run.last_sequence - 1
        if missing < 0 or (missing and not after_gap):
            raise SequenceConflict(self.run.run_id)
        self._entries.extend(entries)
        if len(self._entries) > self._max_events + _SLACK or run.finished:
            del self._entries[: -self._max_events]
        self._page = None
        self.run = run
        for watch in self.watches:
            watch.wake()

    def read(self, after: int, limit: int = PAGE_EVENTS) -> Page:
        """Return a page: the same object for equal reads between two appends, while the run is watched."""
        if self._page is not None and self._page[:2] == (after, limit):
            return self._page[2]
        last = self.run.last_sequence
        oldest = max(len(self._entries) - self._max_events, 0)
        start = bisect_right(self._entries, after, lo=oldest, key=_sequence)
        entries = _page_entries(self._entries, start, start + limit)
        reached = entries[-1].sequence if entries else max(after, last)
        page = Page(entries, closed=self.run.finished and reached >= last, more=reached < last)
        if self.watches:
            self._page = (after, limit, page)
        return page

    def unwatch(self, watch: Watch) -> None:
        self.watches.discard(watch)
        if not self.watches:
            self._page = None


class LogWatch(Watch):
    """A watch on a log in memory, registered while it is entered.

    Its own context manager, since a generator would take more memory than the rest of it.

    Args:
        log: The log to watch.
        limit: As for `RunLog.watch`.
        on_expired: Called with the log when its last watch closes after its time to live.
    """

    __slots__ = ("_limit", "_log", "_on_expired")

    def __init__(self, log: Log, limit: int | None, on_expired: Callable[[Log], None]) -> None:
        super().__init__(log.read)
        self.incarnation = log.run.incarnation
        self._log = log
        self._limit = limit
        self._on_expired = on_expired

    async def __aenter__(self) -> Watch:
        if self._limit is not None:
            if self._log.subscribers >= self._limit:
                run_id = self._log.run.run_id
                raise TooManySubscribers(
                    f"run {run_id!r} has {self._limit} subscribers, the most allowed; try again later"
                )
            self._log.subscribers += 1
        self._log.watches.add(self)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()
        self._log.unwatch(self)
        if self._limit is not None:
            self._log.subscribers -= 1
        if self._log.expired and not self._log.watches:
            self._on_expired(self._log)


class Index:
    """Lists runs from any cursor on without scanning those before it.

    Args:
        logs: The runs by id, in the order of their creation.
    """

    def __init__(self, logs: dict[str, Log]) -> None:
        self._logs = logs
        self._order: list[tuple[int, str]] = []  # also of removed runs, until they are compacted

    def add(self, log: Log) -> None:
        """Add a run that is newer than all others."""
        self._order.append((log.number, log.run.run_id))

    def compact(self) -> None:
        """Drop the entries of removed runs once they outnumber the others."""
        if len(self._order) > 2 * len(self._logs) + _STALE_ENTRIES:
            self._order = [(log.number, run_id) for run_id, log in self._logs.items()]

    def recent(
        self, *, status: Status | None, limit: int, cursor: str | None, owner: str | None
    ) -> Listing[Run]:
        """Return runs, newest first; see `RunLog.recent`."""
        stop = len(self._order) if cursor is None else bisect_left(self._order, (_cursor_number(cursor),))
        start = max(stop - MAX_SCANNED, 0)
        items: list[Run] = []
        reached = 0
        for number, run_id in reversed(self._order[start:stop]):
            log = self._logs.get(run_id)
            if log is None or log.number != number:
                continue
            if (status is None or log.run.status == status) and (owner is None or log.run.owner == owner):
                if len(items) == limit:
                    return Listing(items, str(reached))
                items.append(log.run)
                reached = number
        return Listing(items, str(self._order[start][0]) if start else None)


def _page_entries(entries: list[Entry], start: int, stop: int) -> list[Entry]:
    """Return consecutive events from an index on, up to `PAGE_BYTES` or a gap."""
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


def _cursor_number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _CURSOR_DIGITS):
        raise BadCursor(cursor)
    return int(cursor)
