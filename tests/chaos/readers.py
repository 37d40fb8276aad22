"""What the clients know of the runs, and those who read them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from dockrion.events import TERMINAL
from dockrion.wire.sse import Decoder, Message
from tests.chaos.cluster import Cluster, Replica

TROUBLE = (aiohttp.ClientError, OSError, TimeoutError)
_LONGEST_CONNECTION = 20.0
STREAM = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=6)


@dataclass(eq=False)
class Tracked:
    """What the clients know of a run.

    Attributes:
        run_id: Its id.
        tokens: How many its agent emits.
        accepted: Whether the answer said that it exists.
        owners: The replicas that may run it.
        log: The events seen by anyone.
        ends: The positions at which streams said that nothing follows.
        reasons: Those given by who cancelled.
        cancelled: Whether the answer said that it is cancelled.
    """

    run_id: str
    tokens: int
    accepted: bool
    owners: set[Replica]
    log: dict[int, Message] = field(default_factory=dict)
    ends: set[int] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)
    cancelled: bool = False


class Shared:
    """What all clients share.

    Args:
        cluster: Whom they ask.
        session: With what.
        seed: Decides what they do.
        counts: Where it is counted.

    Attributes:
        failures: What should not have happened.
    """

    def __init__(
        self, cluster: Cluster, session: aiohttp.ClientSession, seed: int, counts: Counter[str]
    ) -> None:
        self.failures: list[str] = []
        self.session = session
        self.random = Random(f"{seed} clients")
        self.counts = counts
        self._cluster = cluster

    def replica(self) -> Replica:
        """Return any replica: clients do not know which of them live."""
        return self.random.choice(self._cluster.places)

    async def pause(self, longest: float = 0.5) -> None:
        await asyncio.sleep(self.random.uniform(0.05, longest))

    def fail(self, run: Tracked, what: str) -> None:
        self.failures.append(f"{run.run_id}: {what}")

    def refused(self, answer: aiohttp.ClientResponse) -> None:
        """Note an answer that asks to try again, as none but those may."""
        self.counts[f"{answer.method} {answer.status}"] += 1
        if answer.status not in (429, 503) or "Retry-After" not in answer.headers:
            self.failures.append(f"{answer.method} {answer.url}: {answer.status} {dict(answer.headers)}")


class Reader:
    """Reads a run to its end, on many connections.

    Args:
        shared: What it shares with others.
        run: The run.
        position: The last sequence it is taken to have.
        interest: After how many events it leaves for good.
    """

    def __init__(self, shared: Shared, run: Tracked, position: int, interest: float = float("inf")) -> None:
        self.run = run
        self.position = position
        self._shared = shared
        self._interest = interest
        self._over = False
        self._done = False

    async def read(self) -> None:
        while not self._done:
            try:
                await self._connect()
            except TROUBLE:
                self._shared.counts["readers' connections that failed"] += 1
            if not self._done:
                await self._shared.pause()

    async def take(self, answer: aiohttp.ClientResponse) -> None:
        """Read what one connection has, or leave it sooner."""
        random, counts = self._shared.random, self._shared.counts
        patience = random.uniform(0, 3) if random.random() < 0.3 else _LONGEST_CONNECTION
        most = random.randint(1, 200) if random.random() < 0.3 else None
        taken, last = 0, ""
        try:
            async with asyncio.timeout(patience):
                async for message in _messages(answer):
                    self._take(message)
                    taken, last = taken + 1, message.event
                    if self._done and not self._over:
                        return
                    if taken == most:
                        counts["connections that readers dropped"] += 1
                        return
        except aiohttp.ServerTimeoutError:
            counts["connections that fell silent"] += 1
        except TimeoutError:
            counts["connections that readers dropped"] += 1
        else:
            if not self._over and last != "timeout":
                self.run.ends.add(self.position)

    async def _connect(self) -> None:
        replica, random = self._shared.replica(), self._shared.random
        where: dict[str, Any] = {"headers": {"Last-Event-ID": str(self.position)}}
        if random.random() < 0.5:
            where = {"params": {"from_sequence": str(self.position + 1)}}
        if random.random() < 0.1:
            where["params"] = where.get("params", {}) | {"timeout": "1"}
        self._shared.counts["connections of readers"] += 1
        url = f"{replica.process.url}/runs/{self.run.run_id}/events"
        async with self._shared.session.get(url, timeout=STREAM, **where) as answer:
            match answer.status:
                case 200:
                    await self.take(answer)
                case 204:
                    self.run.ends.add(self.position)
                    self._done = True
                case 404:
                    self._shared.fail(self.run, "GET events: 404")
                    self._done = True
                case _:
                    self._shared.refused(answer)

    def _take(self, message: Message) -> None:
        if message.event == "gone" and message.id is None:
            self._shared.fail(self.run, "gone")
            self._done = True
            return
        if message.id is None:
            if message.event not in ("heartbeat", "timeout"):
                self._fail(f"{message.event} {message.data}")
            return
        sequence = int(message.id)
        if sequence != self.position + 1 or self._over:
            self._fail(f"event {sequence} {message.event} after {self.position}")
            return
        known = self.run.log.setdefault(sequence, message)
        if (known.event, known.data) != (message.event, message.data):
            self._fail(f"event {sequence} is {message.data} and {known.data}")
        self._shared.counts["events read"] += 1
        self.position = sequence
        self._interest -= 1
        self._over = message.event in TERMINAL
        self._done = self._done or self._over or self._interest <= 0

    def _fail(self, what: str) -> None:
        self._shared.fail(self.run, what)
        self._done = True


async def _messages(answer: aiohttp.ClientResponse) -> AsyncIterator[Message]:
    decoder = Decoder()
    while data := await answer.content.readany():
        for message in decoder.feed(data):
            yield message
