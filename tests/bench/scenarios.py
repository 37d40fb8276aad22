"""The scenarios. Each returns a rate, a latency or a size of one server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from http import HTTPStatus
from statistics import quantiles
from typing import Any

import aiohttp

from tests.bench.bare import frame
from tests.bench.clients import Readers, count
from tests.bench.servers import Server
from tests.exposition import metric

CONNECTIONS = 16
REQUESTS = 3000 // CONNECTIONS * CONNECTIONS
_IDLE = 500
Session = aiohttp.ClientSession


class Dockrion:
    """A client of Dockrion."""

    def __init__(self, server: Server, session: Session) -> None:
        self.server = server
        self._session = session

    async def one_stream(self, tokens: int, tools: int = 0) -> int:
        body = {"tokens": tokens, "tools": tools}
        async with self._session.post(f"{self.server.url}/invoke/stream", json=body) as response:
            return await count(response, tokens + 2 * tools + 2)

    async def read_together(self, tokens: int, readers: int) -> int:
        url = await self.start(tokens=tokens)

        async def read() -> int:
            async with self._session.get(url) as response:
                return await count(response, tokens + 2)

        return sum(await asyncio.gather(*(read() for _ in range(readers))))

    async def paced(self, tokens: int, pause: float, readers: int) -> list[float]:
        url = await self.start(tokens=tokens, pause=pause)
        return await _delays(url, readers, tokens)

    async def idle(self) -> tuple[str, int]:
        """Return the URL of an idle stream, and the number of events it starts with."""
        return await self.start(tokens=1, wait=True), 2

    async def post(self) -> None:
        async with self._session.post(f"{self.server.url}/invoke", json={"n": 1}) as response:
            await response.read()

    async def post_run(self) -> None:
        async with self._session.post(f"{self.server.url}/runs", json={"n": 1}) as response:
            text = await response.text()
            if response.status != HTTPStatus.ACCEPTED:
                raise SystemExit(f"POST /runs failed: {response.status} {text}")

    async def wait_idle(self) -> None:
        """Wait until no run is queued or running."""
        idle = False
        while not idle:
            async with self._session.get(f"{self.server.url}/metrics") as response:
                idle = metric(await response.text(), "dockrion_active_runs") == 0

    async def recent(self, count: int) -> list[dict[str, Any]]:
        """Return the records of the newest runs."""
        found: list[dict[str, Any]] = []
        query = {"limit": "500"}
        while len(found) < count:
            async with self._session.get(f"{self.server.url}/runs", params=query) as response:
                page = await response.json()
            found += page["items"]
            query["cursor"] = page["next"]
        return found[:count]

    async def start(self, **payload: Any) -> str:
        async with self._session.post(f"{self.server.url}/runs", json=payload) as response:
            return self.server.url + str((await response.json())["events_url"])


class Bare:
    """A client of the bare server."""

    def __init__(self, server: Server, session: Session) -> None:
        self.server = server
        self._session = session

    async def one_stream(self, tokens: int) -> int:
        url = f"{self.server.url}/stream?events={tokens}"
        async with self._session.post(url, json={}) as response:
            return await count(response, tokens)

    async def read_together(self, tokens: int, readers: int) -> int:
        return sum(await asyncio.gather(*(self.one_stream(tokens) for _ in range(readers))))

    async def paced(self, tokens: int, pause: float, readers: int) -> list[float]:
        url = f"{self.server.url}/paced?readers={readers}&events={tokens}&pause={pause}"
        return await _delays(url, readers, tokens)

    async def idle(self) -> tuple[str, int]:
        """Return the URL of an idle stream, and the number of events it starts with."""
        return f"{self.server.url}/idle", 1

    async def post(self) -> None:
        async with self._session.post(f"{self.server.url}/post", json={"n": 1}) as response:
            await response.read()

    async def post_run(self) -> None:
        await self.post()

    async def wait_idle(self) -> None:
        """Return at once: this server works only within requests."""


class Nchan:
    """A client of nginx with nchan; messages are published before they are read, which is not measured."""

    def __init__(self, server: Server, session: Session) -> None:
        self.server = server
        self._session = session
        self._channels = 0

    async def publish(self, tokens: int) -> str:
        self._channels += 1
        url = f"{self.server.url}/publish/{self._channels}"
        for number in range(tokens):
            event = frame(number).partition(b"data: ")[2].strip()
            async with self._session.post(url, data=event) as response:
                await response.read()
        return f"{self.server.url}/subscribe/{self._channels}"

    async def read_together(self, url: str, tokens: int, readers: int) -> int:
        headers = {"Accept": "text/event-stream"}

        async def read() -> int:
            async with self._session.get(url, headers=headers) as response:
                return await count(response, tokens)

        return sum(await asyncio.gather(*(read() for _ in range(readers))))


Target = Dockrion | Bare


async def _delays(url: str, readers: int, tokens: int) -> list[float]:
    """Return the delays of the second half of the events; the first half may be history to some readers."""
    delays = await asyncio.to_thread(_read, url, readers, tokens)
    return [each for stream in delays for each in stream[-tokens // 2 :]]


def _read(url: str, readers: int, tokens: int) -> list[list[float]]:
    with closing(Readers(url, readers)) as connections:
        return connections.read(tokens)


async def one_stream(target: Target) -> float:
    return await _rate(target.one_stream(20_000))


async def many_streams(target: Target) -> float:
    async def together() -> int:
        return sum(await asyncio.gather(*(target.one_stream(400) for _ in range(50))))

    return await _rate(together())


async def many_readers(target: Target) -> float:
    return await _rate(target.read_together(2000, 100))


async def nchan_readers(target: Nchan) -> float:
    url = await target.publish(2000)
    return await _rate(target.read_together(url, 2000, 100))


async def paced(target: Target) -> tuple[float, float]:
    """Return p50 and p99 of the delay in milliseconds, with a core each for server and client."""
    with target.server.pinned():
        delays = quantiles(await target.paced(600, 0.005, 100), n=100)
    return delays[49], delays[98]


async def lone_events(owner: Dockrion, other: Dockrion) -> list[float]:
    """Return the delays in milliseconds of events of one replica, one by one, to a reader of another."""
    url = await owner.start(tokens=50, pause=0.01)
    return await _delays(url.replace(owner.server.url, other.server.url), 1, 50)


async def posts(target: Target) -> float:
    return await _requests(target.post, REQUESTS)


async def runs(target: Target) -> float:
    return await _requests(target.post_run, REQUESTS, target.wait_idle)


async def idle_memory(target: Target) -> float:
    """Return the memory per idle reader, in KiB."""
    url, events = await target.idle()
    before = target.server.memory
    with closing(Readers(url, _IDLE)) as connections:
        await asyncio.to_thread(connections.wait_for, events)
        return (target.server.memory - before) / _IDLE / 1024


async def run_of(target: Dockrion, tokens: int) -> float:
    return await _rate(target.one_stream(tokens))


async def cpu_of(target: Dockrion, readers: int) -> tuple[float, float]:
    """Return the server's CPU time per emitted and per delivered event, in microseconds."""
    tokens, before = 2000, target.server.cpu_seconds
    delivered = await target.read_together(tokens, readers)
    used = (target.server.cpu_seconds - before) * 1e6
    return used / tokens, used / delivered


async def _rate(work: Awaitable[int]) -> float:
    started = time.perf_counter()
    done = await work
    return done / (time.perf_counter() - started)


async def _requests(
    post: Callable[[], Awaitable[None]], total: int, wait_idle: Callable[[], Awaitable[None]] | None = None
) -> float:
    async def many() -> None:
        for _ in range(total // CONNECTIONS):
            await post()

    started = time.perf_counter()
    await asyncio.gather(*(many() for _ in range(CONNECTIONS)))
    if wait_idle is not None:
        await wait_idle()
    return total // CONNECTIONS * CONNECTIONS / (time.perf_counter() - started)
