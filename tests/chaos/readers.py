"""The runs as the clients see them, and the readers of their events."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from dockrion.events import TERMINAL
from dockrion.wire.sse import Decoder, Message
from tests.chaos.service import Replica, Service

TROUBLE = (aiohttp.ClientError, OSError, TimeoutError)
_LONGEST_CONNECTION = 20.0
STREAM = aiohttp.ClientTimeout(total=None, sock_connect=2, sock_read=6)


@dataclass(eq=False)
class Tracked:
    """A run as the clients see it.

    Attributes:
        run_id: Its id.
        payload: The agent's.
        accepted: Whether the first response confirmed its creation.
        owners: The replicas that may execute it if it did.
        log: The events that any reader has received.
        ends: The positions at which streams have ended for good.
        reasons: The reasons of the requests to cancel it.
        cancelled: Whether a response confirmed its cancellation.
    """

    run_id: str
    payload: dict[str, Any]
    accepted: bool
    owners: set[Replica]
    log: dict[int, Message] = field(default_factory=dict)
    ends: set[int] = field(default_factory=set)
    reasons: set[str] = field(default_factory=set)
    cancelled: bool = False


class Shared:
    """What all clients share.

    Args:
        service: The replicas.
        session: Sends the requests.
        seed: Decides what clients do.
        counts: Counts what has happened.

    Attributes:
        failures: What should not have happened.
        retries: Whether runs of lost replicas are begun again.
    """

    def __init__(
        self, service: Service, session: aiohttp.ClientSession, seed: int, counts: Counter[str]
    ) -> None:
        self.failures: list[str] = []
        self.session = session
        self.random = Random(f"{seed} clients")
        self.counts = counts
        self.retries = service.retries
        self._service = service

    def replica(self) -> Replica:
        """Return any replica: clients do not know which of them are up."""
        return self.random.choice(self._service.serving)

    async def pause(self, longest: float = 0.5) -> None:
        await asyncio.sleep(self.random.uniform(0.05, longest))

    def fail(self, run: Tracked, what: str) -> None:
        self.failures.append(f"{run.run_id}: {what}")

    def refused(self, response: aiohttp.ClientResponse, body: str = "") -> None:
        """Count a refusal, which must be one that asks the client to retry."""
        self.counts[f"{response.method} {response.status}"] += 1
        if response.status not in (429, 503) or "Retry-After" not in response.headers:
            self.failures.append(
                f"{response.method} {response.url}: {response.status} {body} {dict(response.headers)}"
            )


class Reader:
    """Reads a run to its end, on many connections.

    Args:
        shared: What all clients share.
        run: The run.
        position: The sequence after which it reads.
        most_events: After how many events it stops.
    """

    def __init__(
        self, shared: Shared, run: Tracked, position: int, most_events: float = float("inf")
    ) -> None:
        self.run = run
        self.position = position
        self._shared = shared
        self._left = most_events
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

    async def consume(self, response: aiohttp.ClientResponse, replica: Replica) -> None:
        """Read what one connection to a replica carries, or drop it before its end."""
        random, counts = self._shared.random, self._shared.counts
        patience = random.uniform(0, 3) if random.random() < 0.3 else _LONGEST_CONNECTION
        most = random.randint(1, 200) if random.random() < 0.3 else None
        taken, last = 0, ""
        try:
            async with asyncio.timeout(patience):
                async for message in _messages(response):
                    self._on_message(message)
                    taken, last = taken + 1, message.event
                    if self._done and not self._over:
                        return
                    if taken == most:
                        counts["connections that readers dropped"] += 1
                        return
        except aiohttp.ServerTimeoutError:
            counts["connections that timed out"] += 1
        except TimeoutError:
            counts["connections that readers dropped"] += 1
        else:
            if not self._over and last != "timeout" and not replica.terminated:
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
        async with self._shared.session.get(url, timeout=STREAM, **where) as response:
            match response.status:
                case 200:
                    await self.consume(response, replica)
                case 204:
                    self.run.ends.add(self.position)
                    self._done = True
                case 404:
                    self._shared.fail(self.run, "GET events: 404")
                    self._done = True
                case _:
                    self._shared.refused(response)

    def _on_message(self, message: Message) -> None:
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
        seen = self.run.log.setdefault(sequence, message)
        if (seen.event, seen.data) != (message.event, message.data):
            self._fail(f"event {sequence} is {message.data} and {seen.data}")
        self._shared.counts["events read"] += 1
        self.position = sequence
        self._left -= 1
        self._over = message.event in TERMINAL
        self._done = self._done or self._over or self._left <= 0

    def _fail(self, what: str) -> None:
        self._shared.fail(self.run, what)
        self._done = True


async def _messages(response: aiohttp.ClientResponse) -> AsyncIterator[Message]:
    decoder = Decoder()
    while data := await response.content.readany():
        for message in decoder.feed(data):
            yield message
