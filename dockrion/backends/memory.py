"""The log in this process: the embedded default."""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from dockrion.backends.base import (
    PAGE_BYTES,
    PAGE_EVENTS,
    BadCursor,
    Listing,
    Page,
    Question,
    Run,
    Status,
    Watch,
    answered,
)
from dockrion.errors import RunClosed, RunExists, RunNotFound, SequenceConflict, TooManySubscribers
from dockrion.events import Entry

_CURSOR_DIGITS = 18
_SLACK = 256  # trimming moves the whole window, so it waits until this many are over


class _Log:
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


class _Watching(AbstractAsyncContextManager[Watch]):
    """One reader's time at a log. A class, since a generator takes more memory than all else of it."""

    __slots__ = ("_forget", "_limit", "_log", "_watch")

    def __init__(self, log: _Log, forget: Callable[[_Log], None], limit: int | None) -> None:
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


class MemoryBackend:
    """Keeps runs in memory, finished ones for a while.

    Args:
        max_events: How many events of a run are kept, the newest.
        ttl: How long a finished run is kept, in seconds; longer while somebody reads it.
        clock: Monotonic seconds.
    """

    def __init__(self, *, max_events: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_events = max_events
        self._ttl = ttl
        self._clock = clock
        self._logs: dict[str, _Log] = {}
        self._created = 0
        self._expiring: deque[tuple[float, _Log]] = deque()
        self._expiry: asyncio.TimerHandle | None = None
        self._cancels: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()
        self._questions: asyncio.Queue[Question] = asyncio.Queue()

    async def create(self, run: Run) -> None:
        if run.run_id in self._logs:
            raise RunExists(run.run_id)
        self._created += 1
        self._logs[run.run_id] = _Log(run, self._created, self._max_events)

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        self._append(self._log(run.run_id), run, entries)

    async def write_off(self, run: Run, last: Entry) -> None:
        if run.run_id not in self._logs:
            await self.create(msgspec.structs.replace(run, status="running", last_sequence=0))
        self._append(self._log(run.run_id), run, [last], after_gap=True)

    async def get(self, run_id: str) -> Run:
        return self._log(run_id).run

    async def recent(self, *, status: Status | None, limit: int, cursor: str | None) -> Listing[Run]:
        before = _cursor_number(cursor)
        items: list[Run] = []
        number = 0
        for log in reversed(self._logs.values()):
            if (before is not None and log.number >= before) or (status and log.run.status != status):
                continue
            if len(items) == limit:
                return Listing(items, str(number))
            items.append(log.run)
            number = log.number
        return Listing(items, None)

    async def read(self, run_id: str, after: int, limit: int) -> Page:
        return self._log(run_id).read(after, limit)

    def watch(self, run_id: str, *, limit: int | None = None) -> AbstractAsyncContextManager[Watch]:
        return _Watching(self._log(run_id), self._forget, limit)

    async def request_cancel(self, run_id: str, reason: str | None) -> None:
        self._log(run_id)
        self._cancels.put_nowait((run_id, reason))

    async def cancel_requests(self) -> AsyncIterator[tuple[str, str | None]]:
        while True:
            yield await self._cancels.get()

    async def ask_owner(self, run_id: str, question: bytes) -> bytes:
        self._log(run_id)
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def answer(text: bytes) -> None:
            if not waiting.done():
                waiting.set_result(text)

        self._questions.put_nowait(Question(run_id, question, answer))
        return await answered(waiting)

    async def questions(self) -> AsyncIterator[Question]:
        while True:
            yield await self._questions.get()

    async def lost_runs(self) -> AsyncIterator[str]:
        """Yield nothing: this process's own memory loses no run."""
        await asyncio.Event().wait()
        yield ""

    async def ping(self) -> None:
        """Return: this process's own memory always answers."""

    async def aclose(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiring.clear()
        self._logs.clear()

    def _append(self, log: _Log, run: Run, entries: Sequence[Entry], *, after_gap: bool = False) -> None:
        log.append(run, entries, after_gap=after_gap)
        if run.finished:
            self._expiring.append((self._clock() + self._ttl, log))
            self._schedule_expiry()

    def _log(self, run_id: str) -> _Log:
        try:
            return self._logs[run_id]
        except KeyError:
            raise RunNotFound(run_id) from None

    def _schedule_expiry(self) -> None:
        if self._expiry is None and self._expiring:
            delay = max(self._expiring[0][0] - self._clock(), 0)
            self._expiry = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        """Forget what has had its time. The deque is in order, since the time to live is one."""
        self._expiry = None
        now = self._clock()
        while self._expiring and self._expiring[0][0] <= now:
            _, log = self._expiring.popleft()
            log.expired = True
            if not log.watches:
                self._forget(log)
        self._schedule_expiry()

    def _forget(self, log: _Log) -> None:
        self._logs.pop(log.run.run_id, None)


def _cursor_number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _CURSOR_DIGITS):
        raise BadCursor(cursor)
    return int(cursor)
