"""The log in Redis, as a backend."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress

from dockrion.backends.owner_messages import OwnerRequest
from dockrion.backends.pages import Page, Watch
from dockrion.backends.redis.client import Link, end
from dockrion.backends.redis.inbox import Feed
from dockrion.backends.redis.index import Index
from dockrion.backends.redis.keys import Keys
from dockrion.backends.redis.leases import BEAT_SECONDS, Custody
from dockrion.backends.redis.requests import Asking
from dockrion.backends.redis.shared import Shared
from dockrion.backends.redis.store import Store
from dockrion.backends.redis.subscriptions import Watching
from dockrion.backends.run_log import Listing, Run, Status
from dockrion.backends.shared_state import WindowCount
from dockrion.errors import BackendError, CorruptLog, RunExists, ServiceUnavailable
from dockrion.events import Entry

_WATCHES_RENEWED_SECONDS = 30.0
_PING_SECONDS = 2.0
_CLOSE_SECONDS = 5.0
_UNUSABLE = "the backend cannot be used at present; try again later"
_SPARE_SECONDS = 3600  # how long Redis may be away before a live run's keys expire


class RedisBackend:
    """Keeps runs in Redis, for any number of replicas. Made on the event loop that uses it.

    Args:
        url: A redis://, rediss:// or unix:// URL.
        agent: The agent's name; replicas with the same name are one service.
        max_events: How many events of a run are kept, the newest.
        ttl: How long a finished run is kept, in seconds.
        max_run_duration: How long a run may take, in seconds.
        pool_size: The most connections for requests.

    Raises:
        StartError: The URL is malformed.
    """

    def __init__(
        self,
        url: str,
        *,
        agent: str,
        max_events: int,
        ttl: int,
        max_run_duration: int,
        pool_size: int = 10,
    ) -> None:
        self.replica = secrets.token_hex(8)
        self._link = Link(url, pool_size=pool_size)
        self._keys = Keys(agent)
        live_ttl = max_run_duration + ttl + _SPARE_SECONDS
        self._index = Index(self._link, self._keys, live_ttl=live_ttl)
        self._store = Store(
            self._link, self._keys, self._index, max_events=max_events, ttl=ttl, live_ttl=live_ttl
        )
        self._shared = Shared(self._link, self._keys)
        self._watching = Watching(self._store, self.replica)
        self._asking = Asking(self._store, self.replica)
        self._cancels: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()
        self._lost: asyncio.Queue[str] = asyncio.Queue()
        self._custody = Custody(
            self._store,
            self.replica,
            on_cancel=lambda run_id, reason: self._cancels.put_nowait((run_id, reason)),
            on_lost=self._lost.put_nowait,
        )
        feed = Feed(
            self._link,
            self._keys.control(self.replica),
            on_news=self._watching.wake,
            on_cancel=self._custody.cancel,
            on_question=self._asking.hear_question,
            on_answer=self._asking.hear_answer,
            on_doubt=self._watching.wake_all,
        )
        self._renew_watches_at = time.monotonic() + _WATCHES_RENEWED_SECONDS
        self._eviction_checked = False
        self._has_beaten = False
        self._tasks = [asyncio.create_task(feed.listen()), asyncio.create_task(self._keep())]

    async def create(self, run: Run) -> None:
        self._link.check()
        await self._be_heard()
        try:
            await self._store.create(self.replica, run)
        except RunExists:
            self._custody.refused(run)
            raise
        except (ServiceUnavailable, asyncio.CancelledError):
            self._custody.unconfirmed(run)
            raise
        except CorruptLog as error:
            raise ServiceUnavailable(_UNUSABLE) from error
        self._custody.took(run)

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        await self._append(run, entries)

    async def force_close(self, run: Run, last: Entry) -> None:
        try:
            await self._append(run, [last], after_gap=True)
        except BackendError:  # it is not ours, whatever becomes of it
            self._custody.finished(run.run_id)
            raise

    async def get(self, run_id: str) -> Run:
        return await self._store.get(run_id)

    async def recent(
        self, *, status: Status | None, limit: int, cursor: str | None, owner: str | None = None
    ) -> Listing[Run]:
        try:
            return await self._index.recent(status=status, limit=limit, cursor=cursor, owner=owner)
        except CorruptLog as error:
            raise ServiceUnavailable(_UNUSABLE) from error

    async def read(self, run_id: str, after: int, limit: int) -> Page:
        return await self._watching.read(run_id, after, limit)

    def watch(self, run_id: str, *, limit: int | None = None) -> AbstractAsyncContextManager[Watch]:
        return self._watching.watch(run_id, limit)

    async def request_cancel(self, run_id: str, reason: str | None) -> None:
        await self._store.request_cancel(run_id, reason)

    async def cancel_requests(self) -> AsyncIterator[tuple[str, str | None]]:
        while True:
            yield await self._cancels.get()

    async def request_owner(self, run_id: str, question: bytes) -> bytes:
        await self._be_heard()
        return await self._asking.ask(run_id, question)

    def owner_requests(self) -> AsyncIterator[OwnerRequest]:
        return self._asking.questions()

    async def lost_runs(self) -> AsyncIterator[str]:
        while True:
            yield await self._lost.get()

    async def count(self, name: str, window: int) -> WindowCount:
        return await self._shared.count(name, window)

    async def secret(self) -> bytes:
        return await self._shared.secret()

    async def ping(self) -> None:
        if self._link.down:
            raise ServiceUnavailable("the backend cannot be used at present")
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self._store.ping()
        except TimeoutError:
            raise ServiceUnavailable("the backend does not answer") from None

    async def aclose(self) -> None:
        await end(self._tasks)
        await self._watching.aclose()
        if not self._link.away:
            with suppress(ServiceUnavailable, BackendError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._custody.beat()
                    await self._custody.leave()
        await self._link.aclose()

    async def _append(self, run: Run, entries: Sequence[Entry], *, after_gap: bool = False) -> None:
        owned = self._custody.get(run.run_id)
        told = owned.watchers if owned is not None else set()
        watchers = set(
            await self._store.append(self.replica, run, entries, tell=told, after_gap=after_gap)
        ) - {self.replica}
        await self._store.tell(watchers - told, run.run_id)
        if owned is not None:
            owned.watchers = watchers
        if run.finished:
            self._custody.finished(run.run_id)
        self._watching.wake(run.run_id, Page(entries, closed=run.finished))

    async def _be_heard(self) -> None:
        """See that others can leave questions and answers: before the first beat there is no place for them.

        Raises:
            ServiceUnavailable: That cannot be done now.
        """
        if self._has_beaten:
            return
        try:
            if await self._beat():
                self._watching.wake_all()
        except CorruptLog as error:
            raise ServiceUnavailable(_UNUSABLE) from error

    async def _beat(self) -> bool:
        anew = await self._custody.beat()
        self._has_beaten = True
        return anew

    async def _keep(self) -> None:
        """Do what has to be done again and again, for ever."""
        while True:
            try:
                await self._keep_once()
            except Exception as error:  # whatever it was, this must not end
                self._link.lost(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._until_doubt()

    async def _keep_once(self) -> None:
        anew = await self._beat()
        if self._link.reached() or anew or time.monotonic() >= self._renew_watches_at:
            await self._watching.renew()
            self._watching.wake_all()
            self._renew_watches_at = time.monotonic() + _WATCHES_RENEWED_SECONDS
        await self._custody.renew()
        await self._custody.bury()
        await self._custody.sweep()
        if not self._eviction_checked:
            await self._link.check_eviction()
            self._eviction_checked = True
        self._link.found()

    async def _until_doubt(self) -> None:
        if self._link.away:
            await asyncio.sleep(0.5)
            return
        await self._link.in_doubt.wait()
        self._link.in_doubt.clear()
