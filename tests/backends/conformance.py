"""Fixtures and helpers of the conformance suite, written against the `Backend` protocol alone.

A new backend adds a factory to `BACKENDS`; every test of the suite then runs on it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count

import msgspec
import pytest

from dockrion.backends import Backend
from dockrion.backends.follow import follow
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.memory.outbox import MemoryOutbox
from dockrion.backends.outbox import Copying
from dockrion.backends.pages import Page
from dockrion.backends.redis import RedisBackend
from dockrion.backends.run_log import Run, Status
from dockrion.events import Entry
from dockrion.ids import new_incarnation
from tests.deployments import ClusterServers, SentinelServers, shared_cluster, shared_sentinels
from tests.servers import KINDS, Server, shared

MAX_EVENTS = 20
TIMEOUT_SECONDS = 30.0
LEASE_SECONDS = 60.0
OUTBOX_BYTES = 2**20
START = datetime(2026, 1, 1, tzinfo=UTC)

_numbers = count(1)


@asynccontextmanager
async def _memory(max_events: int, copying: Copying | None = None) -> AsyncIterator[Backend]:
    outbox = None if copying is None else MemoryOutbox(copying, LEASE_SECONDS, OUTBOX_BYTES)
    backend = MemoryBackend(max_events=max_events, ttl=60, outbox=outbox)
    yield backend
    await backend.aclose()


_DELETE_KEYS = """#!lua flags=allow-cross-slot-keys
local persistent = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  if redis.call('TTL', key) < 0 then
    persistent[#persistent + 1] = key
  end
  redis.call('DEL', key)
end
return persistent
"""


def servers(kind: str) -> Server | ClusterServers | SentinelServers:
    """Return the Redis of a kind that all tests share."""
    match kind:
        case "cluster":
            return shared_cluster()
        case "sentinel":
            return shared_sentinels()
    return shared(kind)


@asynccontextmanager
async def replica(
    kind: str, agent: str, max_events: int = MAX_EVENTS, copying: Copying | None = None
) -> AsyncIterator[RedisBackend]:
    """One replica of an agent's service, on the shared Redis of a kind, with the least privileges."""
    backend = RedisBackend(
        servers(kind).least_privileged_url,
        agent=agent,
        max_events=max_events,
        max_bytes=OUTBOX_BYTES,
        ttl=60,
        max_run_duration=60,
        copying=copying,
        lease_seconds=LEASE_SECONDS,
    )
    try:
        yield backend
    finally:
        await backend.aclose()


def _redis(kind: str) -> Callable[..., AbstractAsyncContextManager[Backend]]:
    @asynccontextmanager
    async def make(max_events: int, copying: Copying | None = None) -> AsyncIterator[Backend]:
        agent = f"tested-{next(_numbers)}-{os.getpid()}"
        async with replica(kind, agent, max_events, copying) as backend:
            yield backend
        delete_keys(kind, agent)

    return make


def delete_keys(kind: str, agent: str) -> None:
    """Delete all keys of an agent's service, after asserting that each has a TTL."""
    persistent = servers(kind).command("EVAL", _DELETE_KEYS, 0, f"dockrion:{agent}:*")
    assert not any(persistent), persistent


BACKENDS: dict[str, Callable[..., AbstractAsyncContextManager[Backend]]] = {
    "memory": _memory,
    **{kind: _redis(kind) for kind in KINDS},
}
DEPLOYMENTS = BACKENDS | {kind: _redis(kind) for kind in ("cluster", "sentinel")}


def not_over_deployments(fixture: str) -> pytest.MarkDecorator:
    """Run a test on single servers alone: it takes seconds, for what a server does by itself."""
    return pytest.mark.parametrize(fixture, sorted(BACKENDS), indirect=True)


@pytest.fixture(params=sorted(DEPLOYMENTS))
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    async with DEPLOYMENTS[request.param](MAX_EVENTS) as made:
        yield made


@pytest.fixture(params=sorted(DEPLOYMENTS))
async def unbounded(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """A backend with a window larger than any test's log."""
    async with DEPLOYMENTS[request.param](100_000) as made:
        yield made


FORGETTING = ("expired", "deleted by hand", "flushed")


async def forget(backend: Backend, run_id: str, how: str = "expired") -> None:
    """Make the storage forget a run, so that its id is free again. Memory knows one way to do that."""
    if isinstance(backend, MemoryBackend):
        log = backend._logs[run_id]
        log.expired = True
        backend._retention.remove(log)
        return
    assert isinstance(backend, RedisBackend)
    keys, replica = backend._store.keys, backend.replica
    forgotten: dict[str, tuple[str, ...]] = {
        "expired": keys.log(run_id),
        "deleted by hand": (keys.run(run_id),),
        "flushed": (
            *(*keys.log(run_id), keys.watchers(run_id), keys.replicas, keys.runs, keys.expiry),
            *(keys.owned(replica), keys.inbox(replica)),
        ),
    }
    await backend._store.client.send_background(*(("DEL", name) for name in forgotten[how]))


def new_run(
    run_id: str | None = None,
    status: Status = "accepted",
    owner: str | None = None,
    body: bytes | None = None,
    *,
    max_attempts: int = 1,
) -> Run:
    number = next(_numbers)
    return Run(
        run_id=run_id or f"run-{number}",
        incarnation=new_incarnation(),
        status=status,
        created_at=START + timedelta(milliseconds=number),
        metadata={"agent": "tested"},
        owner=owner,
        input=None if body is None else msgspec.Raw(body),
        max_attempts=max_attempts,
    )


def entries(first: int, last: int, kind: str = "token") -> list[Entry]:
    """Return events with these sequences, each with unique bytes."""
    return [Entry(n, kind, b'{"sequence":%d}' % n, 1_000.0 + n) for n in range(first, last + 1)]


def advanced(run: Run, last: int, status: Status = "running") -> Run:
    """Return the record after the event `last`."""
    return msgspec.structs.replace(run, status=status, last_sequence=last)


class Writer:
    """The writer of one run."""

    def __init__(self, backend: Backend, run: Run) -> None:
        self.backend = backend
        self.run = run

    @property
    def run_id(self) -> str:
        return self.run.run_id

    async def write(self, number: int = 1) -> None:
        """Append events in one batch."""
        first = self.run.last_sequence + 1
        self.run = advanced(self.run, first + number - 1)
        await self.backend.append(self.run, entries(first, first + number - 1))

    async def finish(self, status: Status = "completed") -> None:
        """Append the terminal event."""
        last = self.run.last_sequence + 1
        self.run = advanced(self.run, last, status)
        await self.backend.append(self.run, entries(last, last, "complete"))


async def begin(
    backend: Backend, run_id: str | None = None, owner: str | None = None, events: int = 0
) -> Writer:
    """Create a run and return its writer, which has appended so many events in one batch."""
    run = new_run(run_id, owner=owner)
    await backend.create(run)
    writer = Writer(backend, run)
    if events:
        await writer.write(events)
    return writer


def sequences(found: Page | Sequence[Entry]) -> list[int]:
    return [entry.sequence for entry in (found.entries if isinstance(found, Page) else found)]


async def read_all(backend: Backend, run_id: str, after: int = 0, limit: int = 7) -> list[Entry]:
    """Read all stored events page by page, asserting that the pages are contiguous."""
    found: list[Entry] = []
    while (page := await backend.read(run_id, after, limit)).entries:
        assert len(page.entries) <= limit
        assert not found or page.entries[0].sequence == after + 1
        found.extend(page.entries)
        after = page.entries[-1].sequence
    return found


async def follow_all(backend: Backend, run_id: str, after: int = 0) -> list[Entry]:
    """Follow a run to its end and return its events."""
    found: list[Entry] = []
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        follow(backend, run_id, after, idle=TIMEOUT_SECONDS) as pages,
    ):
        async for page in pages:
            assert not found or page.entries[0].sequence > found[-1].sequence, "the reader does not move on"
            found.extend(page.entries)
    return found


@asynccontextmanager
async def cancel_requests(backend: Backend) -> AsyncIterator[asyncio.Queue[tuple[str, str | None]]]:
    """Consume requests to cancel in a task, as the run manager does."""
    received: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()

    async def listen() -> None:
        async for request in backend.cancel_requests():
            received.put_nowait((request.run_id, request.reason))

    task = asyncio.create_task(listen())
    try:
        yield received
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
