"""What is measured. Each scenario returns a rate, a latency or a size, of one server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from statistics import quantiles
from typing import Any

import aiohttp

from tests.bench.bare import frame
from tests.bench.clients import Listeners, count
from tests.bench.servers import Server

CONNECTIONS = 16
_IDLE = 500
Session = aiohttp.ClientSession


class Dockrion:
    """Dockrion's endpoints."""

    def __init__(self, server: Server, session: Session) -> None:
        self.server = server
        self._session = session

    async def one_stream(self, tokens: int) -> int:
        body = {"tokens": tokens}
        async with self._session.post(f"{self.server.url}/invoke/stream", json=body) as response:
            return await count(response, tokens + 2)

    async def read_together(self, tokens: int, readers: int) -> int:
        url = await self.start(tokens=tokens)

        async def read() -> int:
            async with self._session.get(url) as response:
                return await count(response, tokens + 2)

        return sum(await asyncio.gather(*(read() for _ in range(readers))))

    async def paced(self, tokens: int, pause: float, readers: int) -> list[float]:
        url = await self.start(tokens=tokens, pause=pause)
        return await _late(url, readers, tokens)

    async def idle(self) -> tuple[str, int]:
        """Return where an idle stream is, and how many events it begins with."""
        return await self.start(tokens=1, wait=True), 2

    async def post(self) -> None:
        async with self._session.post(f"{self.server.url}/invoke", json={"n": 1}) as response:
            await response.read()

    async def post_run(self) -> None:
        async with self._session.post(f"{self.server.url}/runs", json={"n": 1}) as response:
            await response.read()

    async def settled(self) -> None:
        """Wait until no run is waiting or working."""
        over = False
        while not over:
            async with self._session.get(f"{self.server.url}/metrics") as response:
                over = "\ndockrion_active_runs 0.0\n" in await response.text()

    async def start(self, **payload: Any) -> str:
        async with self._session.post(f"{self.server.url}/runs", json=payload) as response:
            return self.server.url + str((await response.json())["events_url"])


class Bare:
    """The bare server's endpoints."""

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
        return await _late(url, readers, tokens)

    async def idle(self) -> tuple[str, int]:
        """Return where an idle stream is, and how many events it begins with."""
        return f"{self.server.url}/idle", 1

    async def post(self) -> None:
        async with self._session.post(f"{self.server.url}/post", json={"n": 1}) as response:
            await response.read()

    async def post_run(self) -> None:
        await self.post()

    async def settled(self) -> None:
        """Return: nothing goes on behind an answer."""


class Nchan:
    """nginx with nchan; its messages are there before they are read, and publishing is not measured."""

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


async def _late(url: str, readers: int, tokens: int) -> list[float]:
    """Return how late events were, without the first half: it may be history to the last readers."""
    late = await asyncio.to_thread(_read, url, readers, tokens)
    return [each for stream in late for each in stream[-tokens // 2 :]]


def _read(url: str, readers: int, tokens: int) -> list[list[float]]:
    with closing(Listeners(url, readers)) as listeners:
        return listeners.read(tokens)


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
    """Return p50 and p99 in milliseconds, of a server and a client with a core each."""
    with target.server.apart():
        late = quantiles(await target.paced(600, 0.005, 100), n=100)
    return late[49], late[98]


async def posts(target: Target) -> float:
    return await _requests(target.post, 3000)


async def runs(target: Target) -> float:
    return await _requests(target.post_run, 3000, target.settled)


async def idle_memory(target: Target) -> float:
    """Return KiB for each of 500 idle readers."""
    url, events = await target.idle()
    before = target.server.memory
    with closing(Listeners(url, _IDLE)) as listeners:
        await asyncio.to_thread(listeners.wait_for, events)
        return (target.server.memory - before) / _IDLE / 1024


async def run_of(target: Dockrion, tokens: int) -> float:
    return await _rate(target.one_stream(tokens))


async def cpu_of(target: Dockrion, readers: int) -> tuple[float, float]:
    """Return the server's CPU microseconds for an event, and for a delivered one."""
    tokens, before = 2000, target.server.cpu_seconds
    delivered = await target.read_together(tokens, readers)
    used = (target.server.cpu_seconds - before) * 1e6
    return used / tokens, used / delivered


async def _rate(work: Awaitable[int]) -> float:
    began = time.perf_counter()
    done = await work
    return done / (time.perf_counter() - began)


async def _requests(
    post: Callable[[], Awaitable[None]], total: int, settled: Callable[[], Awaitable[None]] | None = None
) -> float:
    async def many() -> None:
        for _ in range(total // CONNECTIONS):
            await post()

    began = time.perf_counter()
    await asyncio.gather(*(many() for _ in range(CONNECTIONS)))
    if settled is not None:
        await settled()
    return total // CONNECTIONS * CONNECTIONS / (time.perf_counter() - began)
