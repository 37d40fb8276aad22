"""Replicas as processes with one Redis, and what goes wrong with them."""

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
LONG_STOP_SECONDS = 15.0  # dead for the others, who wait for five beats of two seconds
MAY_BE_DEAD_SECONDS = 8.0


def write_service(folder: Path, **streaming: object) -> Path:
    """Write the Dockfile and the agent."""
    code = Path(__file__).with_name("agent.py").read_text()
    events = {"heartbeat_interval": 1}
    redis = {"max_events_per_run": 10_000}
    backend = {"backend": "redis", "events": events, "redis": redis, **streaming}
    return write_dockfile(folder, code, streaming=backend)


class Replica:
    """One life of a replica."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.killed = False
        self.longest_stop = 0.0

    @property
    def may_be_dead(self) -> bool:
        """Whether the others were ever right to think so."""
        return self.killed or self.longest_stop >= MAY_BE_DEAD_SECONDS

    def kill(self) -> None:
        self.killed = True
        self.process.end()


class Cluster:
    """Some replicas, each in its place, where it may be replaced.

    Attributes:
        lives: All the replicas that there ever were.
        places: Those that are to be up.
    """

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.server = server
        self.lives: list[Replica] = []
        self.places: list[Replica] = []
        self._folder = folder
        self._dockfile = write_service(folder)

    async def start(self, count: int) -> None:
        self.places = list(await asyncio.gather(*(self._begin() for _ in range(count))))
        for each in self.places:
            await each.process.until_logged("agent loaded")

    async def replace(self, place: int) -> None:
        self.places[place] = await self._begin()

    def end(self) -> None:
        for each in self.lives:
            each.process.end()

    async def _begin(self) -> Replica:
        folder = self._folder / f"replica-{len(self.lives)}"
        folder.mkdir()
        replica = Replica(Process(self._dockfile, folder, "dockrion", {"REDIS_URL": self.server.url}))
        self.lives.append(replica)
        await replica.process.until_listening()
        return replica


class Faults:
    """Breaks things until it is told that it is over, and mends all of them then.

    Args:
        cluster: What is broken.
        seconds: How long.
        seed: Decides what happens, and when.
        counts: Where it is counted.
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
        """Break things for the whole time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._redis())
            group.create_task(self._kills())
            group.create_task(self._stops())
            await self._rest(self._seconds)
            self.over.set()

    async def _redis(self) -> None:
        random, server = self._of_redis, self._cluster.server
        while await self._rest(random.uniform(1.5, 6)):
            match random.choice(("pause", "restart", "connections")):
                case "pause":
                    self._counts["redis paused"] += 1
                    server.pause()
                    await self._rest(random.choice((random.uniform(0.05, 2), random.uniform(2, 8))))
                    server.resume()
                case "restart":
                    self._counts["redis restarted"] += 1
                    server.kill()
                    await self._rest(random.choice((0.0, random.uniform(0, 4))))
                    server.start()
                case _:
                    self._counts["connections to redis killed"] += await asyncio.to_thread(
                        server.kill_clients
                    )

    async def _kills(self) -> None:
        random = self._of_replicas
        while await self._rest(random.uniform(2, 7)) and not self._nearly_over():
            place = self._free(random)
            with self._held(place):
                replica = self._cluster.places[place]
                if random.random() < 0.6:
                    self._counts["replicas killed"] += 1
                    replica.kill()
                    await self._rest(random.choice((0.0, random.uniform(0, 5))))
                    await self._cluster.replace(place)
                else:
                    await self._stop(replica, random.uniform(0.1, 2))

    async def _stops(self) -> None:
        random = self._of_stops
        while await self._rest(random.uniform(3, 25)) and not self._nearly_over():
            place = self._free(random)
            with self._held(place):
                await self._stop(self._cluster.places[place], LONG_STOP_SECONDS)

    async def _stop(self, replica: Replica, seconds: float) -> None:
        self._counts["replicas paused long" if seconds >= LONG_STOP_SECONDS else "replicas paused"] += 1
        began = time.monotonic()
        replica.process.signal(signal.SIGSTOP)
        await self._rest(seconds)
        replica.process.signal(signal.SIGCONT)
        replica.longest_stop = max(replica.longest_stop, time.monotonic() - began)

    def _free(self, random: Random) -> int:
        return random.choice([place for place in range(len(self._cluster.places)) if place not in self._busy])

    @contextmanager
    def _held(self, place: int) -> Iterator[None]:
        """Let no other fault happen to a replica."""
        self._busy.add(place)
        try:
            yield
        finally:
            self._busy.discard(place)

    def _nearly_over(self) -> bool:
        """Tell whether a replica's death would not be noticed in the time that is left."""
        return time.monotonic() - self._began > self._seconds - min(12.0, self._seconds / 2)

    async def _rest(self, seconds: float) -> bool:
        """Wait; tell whether it goes on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.over.wait()
        return not self.over.is_set()
