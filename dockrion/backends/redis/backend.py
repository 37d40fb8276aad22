"""The Redis backend: wires its parts together.

The path of a batch: `Appender.append` → `Store.append` → script `append` → a message to the inbox of each
replica with readers → there `Inbox` → `Subscriptions.wake`. Readers in this process are woken
directly, with the batch itself.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING

from dockrion.backends.fanout import Watch
from dockrion.backends.outbox import LEASE_SECONDS, Copying
from dockrion.backends.owner_messages import CancelRequest, OwnerRequest, RunRef
from dockrion.backends.pages import Page
from dockrion.backends.redis.appender import Appender
from dockrion.backends.redis.background import BackgroundWork
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.declarations import Declaration, Declarations
from dockrion.backends.redis.health import NO_OBSERVER, Health, Observer, Refusals, unavailable
from dockrion.backends.redis.inbox import Inbox
from dockrion.backends.redis.index import Index
from dockrion.backends.redis.keys import Keys
from dockrion.backends.redis.leases import LeaseKeeper
from dockrion.backends.redis.queue import RedisQueue
from dockrion.backends.redis.reaper import Reaper
from dockrion.backends.redis.requests import OwnerRequests
from dockrion.backends.redis.shared_values import SharedValues
from dockrion.backends.redis.store import Store
from dockrion.backends.redis.subscriptions import Subscriptions
from dockrion.backends.redis.watchdog import LoopWatchdog
from dockrion.backends.run_log import Listing, Run, Status
from dockrion.backends.shared_state import WindowCount
from dockrion.background_tasks import BackgroundTasks
from dockrion.dependency import Dependency
from dockrion.errors import (
    BackendError,
    CorruptLog,
    RunExists,
    ServiceUnavailable,
    StartError,
)
from dockrion.events import Entry

if TYPE_CHECKING:
    from dockrion.backends.redis.outbox import RedisOutbox

_FIRST_ROUND_SECONDS = 3.0
_CLOSE_SECONDS = 5.0
_SPARE_SECONDS = 3600  # how long Redis may be unreachable before an unfinished run's keys expire


class RedisBackend:
    """Keeps runs in Redis, for any number of replicas. Made on the event loop that uses it.

    Args:
        url: The URL of a server, a cluster or Sentinels; see `RedisClient`.
        agent: The agent's name; replicas with the same name are one service.
        max_events: How many of a run's newest events are stored.
        max_bytes: How many bytes of them, if there is more than one.
        ttl: Seconds that a finished run stays.
        max_run_duration: How long a run may take, in seconds.
        waiting_counts: Whether that includes the time in which its agent waits for answers.
        pool_size: The maximum number of connections for requests.
        key_prefix: What the names of all keys begin with; contains no braces.
        copying: Says which events are copied into the outbox, None if there is none.
        lease_seconds: How long a delivery is leased.
        declaration: What this replica declares of itself; None to be compared with no other.
        on_ended: Called with the record and the terminal event of each run that the backend itself has ended.
        observer: Is told how Redis does.

    Raises:
        StartError: The URL is malformed.
    """

    def __init__(
        self,
        url: str,
        *,
        agent: str,
        max_events: int,
        max_bytes: int = 64 * 1024 * 1024,
        ttl: int,
        max_run_duration: int,
        waiting_counts: bool = True,
        pool_size: int = 10,
        key_prefix: str = "dockrion",
        copying: Copying | None = None,
        lease_seconds: float = LEASE_SECONDS,
        declaration: Declaration | None = None,
        on_ended: Callable[[Run, Entry], None] = lambda _run, _last: None,
        observer: Observer = NO_OBSERVER,
    ) -> None:
        self.replica = secrets.token_hex(8)
        self._client = client = RedisClient(url, pool_size=pool_size, observer=observer)
        keys = Keys(agent, key_prefix, spread=client.spread)
        live_ttl = max_run_duration + ttl + _SPARE_SECONDS
        self._index = Index(client, keys)
        self.outbox = None if copying is None else _outbox(client, keys, copying, lease_seconds)
        self._store = Store(
            client,
            keys,
            max_events=max_events,
            max_bytes=max_bytes,
            ttl=ttl,
            live_ttl=live_ttl,
            outbox=self.outbox,
        )
        self._shared = SharedValues(client, keys)
        self._subscriptions = Subscriptions(self._store, self.replica)
        self._requests = OwnerRequests(self._store, self.replica)
        self._leases = LeaseKeeper(self._store, self.replica)
        self._appender = Appender(
            self._store, self.replica, self._leases, self._subscriptions, Refusals(client.health)
        )
        self.queue = RedisQueue(self._store, self._leases, self.replica, on_ended)
        self._reaper = Reaper(
            self._store,
            self._leases,
            self.queue,
            self.replica,
            max_run_duration=max_run_duration if waiting_counts else None,
            on_ended=on_ended,
        )
        inbox = Inbox(
            client, keys.inbox(self.replica), self._subscriptions, self._leases, self._requests, self.queue
        )
        self._declarations: Declarations | None = None
        if declaration is not None:
            self._declarations = Declarations(client, keys, self.replica, declaration, live_ttl)
        self._work = BackgroundWork(
            client,
            self._index,
            self._leases,
            self._reaper,
            self._subscriptions,
            self.queue,
            self._declarations,
        )
        self._tasks = BackgroundTasks()
        self._tasks.start(inbox.listen())
        self._tasks.start(self._work.run())
        self._watchdog = LoopWatchdog(self._leases.beat_without_loop, longest=max_run_duration)

    async def create(self, run: Run, job: bytes | None = None) -> None:
        self._client.check_reachable()
        await self._work.ensure_inbox()
        try:
            with self._leases.creating(run):
                await self._store.create(self.replica, run, job)
        except RunExists:
            self._leases.discard(run)
            raise
        except (ServiceUnavailable, asyncio.CancelledError):
            self._leases.unconfirmed.add(run, self.replica)
            raise
        except CorruptLog as error:
            self._leases.discard(run)
            raise unavailable() from error
        self._leases.track(run, has_job=job is not None)

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        await self._appender.append(run, entries)

    async def force_close(self, run: Run, last: Entry) -> None:
        await self._appender.force_close(run, last)

    async def get(self, run_id: str) -> Run:
        return await self._store.get(run_id)

    async def get_input(self, run_id: str, incarnation: str | None = None) -> bytes | None:
        return await self._store.get_input(run_id, incarnation)

    async def recent(
        self,
        *,
        status: Status | None,
        limit: int,
        cursor: str | None,
        owner: str | None = None,
        waiting: bool = False,
    ) -> Listing[Run]:
        try:
            return await self._index.recent(
                status=status, limit=limit, cursor=cursor, owner=owner, waiting=waiting
            )
        except CorruptLog as error:
            raise unavailable() from error

    async def read(self, run_id: str, after: int, limit: int, incarnation: str | None = None) -> Page:
        return await self._subscriptions.read(run_id, after, limit, incarnation)

    def watch(
        self, run_id: str, incarnation: str | None = None, *, limit: int | None = None
    ) -> AbstractAsyncContextManager[Watch]:
        return self._subscriptions.watch(run_id, incarnation, limit)

    async def request_cancel(self, run_id: str, reason: str | None, incarnation: str | None = None) -> None:
        if not await self._store.request_cancel(run_id, reason, incarnation):
            await self.queue.cancel(run_id, reason, incarnation)

    async def cancel_requests(self) -> AsyncIterator[CancelRequest]:
        while True:
            yield await self._leases.cancels.get()

    async def request_owner(self, run_id: str, body: bytes, incarnation: str | None = None) -> bytes:
        await self._work.ensure_inbox()
        return await self._requests.request(run_id, body, incarnation)

    def owner_requests(self) -> AsyncIterator[OwnerRequest]:
        return self._requests.received()

    async def lost_runs(self) -> AsyncIterator[RunRef]:
        while True:
            yield await self._leases.lost.get()

    async def count(self, name: str, window: int) -> WindowCount:
        return await self._shared.count(name, window)

    async def hold(self, name: str, holder: str, seconds: int) -> bool:
        return await self._shared.hold(name, holder, seconds)

    async def claim(self, name: str, value: bytes, seconds: int, replacing: bytes | None = None) -> bytes:
        return await self._shared.claim(name, value, seconds, replacing)

    async def secret(self) -> bytes:
        return await self._shared.secret()

    async def check_start(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_ROUND_SECONDS):
                await self._work.first_round_over.wait()
        if (refusal := self._client.health.refusal) is not None:
            raise StartError(refusal)

    @property
    def dependency(self) -> Dependency:
        return self._client.health.dependency

    async def ping(self) -> None:
        await self._shared.ping()

    async def aclose(self) -> None:
        self._watchdog.stop()
        await self._tasks.cancel_until_done()
        await self._subscriptions.aclose()
        await self._requests.aclose()
        if self._client.health.state is not Health.UNREACHABLE:
            with suppress(ServiceUnavailable, BackendError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    if not (await self._leases.beat()).owned:  # else peers find these by the registration
                        await self._leases.deregister()
        await self._client.aclose()


def _outbox(client: RedisClient, keys: Keys, copying: Copying, lease_seconds: float) -> "RedisOutbox":
    from dockrion.backends.redis.outbox import RedisOutbox  # noqa: PLC0415  memory: only needed with webhooks

    return RedisOutbox(client, keys, copying, lease_seconds)
