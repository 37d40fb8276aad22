"""Prints how fast events go through: `python tests/bench.py`.

Starts services as processes of their own, with each backend, and reads from them over loopback,
so the figures include this client's own cost. They compare two states of the code, or the
backends, within one run; on their own they say little. The services over Redis are two replicas:
runs are written on the one and, where it says so, read on the other.
"""

import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import aiohttp
import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the agent and the servers are in the tests

from dockrion import StreamContext  # noqa: E402
from tests.servers import KINDS, RedisServer  # noqa: E402

_DOCKFILE = """
version: "1.0"
agent: {{name: bench, handler: "tests.bench:emit"}}
io_schema: {{}}
expose: {{host: 127.0.0.1, port: {port}}}
streaming:
  backend: {backend}
  redis: {{url: "{url}", max_events_per_run: 100000}}
  connection: {{max_subscribers_per_run: 1000}}
observability: {{log_level: error}}
"""
_ROUNDS = 3
_ONE_STREAM = 20_000
_STREAMS, _TOKENS_EACH = 50, 400
_READERS, _EVENTS = 100, 2_000
_LONE_EVENTS, _PAUSE = 300, 0.003
_FRAME = re.compile(rb"^id: ", re.MULTILINE)
Client = aiohttp.ClientSession
Scenario = Callable[[Client, Client], Awaitable[int]]


async def emit(payload: dict[str, Any], context: StreamContext) -> None:
    """Emit tokens as fast as they are taken, or one by one; the agent of the benchmark."""
    for number in range(payload["tokens"]):
        if pause := payload.get("pause"):
            await asyncio.sleep(pause)
        await context.emit_token(f"token {number}")


async def one_stream(writer: Client, _reader: Client) -> int:
    return await _pattern_a(writer, _ONE_STREAM)


async def many_streams(writer: Client, _reader: Client) -> int:
    return sum(await asyncio.gather(*(_pattern_a(writer, _TOKENS_EACH) for _ in range(_STREAMS))))


async def many_readers(writer: Client, reader: Client) -> int:
    events_url = await _start(writer, tokens=_EVENTS)

    async def read() -> int:
        async with reader.get(events_url) as stream:
            return _events(await stream.read(), _EVENTS)

    return sum(await asyncio.gather(*(read() for _ in range(_READERS))))


async def lone_events(writer: Client, reader: Client) -> list[float]:
    """Return the milliseconds from each emit to its delivery, of events that come one by one."""
    events_url = await _start(writer, tokens=_LONE_EVENTS, pause=_PAUSE)
    late: list[float] = []
    async with reader.get(events_url) as stream:
        async for line in stream.content:
            now = time.time()
            if line.startswith(b"data: "):
                emitted = msgspec.json.decode(line[6:])["timestamp"]
                late.append((now - datetime.fromisoformat(emitted).timestamp()) * 1000)
    return late


async def _start(client: Client, **payload: Any) -> str:
    async with client.post("/runs", json=payload) as answer:
        return str((await answer.json())["events_url"])


async def _pattern_a(client: Client, tokens: int) -> int:
    async with client.post("/invoke/stream", json={"tokens": tokens}) as stream:
        return _events(await stream.read(), tokens)


def _events(raw: bytes, emitted: int) -> int:
    """Count the events, and see that none is missing: `started` and `complete` come on top."""
    count = len(_FRAME.findall(raw))
    if count != emitted + 2:
        raise SystemExit(f"expected {emitted + 2} events, got {count}")
    return count


async def measure(services: dict[str, tuple[str, str]]) -> None:
    async with AsyncExitStack() as stack:
        clients: dict[str, list[Client]] = {}
        for name, urls in services.items():
            made = [Client(url, connector=aiohttp.TCPConnector(limit=0)) for url in urls]
            clients[name] = [await stack.enter_async_context(client) for client in made]
            for client in clients[name]:
                await _until_ready(client)
        await _report(f"pattern A, 1 stream of {_ONE_STREAM} tokens", one_stream, clients)
        await _report(f"pattern A, {_STREAMS} streams of {_TOKENS_EACH} tokens", many_streams, clients)
        await _report(f"pattern B, 1 run of {_EVENTS} events, {_READERS} readers", many_readers, clients)
        for name, (writer, reader) in clients.items():
            late = quantiles(await lone_events(writer, reader), n=100)
            print(f"{'a lone event, ms to delivery':<47} {name:<18} p50 {late[49]:.2f}  p99 {late[98]:.2f}")


async def _report(title: str, scenario: Scenario, clients: dict[str, list[Client]]) -> None:
    rates: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(_ROUNDS):
        for name, (writer, reader) in clients.items():
            began = time.perf_counter()
            events = await scenario(writer, reader)
            rates[name].append(events / (time.perf_counter() - began))
    first = median(next(iter(rates.values())))
    for name, measured in rates.items():
        middle = median(measured)
        spread = f"({min(measured):,.0f} to {max(measured):,.0f})"
        print(f"{title:<47} {name:<18} {middle:>9,.0f} events/s {spread:<22} {middle / first:.2f}")
        title = ""


@contextmanager
def served(backend: str, redis_url: str = "redis://localhost") -> Iterator[str]:
    """Run a service on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        dockfile = Path(folder) / "Dockfile.yaml"
        dockfile.write_text(_DOCKFILE.format(backend=backend, url=redis_url, port=port))
        command = [sys.executable, "-m", "dockrion", "run", str(dockfile)]
        with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


async def _until_ready(client: Client) -> None:
    for _ in range(500):
        try:
            async with client.get("/ready") as answer:
                if answer.ok:
                    return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.02)
    raise SystemExit("the service does not get ready")


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(RedisServer(KINDS[0], folder)).url
        memory = stack.enter_context(served("memory"))
        one, other = (stack.enter_context(served("redis", redis)) for _ in range(2))
        services = {"memory": (memory, memory), "redis": (one, one), "redis, 2 replicas": (one, other)}
        asyncio.run(measure(services))


if __name__ == "__main__":
    main()
