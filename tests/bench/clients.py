"""The reading side of the benchmarks."""

import asyncio
import re
import time
from datetime import datetime

import aiohttp
from yarl import URL

_DATA = b"\ndata: "
_TIMESTAMP = re.compile(rb'"timestamp":"([^"]+)"')


async def count(response: aiohttp.ClientResponse, expected: int) -> int:
    """Read a stream until it has so many events, and fail if it ends before."""
    events, rest = 0, b""
    while events < expected:
        data = await response.content.readany()
        if not data:
            raise SystemExit(f"expected {expected} events, got {events}")
        data = rest + data
        events += data.count(_DATA)
        rest = data[1 - len(_DATA) :]
    return events


class Listener(asyncio.Protocol):
    """Reads a stream with as little work as can be, and notes how late its events are."""

    def __init__(self, request: bytes, expected: int) -> None:
        self.late: list[float] = []  # milliseconds
        self.answered = asyncio.get_running_loop().create_future()
        self.done = asyncio.get_running_loop().create_future()
        self._request = request
        self._expected = expected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if not self.answered.done():
            self.answered.set_result(None)
        for stamp in _TIMESTAMP.findall(data):
            self.late.append((now - datetime.fromisoformat(stamp.decode()).timestamp()) * 1000)
        if len(self.late) >= self._expected and not self.done.done():
            self.done.set_result(None)


async def listen(url: str, readers: int, expected: int) -> list[Listener]:
    """Open so many streams."""
    parts = URL(url)
    request = f"GET {parts.raw_path_qs} HTTP/1.1\r\nHost: {parts.authority}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    assert parts.host is not None
    assert parts.port is not None
    listeners = []
    for _ in range(readers):
        _, listener = await loop.create_connection(
            lambda: Listener(request, expected), parts.host, parts.port
        )
        listeners.append(listener)
    return listeners
