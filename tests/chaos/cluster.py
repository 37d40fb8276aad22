"""Replicas as processes on one Redis, and the faults that happen to both."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from tests.e2e.process import Process, write_dockfile
from tests.servers import RedisServer

PASSWORD = "no-log-may-hold-this"
LONG_STOP_SECONDS = 15.0  # longer than five heartbeats of two seconds, after which peers declare it dead
MAY_BE_DEAD_SECONDS = 8.0


def write_service(folder: Path, **streaming: object) -> Path:
    """Write the Dockfile and the agent."""
    code = Path(__file__).with_name("agent.py").read_text()
    events = {"heartbeat_interval": 1}
    redis = {"max_events_per_run": 10_000}
    backend = {"backend": "redis", "events": events, "redis": redis, **streaming}
    return write_dockfile(folder, code, streaming=backend)


class Replica:
    """One process of a replica."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.killed = False
        self.longest_stop = 0.0

    @property
    def may_be_dead(self) -> bool:
        """Whether its peers were ever right to declare it dead."""
        return self.killed or self.longest_stop >= MAY_BE_DEAD_SECONDS

    def kill(self) -> None:
        self.killed = True
        self.process.end()


class Cluster:
    """Replicas, each of which may be replaced.

    Attributes:
        started: All replicas that were ever started.
        current: The replicas that should be up.
    """

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.server = server
        self.started: list[Replica] = []
        self.current: list[Replica] = []
        self._folder = folder
        self._dockfile = write_service(folder)

    async def start(self, count: int) -> None:
        self.current = list(await asyncio.gather(*(self._begin() for _ in range(count))))
        for each in self.current:
            await each.process.until_logged("agent loaded")

    async def replace(self, index: int) -> None:
        self.current[index] = await self._begin()

    def end(self) -> None:
        for each in self.started:
            each.process.end()

    async def _begin(self) -> Replica:
        folder = self._folder / f"replica-{len(self.started)}"
        folder.mkdir()
        replica = Replica(Process(self._dockfile, folder, "dockrion", {"REDIS_URL": self.server.url}))
        self.started.append(replica)
        await replica.process.until_listening()
        return replica


class Faults:
    """Causes faults for a time, and repairs all of them at its end.

    Args:
        cluster: The replicas and their Redis.
        seconds: How long faults happen.
        seed: Decides which faults happen, and when.
        counts: Counts the faults.
    """

    def __init__(self, cluster: Cluster, seconds: float, seed: int, counts: Counter[str]) -> None:
        self.over = asyncio.Event()
        self._cluster = cluster
        self._counts = counts
        self._of_redis, self._of_replicas, self._of_stops = (Random(f"{seed} {n}") for n in range(3))
        self._began = time.monotonic()
        self._seconds = seconds
        self._busy: set[int] = set()

    async def run(self) -> None:
        """Cause faults for the whole time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._redis())
            group.create_task(self._kills())
            group.create_task(self._stops())
            await self._wait(self._seconds)
            self.over.set()

    async def _redis(self) -> None:
        random, server = self._of_redis, self._cluster.server
        while await self._wait(random.uniform(1.5, 6)):
            match random.choice(("pause", "restart", "connections")):
                case "pause":
                    self._counts["redis paused"] += 1
                    server.pause()
                    await self._wait(random.choice((random.uniform(0.05, 2), random.uniform(2, 8))))
                    server.resume()
                case "restart":
                    self._counts["redis restarted"] += 1
                    server.kill()
                    await self._wait(random.choice((0.0, random.uniform(0, 4))))
                    server.start()
                case _:
                    self._counts["connections to redis killed"] += await asyncio.to_thread(
                        server.kill_clients
                    )

    async def _kills(self) -> None:
        random = self._of_replicas
        while await self._wait(random.uniform(2, 7)) and not self._ends_soon():
            index = self._free(random)
            with self._reserved(index):
                replica = self._cluster.current[index]
                if random.random() < 0.6:
                    self._counts["replicas killed"] += 1
                    replica.kill()
                    await self._wait(random.choice((0.0, random.uniform(0, 5))))
                    await self._cluster.replace(index)
                else:
                    await self._stop(replica, random.uniform(0.1, 2))

    async def _stops(self) -> None:
        random = self._of_stops
        while await self._wait(random.uniform(3, 25)) and not self._ends_soon():
            index = self._free(random)
            with self._reserved(index):
                await self._stop(self._cluster.current[index], LONG_STOP_SECONDS)

    async def _stop(self, replica: Replica, seconds: float) -> None:
        self._counts["replicas paused long" if seconds >= LONG_STOP_SECONDS else "replicas paused"] += 1
        began = time.monotonic()
        replica.process.signal(signal.SIGSTOP)
        await self._wait(seconds)
        replica.process.signal(signal.SIGCONT)
        replica.longest_stop = max(replica.longest_stop, time.monotonic() - began)

    def _free(self, random: Random) -> int:
        return random.choice(
            [index for index in range(len(self._cluster.current)) if index not in self._busy]
        )

    @contextmanager
    def _reserved(self, index: int) -> Iterator[None]:
        """Reserve a replica for one fault."""
        self._busy.add(index)
        try:
            yield
        finally:
            self._busy.discard(index)

    def _ends_soon(self) -> bool:
        """Return whether too little time is left for the peers to notice a death."""
        return time.monotonic() - self._began > self._seconds - min(12.0, self._seconds / 2)

    async def _wait(self, seconds: float) -> bool:
        """Wait; return whether the chaos goes on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.over.wait()
        return not self.over.is_set()
