"""Prints how fast events go through: `python tests/bench.py`.

Starts the service as a process of its own and reads from it over loopback, so the figures
include this client's own cost. They compare two states of the code on one machine, run one
after the other; on their own they say little.
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
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from dockrion import StreamContext

_DOCKFILE = """
version: "1.0"
agent: {name: bench, handler: "bench:emit"}
io_schema: {}
expose: {host: 127.0.0.1}
streaming:
  redis: {max_events_per_run: 100000}
  connection: {max_subscribers_per_run: 1000}
observability: {log_level: error}
"""
_ROUNDS = 5
_ONE_STREAM = 20_000
_STREAMS, _TOKENS_EACH = 50, 400
_READERS, _EVENTS = 100, 2_000
_FRAME = re.compile(rb"^id: ", re.MULTILINE)


async def emit(payload: dict[str, Any], context: StreamContext) -> None:
    """Emit tokens as fast as they are taken; the agent of the benchmark."""
    for number in range(payload["tokens"]):
        await context.emit_token(f"token {number}")


async def one_stream(client: aiohttp.ClientSession) -> int:
    return await _pattern_a(client, _ONE_STREAM)


async def many_streams(client: aiohttp.ClientSession) -> int:
    return sum(await asyncio.gather(*(_pattern_a(client, _TOKENS_EACH) for _ in range(_STREAMS))))


async def many_readers(client: aiohttp.ClientSession) -> int:
    async with client.post("/runs", json={"tokens": _EVENTS}) as answer:
        events_url = (await answer.json())["events_url"]

    async def read() -> int:
        async with client.get(events_url) as stream:
            return _events(await stream.read(), _EVENTS)

    return sum(await asyncio.gather(*(read() for _ in range(_READERS))))


async def _pattern_a(client: aiohttp.ClientSession, tokens: int) -> int:
    async with client.post("/invoke/stream", json={"tokens": tokens}) as stream:
        return _events(await stream.read(), tokens)


def _events(raw: bytes, emitted: int) -> int:
    """Count the events, and see that none is missing: `started` and `complete` come on top."""
    count = len(_FRAME.findall(raw))
    if count != emitted + 2:
        raise SystemExit(f"expected {emitted + 2} events, got {count}")
    return count


async def measure(url: str) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector) as client:
        await _until_ready(client)
        await _report(f"pattern A, 1 stream of {_ONE_STREAM} tokens", one_stream, client)
        await _report(f"pattern A, {_STREAMS} streams of {_TOKENS_EACH} tokens", many_streams, client)
        await _report(f"pattern B, 1 run of {_EVENTS} events, {_READERS} readers", many_readers, client)


async def _report(
    name: str, scenario: Callable[[aiohttp.ClientSession], Awaitable[int]], client: aiohttp.ClientSession
) -> None:
    rates = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        events = await scenario(client)
        rates.append(events / (time.perf_counter() - began))
    print(f"{name:<45} {median(rates):>10,.0f} events/s  ({min(rates):,.0f} to {max(rates):,.0f})")


@contextmanager
def served() -> Iterator[str]:
    """Run the service on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        dockfile = Path(folder) / "Dockfile.yaml"
        dockfile.write_text(_DOCKFILE)
        command = [sys.executable, "-m", "dockrion", "run", str(dockfile), "--port", str(port)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        with subprocess.Popen(command, env=environment) as process:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


async def _until_ready(client: aiohttp.ClientSession) -> None:
    for _ in range(500):
        try:
            async with client.get("/ready") as answer:
                if answer.ok:
                    return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.02)
    raise SystemExit("the service does not get ready")


if __name__ == "__main__":
    with served() as address:
        asyncio.run(measure(address))
