"""A service under chaos: its processes, over one storage."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.quick import PACE
from tests.chaos.storages import AGENT, Storage
from tests.e2e.process import Process, write_dockfile

MAY_BE_DEAD_SECONDS = (
    8.0  # a process that stops longer may miss five heartbeats, after which it counts as dead
)
MAX_ATTEMPTS = 10
_MODULE = {1.0: "dockrion", PACE: "tests.chaos.quick"}
_GRACE_SECONDS = 1.0
_END_SECONDS = 30.0


def write_service(folder: Path, **streaming: object) -> Path:
    """Write the Dockfile and the agent."""
    code = Path(__file__).with_name("agent.py").read_text()
    events = {"heartbeat_interval": 1}
    redis = {"max_events_per_run": 10_000}
    backend = {"backend": "redis", "store_input": True, "events": events, "redis": redis, **streaming}
    return write_dockfile(folder, code, streaming=backend, agent={"name": AGENT, "handler": "agent:handle"})


class Replica:
    """One process of a service.

    Attributes:
        role: Its role.
        killed: Whether it was killed.
        terminated: Whether it was asked to end.
        longest_stop: How long it was paused, in seconds.
    """

    def __init__(self, process: Process, role: str) -> None:
        self.process = process
        self.role = role
        self.killed = False
        self.terminated = False
        self.longest_stop = 0.0

    @property
    def may_be_dead(self) -> bool:
        """Whether its peers were ever right to declare it dead."""
        return self.killed or self.longest_stop >= MAY_BE_DEAD_SECONDS

    def kill(self) -> None:
        self.killed = True
        self.process.end()

    async def terminate(self) -> None:
        """Ask it to end, and wait until it has."""
        self.terminated = True
        self.process.signal()
        await self.process.exit_code(_END_SECONDS)


class Service:
    """Replicas, each of which may be replaced.

    Args:
        storage: Where they store runs.
        folder: Gets their files.
        roles: The role of each.
        pace: How long the time between heartbeats is, compared with the usual one.
        streaming: That section of the Dockfile.

    Attributes:
        started: All replicas that were ever started.
        current: The replicas that should be up.
    """

    def __init__(
        self,
        storage: Storage,
        folder: Path,
        roles: Sequence[str],
        *,
        pace: float = 1.0,
        **streaming: object,
    ) -> None:
        self.storage = storage
        self.pace = pace
        self.retries = "on_worker_lost" in streaming
        self.started: list[Replica] = []
        self.current: list[Replica] = []
        self._roles = roles
        self._folder = folder
        self._dockfile = write_service(folder, **streaming)
        self.starts = folder / "starts"

    @property
    def serving(self) -> list[Replica]:
        """The replicas that serve clients."""
        return [replica for replica in self.current if replica.role != "worker"]

    async def start(self) -> None:
        self.current = list(await asyncio.gather(*map(self._begin, self._roles)))
        for each in self.current:
            await each.process.until_logged("agent loaded")

    async def replace(self, index: int) -> None:
        self.current[index] = await self._begin(self._roles[index])

    def end(self) -> None:
        for each in self.started:
            each.process.end()

    async def _begin(self, role: str) -> Replica:
        folder = self._folder / f"replica-{len(self.started)}"
        folder.mkdir()
        arguments = [f"--role={role}", f"--grace={_GRACE_SECONDS * self.pace}"]
        variables = {"REDIS_URL": self.storage.url}
        process = Process(self._dockfile, folder, _MODULE[self.pace], variables, arguments)
        replica = Replica(process, role)
        self.started.append(replica)
        await replica.process.until_listening()
        return replica
