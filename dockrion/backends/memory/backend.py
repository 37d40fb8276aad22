"""The backend in memory."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import msgspec

from dockrion.backends.fanout import Watch
from dockrion.backends.memory.index import Index
from dockrion.backends.memory.log import Log, LogWatch
from dockrion.backends.memory.retention import Retention
from dockrion.backends.owner_messages import CancelRequest, OwnerRequest, RunRef, wait_for_reply
from dockrion.backends.pages import Page
from dockrion.backends.run_log import Listing, Run, Status
from dockrion.backends.shared_state import SECRET_BYTES, WindowCount
from dockrion.dependency import Dependency
from dockrion.errors import RunExists, RunNotFound
from dockrion.events import Entry

if TYPE_CHECKING:
    from dockrion.backends.memory.outbox import MemoryOutbox

_MAX_COUNTERS = 100_000
_MAX_CLAIMS = 100_000
_MIB = 1024 * 1024
_Key = tuple[str, int]


class MemoryBackend:
    """Stores runs in the memory of this process. Implements `Backend`, whose docstrings apply.

    Args:
        max_events: How many of a run's newest events are stored.
        ttl: Seconds that a finished run stays, and longer while it is watched.
        max_bytes: How much memory runs may take; see `Retention`.
        on_evicted: Called with the numbers of runs and of events that were removed because of `max_bytes`.
        outbox: Gets copies of events.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        max_events: int,
        ttl: float,
        max_bytes: int = 256 * _MIB,
        on_evicted: Callable[[int, int], None] = lambda _runs, _events: None,
        outbox: "MemoryOutbox | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outbox = outbox
        self.dependency = Dependency("up")
        self._max_events = max_events
        self._logs: dict[str, Log] = {}
        self._index = Index(self._logs)
        self._retention = Retention(
            self._logs, self._index.remove, ttl=ttl, max_bytes=max_bytes, on_evicted=on_evicted, clock=clock
        )
        self._counter = WindowCounter(clock)
        self._clock = clock
        self._holders: dict[str, tuple[str, float]] = {}  # and until when
        self._claims = Claims(clock)
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._created = 0
        self._cancels: asyncio.Queue[CancelRequest] = asyncio.Queue()
        self._requests: asyncio.Queue[OwnerRequest] = asyncio.Queue()

    @property
    def stored_bytes(self) -> int:
        """The memory that runs take."""
        return self._retention.stored_bytes

    queue = None  # there is no other replica that could take a run

    async def create(self, run: Run, job: bytes | None = None) -> None:  # noqa: ARG002  as above
        if run.run_id in self._logs:
            raise RunExists(run.run_id)
        self._created += 1
        log = self._logs[run.run_id] = Log(run, self._created, self._max_events)
        self._index.add(log)
        self._retention.weigh(log)

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        self._append(self._log(run.run_id), run, entries)

    async def force_close(self, run: Run, last: Entry) -> None:
        if run.run_id not in self._logs:
            await self.create(msgspec.structs.replace(run, status="running", last_sequence=0))
        self._append(self._log(run.run_id), run, [last], after_gap=True)

    async def get(self, run_id: str) -> Run:
        return self._log(run_id).record

    async def get_input(self, run_id: str, incarnation: str | None = None) -> bytes | None:
        return self._log(run_id, incarnation).body

    async def recent(
        self,
        *,
        status: Status | None,
        limit: int,
        cursor: str | None,
        owner: str | None = None,
        waiting: bool = False,
    ) -> Listing[Run]:
        return self._index.recent(status=status, limit=limit, cursor=cursor, owner=owner, waiting=waiting)

    async def read(self, run_id: str, after: int, limit: int, incarnation: str | None = None) -> Page:
        return self._log(run_id, incarnation).read(after, limit)

    def watch(
        self, run_id: str, incarnation: str | None = None, *, limit: int | None = None
    ) -> AbstractAsyncContextManager[Watch]:
        return LogWatch(self._log(run_id, incarnation), limit, self._retention.unwatched)

    async def request_cancel(self, run_id: str, reason: str | None, incarnation: str | None = None) -> None:
        run = self._log(run_id, incarnation).run
        self._cancels.put_nowait(CancelRequest(run_id, run.incarnation, reason))

    async def cancel_requests(self) -> AsyncIterator[CancelRequest]:
        while True:
            yield await self._cancels.get()

    async def request_owner(self, run_id: str, body: bytes, incarnation: str | None = None) -> bytes:
        run = self._log(run_id, incarnation).run
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def on_reply(body: bytes) -> None:
            if not reply.done():  # the requester may have given up
                reply.set_result(body)

        self._requests.put_nowait(OwnerRequest(run_id, run.incarnation, body, on_reply))
        return await wait_for_reply(reply)

    async def owner_requests(self) -> AsyncIterator[OwnerRequest]:
        while True:
            yield await self._requests.get()

    async def lost_runs(self) -> AsyncIterator[RunRef]:
        """Yield nothing: there is no other replica to take a run over."""
        await asyncio.Event().wait()
        yield RunRef("", None)

    async def count(self, name: str, window: int) -> WindowCount:
        return self._counter.count(name, window)

    async def hold(self, name: str, holder: str, seconds: int) -> bool:
        now = self._clock()
        current, until = self._holders.get(name, (holder, now))
        if current != holder and until > now:
            return False
        self._holders[name] = holder, now + seconds
        if not seconds:
            del self._holders[name]
        return True

    async def claim(self, name: str, value: bytes, seconds: int, replacing: bytes | None = None) -> bytes:
        return self._claims.claim(name, value, seconds, replacing)

    async def secret(self) -> bytes:
        return self._secret

    async def check_start(self) -> None:
        pass

    async def ping(self) -> None:
        """Return: memory is always reachable."""

    async def aclose(self) -> None:
        self._retention.close()
        self._logs.clear()
        if self.outbox is not None:
            self.outbox.close()

    def _append(self, log: Log, run: Run, entries: Sequence[Entry], *, after_gap: bool = False) -> None:
        log.append(run, entries, after_gap=after_gap)
        if self.outbox is not None:
            self.outbox.copy(run, entries)
        if run.finished:
            self._retention.finished(log)
        self._retention.weigh(log)

    def _log(self, run_id: str, incarnation: str | None = None) -> Log:
        log = self._logs.get(run_id)
        if log is None or incarnation not in (None, log.run.incarnation):
            raise RunNotFound(run_id)
        return log


class WindowCounter:
    """Counts in windows that begin with the first increment.

    Holds a bounded number of counters. One too many drops the one whose window ends first.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: dict[_Key, tuple[float, int]] = {}
        self._ends: list[tuple[float, _Key]] = []  # a heap

    def count(self, name: str, window: int) -> WindowCount:
        """Increment a counter; see `SharedState.count`."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            self._drop_first()
        key = name, window
        end, count = self._counts.get(key, (now + window, 0))
        if not count:
            if len(self._counts) >= _MAX_COUNTERS:
                self._drop_first()
            heappush(self._ends, (end, key))
        self._counts[key] = end, count + 1
        return WindowCount(count + 1, end - now)

    def _drop_first(self) -> None:
        _, key = heappop(self._ends)
        del self._counts[key]


class Claims:
    """The values with which names are claimed, a bounded number: one too many drops the one that ends first.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._values: dict[str, tuple[bytes, float]] = {}  # and until when
        self._ends: list[tuple[float, str]] = []  # a heap; those of replaced claims, too

    def claim(self, name: str, value: bytes, seconds: int, replacing: bytes | None) -> bytes:
        """Claim a name; see `SharedState.claim`."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            self._drop_first()
        claimed = self._values.get(name)
        if claimed is not None and claimed[0] != replacing:
            return claimed[0]
        while len(self._values) >= _MAX_CLAIMS:
            self._drop_first()
        self._values[name] = value, now + seconds
        heappush(self._ends, (now + seconds, name))
        return value

    def _drop_first(self) -> None:
        end, name = heappop(self._ends)
        if name in self._values and self._values[name][1] == end:
            del self._values[name]
