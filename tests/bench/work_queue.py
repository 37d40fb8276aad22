"""The queue that the replicas of a service share: throughput, waiting times, wake-ups, and what it costs."""

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from dockrion.backends.redis import RedisBackend
from dockrion.backends.run_log import Run
from dockrion.ids import new_incarnation, uuid7
from dockrion.runs.agent import Call
from dockrion.runs.job import encode_job
from tests.bench import servers
from tests.bench.scenarios import CONNECTIONS, Dockrion, Session
from tests.bench.servers import Server
from tests.exposition import metric
from tests.servers import KINDS, RedisServer

BACKLOG = 3000 // CONNECTIONS * CONNECTIONS
_ARRIVAL_SECONDS = 5.0
_WOKEN = 300
_TAKES = 50
_WAITING = 10_000
_LENGTHS = (10, 1000, 10_000, 100_000)
_JOB = encode_job(Call(None, body=b'{"text": "%s"}' % (b"x" * 88)))  # a payload of 100 bytes


def _waits(runs: list[dict[str, Any]]) -> list[float]:
    """Return how long runs waited, from their creation to the start of their agents, in milliseconds."""
    return [(_time(run, "started_at") - _time(run, "created_at")) * 1000 for run in runs]


def _time(run: dict[str, Any], name: str) -> float:
    return datetime.fromisoformat(run[name]).timestamp()


class SplitService:
    """A client of one API process and two workers."""

    def __init__(self, api: Dockrion, workers: list[Server], server: RedisServer, session: Session) -> None:
        self._api = api
        self._workers = workers
        self._redis = server
        self._session = session

    async def throughput(self) -> float:
        """Return runs per second, until a backlog is complete."""
        started, before = time.perf_counter(), await self._completed()

        async def post() -> None:
            for _ in range(BACKLOG // CONNECTIONS):
                await self._api.post_run()

        await asyncio.gather(*(post() for _ in range(CONNECTIONS)))
        await self._wait_completed(before + BACKLOG)
        return BACKLOG / (time.perf_counter() - started)

    async def waiting(self, rate: float) -> list[float]:
        """Let runs arrive at random, however many are not complete, and return how long they waited.

        Args:
            rate: How many arrive in a second.
        """
        before = await self._completed()
        posts: list[asyncio.Task[None]] = []
        due, end = time.monotonic(), time.monotonic() + _ARRIVAL_SECONDS
        while (due := due + random.expovariate(rate)) < end:
            await asyncio.sleep(max(due - time.monotonic(), 0))
            posts.append(asyncio.create_task(self._api.post_run()))
        await asyncio.gather(*posts)
        await self._wait_completed(before + len(posts))
        return _waits(await self._api.recent(len(posts)))

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time of each kind of process."""
        used = self._redis.command("INFO", "cpu")
        return {
            "API process": self._api.server.cpu_seconds,
            "workers": sum(each.cpu_seconds for each in self._workers),
            "Redis": used["used_cpu_user"] + used["used_cpu_sys"],
        }

    async def _completed(self) -> int:
        total = 0
        for worker in self._workers:
            async with self._session.get(f"{worker.url}/metrics") as response:
                total += int(metric(await response.text(), "dockrion_runs_total", outcome="completed"))
        return total

    async def _wait_completed(self, total: int) -> None:
        while await self._completed() < total:
            await asyncio.sleep(0.02)


@contextmanager
def redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as folder, RedisServer(KINDS[0], Path(folder)) as server:
        yield server


@contextmanager
def split_service(server: RedisServer, session: Session) -> Iterator[SplitService]:
    with ExitStack() as stack:
        api, *workers = (
            stack.enter_context(servers.dockrion("redis", server.url, "--role", role))
            for role in ("api", "worker", "worker")
        )
        yield SplitService(Dockrion(api, session), workers, server, session)


async def wake_ups(server: RedisServer, session: Session) -> list[float]:
    """Return how long runs waited that a replica without a free slot accepts, while another one is idle."""
    with (
        servers.dockrion("redis", server.url, slots=1) as one,
        servers.dockrion("redis", server.url) as _idle,
    ):
        busy = Dockrion(one, session)
        await busy.start(wait=True)
        for _ in range(_WOKEN):
            await busy.post_run()
            await asyncio.sleep(0.02)  # until the other one is idle again
        return _waits(await busy.recent(_WOKEN))


@asynccontextmanager
async def _queue_of(server: RedisServer) -> AsyncIterator[RedisBackend]:
    backend = RedisBackend(
        server.url, agent="bench", max_events=10_000, ttl=3600, max_run_duration=3600, max_bytes=2**28
    )
    server.command("FLUSHALL")
    try:
        await backend.ping()
        yield backend
    finally:
        await backend.aclose()


async def _enqueue(backend: RedisBackend, count: int) -> None:
    async def some(first: int) -> None:
        for _ in range(first, count, CONNECTIONS):
            now = datetime.now(UTC)
            run = Run(run_id=uuid7(), incarnation=new_incarnation(), status="accepted", created_at=now)
            await backend.queue.enqueue(run, _JOB, max(_LENGTHS) * 2)

    await asyncio.gather(*(some(first) for first in range(CONNECTIONS)))


async def memory_per_waiting_run(server: RedisServer) -> float:
    """Return bytes of Redis per waiting run."""
    async with _queue_of(server) as backend:
        before = server.command("INFO", "memory")["used_memory"]
        await _enqueue(backend, _WAITING)
        return float((server.command("INFO", "memory")["used_memory"] - before) / _WAITING)


async def takes(server: RedisServer) -> AsyncIterator[tuple[int, float, float]]:
    """Yield how many runs wait, the time to take one, and that of Redis therein, in milliseconds."""
    async with _queue_of(server) as backend:
        for length in _LENGTHS:
            await _enqueue(backend, length - (await backend.queue.queue_state()).length)
            taken = []
            for _ in range(_TAKES):
                before = _script_milliseconds(server)
                started = time.perf_counter()
                assert await backend.queue.take(1, lambda _run_id: False)
                took = (time.perf_counter() - started) * 1000
                taken.append((took, _script_milliseconds(server) - before))
                await _enqueue(backend, 1)
            whole, scripts = zip(*taken, strict=True)
            yield length, median(whole), median(scripts)


def _script_milliseconds(server: RedisServer) -> float:
    stats: dict[str, Any] = server.command("INFO", "commandstats")
    return float(stats["cmdstat_evalsha"]["usec"]) / 1000
