"""The log in this process, as a backend."""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from dockrion.backends.memory.index import Index
from dockrion.backends.memory.log import Log, Watching
from dockrion.backends.memory.window_counter import Uses
from dockrion.backends.owner_messages import OwnerRequest, wait_for_reply
from dockrion.backends.pages import Page, Watch
from dockrion.backends.run_log import Listing, Run, Status
from dockrion.backends.shared_state import SECRET_BYTES, WindowCount
from dockrion.errors import RunExists, RunNotFound
from dockrion.events import Entry


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
        self._logs: dict[str, Log] = {}
        self._index = Index(self._logs)
        self._uses = Uses(clock)
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._created = 0
        self._expiring: deque[tuple[float, Log]] = deque()
        self._expiry: asyncio.TimerHandle | None = None
        self._cancels: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()
        self._questions: asyncio.Queue[OwnerRequest] = asyncio.Queue()

    async def create(self, run: Run) -> None:
        if run.run_id in self._logs:
            raise RunExists(run.run_id)
        self._created += 1
        log = self._logs[run.run_id] = Log(run, self._created, self._max_events)
        self._index.add(log)

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        self._append(self._log(run.run_id), run, entries)

    async def force_close(self, run: Run, last: Entry) -> None:
        if run.run_id not in self._logs:
            await self.create(msgspec.structs.replace(run, status="running", last_sequence=0))
        self._append(self._log(run.run_id), run, [last], after_gap=True)

    async def get(self, run_id: str) -> Run:
        return self._log(run_id).run

    async def recent(
        self, *, status: Status | None, limit: int, cursor: str | None, owner: str | None = None
    ) -> Listing[Run]:
        return self._index.recent(status=status, limit=limit, cursor=cursor, owner=owner)

    async def read(self, run_id: str, after: int, limit: int) -> Page:
        return self._log(run_id).read(after, limit)

    def watch(self, run_id: str, *, limit: int | None = None) -> AbstractAsyncContextManager[Watch]:
        return Watching(self._log(run_id), self._forget, limit)

    async def request_cancel(self, run_id: str, reason: str | None) -> None:
        self._log(run_id)
        self._cancels.put_nowait((run_id, reason))

    async def cancel_requests(self) -> AsyncIterator[tuple[str, str | None]]:
        while True:
            yield await self._cancels.get()

    async def request_owner(self, run_id: str, question: bytes) -> bytes:
        self._log(run_id)
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def answer(text: bytes) -> None:
            if not waiting.done():
                waiting.set_result(text)

        self._questions.put_nowait(OwnerRequest(run_id, question, answer))
        return await wait_for_reply(waiting)

    async def owner_requests(self) -> AsyncIterator[OwnerRequest]:
        while True:
            yield await self._questions.get()

    async def lost_runs(self) -> AsyncIterator[str]:
        """Yield nothing: this process's own memory loses no run."""
        await asyncio.Event().wait()
        yield ""

    async def count(self, name: str, window: int) -> WindowCount:
        return self._uses.count(name, window)

    async def secret(self) -> bytes:
        return self._secret

    async def ping(self) -> None:
        """Return: this process's own memory always answers."""

    async def aclose(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiring.clear()
        self._logs.clear()

    def _append(self, log: Log, run: Run, entries: Sequence[Entry], *, after_gap: bool = False) -> None:
        log.append(run, entries, after_gap=after_gap)
        if run.finished:
            self._expiring.append((self._clock() + self._ttl, log))
            self._schedule_expiry()

    def _log(self, run_id: str) -> Log:
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

    def _forget(self, log: Log) -> None:
        self._logs.pop(log.run.run_id, None)
        self._index.tidy()
