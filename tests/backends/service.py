"""Replicas of one service in one process, and what they store."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest
from redis import Redis

from dockrion.backends.follow import follow
from dockrion.backends.pages import Page
from dockrion.backends.redis import RedisBackend, background, leases, reaper
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.keys import Command, Keys, Script
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import ServiceUnavailable
from tests.backends.conformance import MAX_EVENTS, TIMEOUT_SECONDS, delete_keys
from tests.servers import KINDS, shared
from tests.support import wait_until

NEVER = 3600.0
MAX_BYTES = 2**20
_numbers = count(1)


class Service:
    """The replicas of an agent's service, on the shared server of a kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.agent = f"service-{next(_numbers)}-{os.getpid()}"
        self.server = shared(kind)
        self.keys = Keys(self.agent)
        self._alive: list[RedisBackend] = []
        self._client = Redis.from_url(self.server.url)

    async def replica(self, **settings: Any) -> RedisBackend:
        """Start a replica and wait until it can receive messages."""
        backend = self.connect(**settings)
        await wait_until(lambda: self.ask("EXISTS", backend._store.keys.inbox(backend.replica)))
        return backend

    def connect(
        self, *, max_events: int = MAX_EVENTS, ttl: int = 60, max_bytes: int = MAX_BYTES, **more: Any
    ) -> RedisBackend:
        """Start a replica."""
        backend = RedisBackend(
            self.server.least_privileged_url,
            agent=self.agent,
            max_events=max_events,
            max_bytes=max_bytes,
            ttl=ttl,
            max_run_duration=60,
            **more,
        )
        self._alive.append(backend)
        return backend

    async def replicas(self, number: int) -> list[RedisBackend]:
        return list(await asyncio.gather(*(self.replica() for _ in range(number))))

    async def kill(self, backend: RedisBackend) -> None:
        """End a replica as a crash does: without deregistering it."""
        self._alive.remove(backend)
        backend._watchdog.stop()
        await backend._tasks.cancel_until_done()
        await backend._subscriptions.aclose()
        await backend._client.aclose()

    async def close(self, backend: RedisBackend) -> None:
        """Shut a replica down."""
        self._alive.remove(backend)
        await backend.aclose()

    async def aclose(self) -> None:
        for backend in list(self._alive):
            await self.close(backend)
        delete_keys(self.kind, self.agent)
        self._client.close()

    def ask(self, *words: Any) -> Any:
        """Send one command."""
        return self._client.execute_command(*words)

    def names(self) -> list[str]:
        """Return the names of all keys of the service."""
        return sorted(key.decode() for key in self._client.scan_iter(f"dockrion:{self.agent}:*", 10_000))

    def snapshot(self) -> dict[str, tuple[bytes, int]]:
        """Return everything stored: key → content and time of expiry."""
        return {
            key: (self.ask("DUMP", key), self.ask("PEXPIRETIME", key))
            for key in self.names()
            if key not in (self.keys.ping, self.keys.replicas, self.keys.format)
        }

    def alive(self) -> set[str]:
        """Return the replicas that are registered."""
        return {replica.decode() for replica in self.ask("HKEYS", self.keys.replicas)}

    def readers(self, run_id: str) -> dict[str, int]:
        """Return the number of a run's readers by replica."""
        counts: dict[bytes, bytes] = self.ask("HGETALL", self.keys.watchers(run_id))
        return {replica.decode(): int(readers) for replica, readers in counts.items()}


@pytest.fixture
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """A service on the first kind of server, or on each where `tests/backends/conftest.py` says so."""
    created = Service(getattr(request, "param", KINDS[0]))
    yield created
    await created.aclose()


@pytest.fixture
def fast_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let replicas send heartbeats often, so that a death is soon noticed."""
    beat_every(monkeypatch, 0.05)


@pytest.fixture
def single_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let replicas send one heartbeat only, so that nothing is found by background work."""
    beat_every(monkeypatch, NEVER)


def beat_every(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for module in (leases, reaper, background):
        monkeypatch.setattr(module, "BEAT_SECONDS", seconds)


@asynccontextmanager
async def paused(backend: RedisBackend) -> AsyncIterator[None]:
    """Hold a replica's heartbeats, as if its process were paused."""
    held, resumed = asyncio.Event(), asyncio.Event()
    beat = backend._leases.beat

    async def held_beat() -> leases.Heartbeat:
        held.set()
        await resumed.wait()
        return await beat()

    with patch.object(backend._leases, "beat", held_beat):
        await held.wait()
        try:
            yield
        finally:
            resumed.set()


@contextmanager
def reply_lost(times: int = 1, to: Script | None = None) -> Iterator[None]:
    """Let Redis execute commands, all or those with a script, and then lose the reply, so many times."""
    send = RedisClient.send
    left = times

    async def lost(client: RedisClient, *commands: Command, **more: Any) -> list[Any]:
        nonlocal left
        replies = await send(client, *commands, **more)
        if left and (to is None or any(to.digest in command for command in commands)):
            left -= 1
            raise ServiceUnavailable("the reply is lost")
        return replies

    with patch.object(RedisClient, "send", lost):
        yield


@asynccontextmanager
async def following(
    backend: RedisBackend, run_id: str, limit: int | None = None
) -> AsyncIterator[list[Page]]:
    """Follow a run from its beginning, woken by nothing but its watch."""
    pages: list[Page] = []
    entered = asyncio.Event()

    async def read() -> None:
        async with follow(backend, run_id, 0, idle=NEVER, limit=limit) as found:
            entered.set()
            async for page in found:
                pages.append(page)  # noqa: PERF401  the test sees each page as it arrives

    tasks = BackgroundTasks()
    reader = tasks.start(read())
    waiter = asyncio.create_task(entered.wait())
    await asyncio.wait((reader, waiter), timeout=TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    try:
        if reader.done():
            reader.result()
        assert entered.is_set()
        yield pages
    finally:
        await tasks.cancel_until_done()


def sequences_of(pages: list[Page]) -> list[int]:
    return [entry.sequence for page in pages for entry in page.entries]


def raising(error: type[Exception], message: str = "") -> Callable[..., Any]:
    """Return an async function that raises."""

    async def refuse(*_: Any) -> Any:
        raise error(message)

    return refuse
