"""What the backend tests share: runs, entries and writers, by means of the Backend protocol alone.

Whoever adds a backend adds a factory to `BACKENDS`; every test of the suite then runs on it.
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
from dockrion.backends.pages import Page
from dockrion.backends.redis import RedisBackend
from dockrion.backends.run_log import Run, Status
from dockrion.events import Entry
from tests.servers import KINDS, shared

MAX_EVENTS = 20
TIMEOUT_SECONDS = 10.0
START = datetime(2026, 1, 1, tzinfo=UTC)

_numbers = count(1)


@asynccontextmanager
async def _memory(max_events: int) -> AsyncIterator[Backend]:
    backend = MemoryBackend(max_events=max_events, ttl=60)
    yield backend
    await backend.aclose()


_FORGET = """
local eternal = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  if redis.call('TTL', key) < 0 then
    eternal[#eternal + 1] = key
  end
  redis.call('DEL', key)
end
return eternal
"""


@asynccontextmanager
async def replica(kind: str, agent: str, max_events: int = MAX_EVENTS) -> AsyncIterator[RedisBackend]:
    """A replica of the service of an agent, on the shared server of a kind."""
    backend = RedisBackend(shared(kind).url, agent=agent, max_events=max_events, ttl=60, max_run_duration=60)
    try:
        yield backend
    finally:
        await backend.aclose()


def _redis(kind: str) -> Callable[[int], AbstractAsyncContextManager[Backend]]:
    @asynccontextmanager
    async def make(max_events: int) -> AsyncIterator[Backend]:
        agent = f"tested-{next(_numbers)}-{os.getpid()}"
        async with replica(kind, agent, max_events) as backend:
            yield backend
        forget(kind, agent)

    return make


def forget(kind: str, agent: str) -> None:
    """Delete what an agent's service has stored, having seen that all of it expires by itself."""
    assert shared(kind).command("EVAL", _FORGET, 0, f"dockrion:{agent}:*") == []


BACKENDS: dict[str, Callable[[int], AbstractAsyncContextManager[Backend]]] = {
    "memory": _memory,
    **{kind: _redis(kind) for kind in KINDS},
}


@pytest.fixture(params=sorted(BACKENDS))
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    async with BACKENDS[request.param](MAX_EVENTS) as made:
        yield made


@pytest.fixture(params=sorted(BACKENDS))
async def roomy(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """A backend whose window no test overflows."""
    async with BACKENDS[request.param](100_000) as made:
        yield made


def new_run(run_id: str | None = None, status: Status = "accepted", owner: str | None = None) -> Run:
    number = next(_numbers)
    return Run(
        run_id=run_id or f"run-{number}",
        status=status,
        created_at=START + timedelta(milliseconds=number),
        metadata={"agent": "tested"},
        owner=owner,
    )


def entries(first: int, last: int, kind: str = "token") -> list[Entry]:
    """Return events with these sequences, each with bytes of its own."""
    return [Entry(n, kind, b'{"sequence":%d}' % n, 1_000.0 + n) for n in range(first, last + 1)]


def moved(run: Run, last: int, status: Status = "running") -> Run:
    """Return the record as it is after the event `last`."""
    return msgspec.structs.replace(run, status=status, last_sequence=last)


class Writer:
    """Writes one run, in order."""

    def __init__(self, backend: Backend, run: Run) -> None:
        self.backend = backend
        self.run = run

    @property
    def run_id(self) -> str:
        return self.run.run_id

    async def write(self, number: int = 1) -> None:
        """Append so many events in one batch."""
        first = self.run.last_sequence + 1
        self.run = moved(self.run, first + number - 1)
        await self.backend.append(self.run, entries(first, first + number - 1))

    async def finish(self, status: Status = "completed") -> None:
        """Append the terminal event."""
        last = self.run.last_sequence + 1
        self.run = moved(self.run, last, status)
        await self.backend.append(self.run, entries(last, last, "complete"))


async def begin(backend: Backend, run_id: str | None = None, owner: str | None = None) -> Writer:
    run = new_run(run_id, owner=owner)
    await backend.create(run)
    return Writer(backend, run)


async def begun(backend: Backend, events: int) -> Writer:
    """Begin a run that has so many events, stored in one batch."""
    writer = await begin(backend)
    await writer.write(events)
    return writer


def sequences(found: Page | Sequence[Entry]) -> list[int]:
    return [entry.sequence for entry in (found.entries if isinstance(found, Page) else found)]


async def read_all(backend: Backend, run_id: str, after: int = 0, limit: int = 7) -> list[Entry]:
    """Read page by page what is there, asserting that each page continues the one before."""
    found: list[Entry] = []
    while (page := await backend.read(run_id, after, limit)).entries:
        assert len(page.entries) <= limit
        assert not found or page.entries[0].sequence == after + 1
        found.extend(page.entries)
        after = page.entries[-1].sequence
    return found


async def follow_all(backend: Backend, run_id: str, after: int = 0) -> list[Entry]:
    """Follow a run to its end."""
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
    """Listen for requests to cancel, as the run manager does: in a task of its own."""
    heard: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()

    async def listen() -> None:
        async for request in backend.cancel_requests():
            heard.put_nowait(request)

    task = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
