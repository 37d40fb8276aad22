"""The faults that happen to a service and its storage."""

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random

from tests.chaos.service import Replica, Service

_LONG_STOP_SECONDS = 15.0  # longer than five heartbeats of two seconds, after which peers declare it dead
_DEATH_SECONDS = 12.0


class Faults:
    """Causes faults for a time, and repairs all of them at its end.

    Each kind of fault of the storage happens at least once, and each replica is killed at least once where
    runs are begun again, however long that takes.

    Args:
        service: The replicas and their storage.
        seconds: How long faults happen.
        seed: Decides which faults happen, and when.
        counts: Counts the faults.
    """

    def __init__(self, service: Service, seconds: float, seed: int, counts: Counter[str]) -> None:
        self.over = asyncio.Event()
        self._service = service
        self._counts = counts
        self._of_storage, self._of_replicas, self._of_stops = (Random(f"{seed} {n}") for n in range(3))
        self._began = time.monotonic()
        self._seconds = seconds
        self._busy: set[int] = set()
        self._to_kill = set(range(len(service.current))) if service.retries else set()

    async def run(self) -> None:
        """Cause faults for the whole time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._end())
            group.create_task(self._storage())
            group.create_task(self._kills())
            group.create_task(self._stops())

    async def _end(self) -> None:
        await self._wait(self._seconds)
        if self._service.retries:
            faults = self._service.storage.faults
            while self._to_kill or not all(self._counts[name] for name in faults):
                await asyncio.sleep(0.05)
        self.over.set()

    async def _storage(self) -> None:
        random, faults = self._of_storage, self._service.storage.faults
        names = random.sample(list(faults), len(faults))
        endless = itertools.chain(names, iter(lambda: random.choice(names), None))
        while await self._pause(random, 1.5, 6):
            name = next(endless)
            await faults[name](random, lambda seconds: self._wait(seconds * self._service.pace))
            self._counts[name] += 1

    async def _kills(self) -> None:
        random = self._of_replicas
        while await self._pause(random, 2, 7):
            if self._ends_soon():
                return
            index = self._free(random)
            with self._reserved(index):
                replica = self._service.current[index]
                if index in self._to_kill or random.random() < 0.6:
                    self._counts["replicas killed"] += 1
                    replica.kill()
                    await self._pause(random, 0, random.choice((0, 5)))
                    await self._service.replace(index)
                    self._to_kill.discard(index)
                elif self._service.retries and random.random() < 0.6:
                    self._counts["replicas asked to end"] += 1
                    await asyncio.gather(replica.terminate(), self._service.replace(index))
                else:
                    self._counts["replicas paused"] += 1
                    await self._stop(replica, random.uniform(0.1, 2))

    async def _stops(self) -> None:
        random = self._of_stops
        while await self._pause(random, 3, 25):
            if self._ends_soon():
                return
            index = self._free(random)
            with self._reserved(index):
                self._counts["replicas paused long"] += 1
                await self._stop(self._service.current[index], _LONG_STOP_SECONDS)

    async def _stop(self, replica: Replica, seconds: float) -> None:
        began = time.monotonic()
        replica.process.signal(signal.SIGSTOP)
        await self._wait(seconds * self._service.pace)
        replica.process.signal(signal.SIGCONT)
        replica.longest_stop = max(replica.longest_stop, time.monotonic() - began)

    def _free(self, random: Random) -> int:
        """Return a replica to which no fault happens, one that must be killed if there is one."""
        free = set(range(len(self._service.current))) - self._busy
        return random.choice(sorted(free & self._to_kill or free))

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
        left = min(_DEATH_SECONDS * self._service.pace, self._seconds / 2)
        return not self._to_kill and time.monotonic() - self._began > self._seconds - left

    async def _pause(self, random: Random, shortest: float, longest: float) -> bool:
        """Wait for a random time; return whether the chaos goes on."""
        return await self._wait(random.uniform(shortest, longest) * self._service.pace)

    async def _wait(self, seconds: float) -> bool:
        """Wait; return whether the chaos goes on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.over.wait()
        return not self.over.is_set()
