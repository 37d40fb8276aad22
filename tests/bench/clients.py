"""The reading side of the benchmarks."""

import re
import selectors
import socket
import time
from datetime import datetime
from typing import cast

import aiohttp
from yarl import URL

_CHUNK = 16 * 1024  # Python makes room for so much before it reads
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


class Listeners:
    """Open streams, read with as little work as can be: what the client takes its time for looks late.

    Args:
        url: What they read.
        readers: How many there are.
    """

    def __init__(self, url: str, readers: int) -> None:
        parts = URL(url)
        request = f"GET {parts.raw_path_qs} HTTP/1.1\r\nHost: {parts.authority}\r\n\r\n".encode()
        self._arrived: dict[socket.socket, list[tuple[float, bytes]]] = {}
        self._ready = selectors.DefaultSelector()
        for _ in range(readers):
            stream = socket.create_connection((parts.host, parts.port))
            stream.sendall(request)
            self._ready.register(stream, selectors.EVENT_READ)
            self._arrived[stream] = []

    def read(self, events: int) -> list[list[float]]:
        """Wait until each stream has brought so many events.

        Returns:
            How late each event of each stream was, in milliseconds.
        """
        self.wait_for(events)
        return [_late(arrived) for arrived in self._arrived.values()]

    def close(self) -> None:
        self._ready.close()
        for stream in self._arrived:
            stream.close()

    def wait_for(self, events: int) -> None:
        """Wait until each stream has brought so many events."""
        missing = dict.fromkeys(self._arrived, events)
        while missing:
            for key, _ in self._ready.select():
                stream = cast("socket.socket", key.fileobj)
                data = stream.recv(_CHUNK)
                self._arrived[stream].append((time.time(), data))
                if not data:
                    raise SystemExit("a stream ended too early")
                if stream in missing:
                    missing[stream] -= data.count(_DATA)  # small events: none is cut in two
                    if missing[stream] <= 0:
                        del missing[stream]


def _late(arrived: list[tuple[float, bytes]]) -> list[float]:
    return [
        (at - datetime.fromisoformat(stamp.decode()).timestamp()) * 1000
        for at, data in arrived
        for stamp in _TIMESTAMP.findall(data)
    ]
