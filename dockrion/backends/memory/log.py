"""A run in memory: its record, its events, and its watches."""

from collections.abc import Callable, Collection, Sequence

import msgspec

from dockrion.backends.fanout import Watch
from dockrion.backends.memory.window import Window
from dockrion.backends.pages import PAGE_EVENTS, Page
from dockrion.backends.run_log import Run
from dockrion.backends.summaries import SUMMARY_BYTES, encode_record, shortened
from dockrion.errors import RunClosed, RunNotFound, SequenceConflict, TooManySubscribers
from dockrion.events import Entry

# Of a run without events, and of a value within its record; measured on CPython 3.11 to 3.13 as the growth
# of a process.
_RUN_BYTES = 900
_VALUE_BYTES = 80
_INPUT_BYTES = 400  # of an input, beside its body: its excerpt, and what Python adds to both
_FIELDS = len(Run.__struct_fields__)
_decoder = msgspec.json.Decoder(Run)
_NO_WATCHES: frozenset[Watch] = frozenset()  # most runs have none most of the time, and a set takes 216 bytes


class Log:
    """A run's record, the window of its newest events, and its watches.

    Args:
        run: The record of the new run.
        number: How many runs were created before it.
        max_events: The size of the window.

    Attributes:
        body: The run's input, None if it is not stored.
        run: The record, shortened if it is large; `record` is all of it.
        subscribers: How many of the watches count towards a limit.
        expires_at: When the finished run is removed, on the backend's clock.
        expired: The run is removed as soon as nobody watches it.
        counted_bytes: The weight for which the backend has accounted.
    """

    __slots__ = (
        "_events",
        "_large_record",
        "_page",
        "_record_bytes",
        "_watches",
        "body",
        "counted_bytes",
        "expired",
        "expires_at",
        "number",
        "run",
        "subscribers",
    )

    def __init__(self, run: Run, number: int, max_events: int) -> None:
        self.body: bytes | None = None
        self.run = self._without_input(run)
        self.number = number
        self.subscribers = 0
        self.expires_at = 0.0
        self.expired = False
        self.counted_bytes = 0
        self._events = Window(max_events)
        self._watches: set[Watch] | frozenset[Watch] = _NO_WATCHES
        self._record_bytes = _RUN_BYTES
        self._large_record: bytes | None = None  # as JSON
        self._page: tuple[int, int, Page] | None = None  # position, limit, and the page read there last

    @property
    def watches(self) -> Collection[Watch]:
        """The watches that each append wakes."""
        return self._watches

    @property
    def weight(self) -> int:
        """The memory that the run takes, in bytes."""
        input_bytes = 0 if self.body is None else _INPUT_BYTES + len(self.body)
        return self._record_bytes + input_bytes + self._events.weight

    @property
    def record(self) -> Run:
        """The run's record."""
        if self._large_record is None:
            return self.run
        return msgspec.structs.replace(_decoder.decode(self._large_record), output=self.run.output)

    def append(self, run: Run, entries: Sequence[Entry], *, after_gap: bool = False) -> None:
        if run.incarnation != self.run.incarnation:
            raise SequenceConflict(run.run_id)
        if self.run.finished:
            raise RunClosed(self.run.run_id)
        first = entries[0].sequence if entries else run.last_sequence + 1
        missing = first - self.run.last_sequence - 1
        if missing < 0 or (missing and not after_gap):
            raise SequenceConflict(self.run.run_id)
        if entries:
            self._events.extend(entries)
        self._page = None
        run = self._without_input(run)
        # Until it is finished, only a question makes a record large.
        small = not run.finished and run.waiting_for is None and self.run.waiting_for is None
        self.run = run if small else self._weighed(run)
        for watch in self._watches:
            watch.wake()
        self._pack_unread()

    def read(self, after: int, limit: int = PAGE_EVENTS) -> Page:
        """Return a page: the same object for equal reads between two appends, while the run is watched."""
        if self._page is not None and self._page[:2] == (after, limit):
            return self._page[2]
        last = self.run.last_sequence
        entries = self._events.read(after, limit)
        reached = entries[-1].sequence if entries else max(after, last)
        page = Page(entries, closed=self.run.finished and reached >= last, more=reached < last)
        if self._watches:
            self._page = (after, limit, page)
        return page

    def drop_oldest(self) -> int:
        """Drop some of the oldest events, but never the newest one; return how many."""
        self._page = None
        return self._events.drop_oldest()

    def watch(self, watch: Watch) -> None:
        if isinstance(self._watches, set):
            self._watches.add(watch)
        else:
            self._watches = {watch}

    def unwatch(self, watch: Watch) -> None:
        if isinstance(self._watches, set):
            self._watches.discard(watch)
            if not self._watches:
                self._watches, self._page = _NO_WATCHES, None
                self._pack_unread()

    def _without_input(self, run: Run) -> Run:
        """Return a record without its input, if it has one, which is kept beside it."""
        if run.input is None:
            return run
        self.body = bytes(run.input)
        return msgspec.structs.replace(run, input=None)

    def _weighed(self, run: Run) -> Run:
        """Weigh the record of a run that may be large, and return what listings show of it."""
        record = encode_record(run)
        output_bytes = 0 if run.output is None else memoryview(run.output).nbytes
        self._record_bytes = _RUN_BYTES + len(record) + output_bytes
        self._large_record = None
        if len(record) <= SUMMARY_BYTES:
            # Values may take many times as much memory as their JSON, in which each has one of these bytes.
            values = record.count(b",") + record.count(b"[") + record.count(b"{") - _FIELDS
            self._record_bytes += max(values, 0) * _VALUE_BYTES
            return run
        self._large_record = record
        return shortened(run)

    def _pack_unread(self) -> None:
        if self.run.finished and not self._watches:
            self._events.pack()


class LogWatch(Watch):
    """A watch on a log in memory, registered while it is entered.

    Its own context manager, since a generator would take more memory than the rest of it.

    Args:
        log: The log to watch.
        limit: As for `RunLog.watch`.
        on_unwatched: Called with the log when its last watch has closed.
    """

    __slots__ = ("_limit", "_log", "_on_unwatched")

    def __init__(self, log: Log, limit: int | None, on_unwatched: Callable[[Log], None]) -> None:
        super().__init__(log.read)
        self.incarnation = log.run.incarnation
        self._log = log
        self._limit = limit
        self._on_unwatched = on_unwatched

    async def __aenter__(self) -> Watch:
        if self._limit is not None:
            if self._log.run.unlisted:
                raise RunNotFound(self._log.run.run_id)
            if self._log.subscribers >= self._limit:
                run_id = self._log.run.run_id
                raise TooManySubscribers(
                    f"run {run_id!r} has {self._limit} subscribers, the most allowed; try again later"
                )
            self._log.subscribers += 1
        self._log.watch(self)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()
        self._log.unwatch(self)
        if self._limit is not None:
            self._log.subscribers -= 1
        if not self._log.watches:
            self._on_unwatched(self._log)
