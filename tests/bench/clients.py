"""Clients that read event streams with little overhead."""

import re
import selectors
import socket
import time
from datetime import datetime
from typing import cast

import aiohttp
from yarl import URL

_CHUNK = 16 * 1024  # `recv` allocates this much for each call
_DATA = b"\ndata: "
_TIMESTAMP = re.compile(rb'"timestamp":"([^"]+)"')


async def count(response: aiohttp.ClientResponse, expected: int) -> int:
    """Read the expected number of events; fail if the stream ends before."""
    events, rest = 0, b""
    while events < expected:
        data = await response.content.readany()
        if not data:
            raise SystemExit(f"expected {expected} events, got {events}")
        data = rest + data
        events += data.count(_DATA)
        rest = data[1 - len(_DATA) :]
    return events


class Readers:
    """Streams read from one thread with little work, as time spent in the client would count as delay.

    Args:
        url: The URL of the stream.
        readers: The number of connections.
    """

    def __init__(self, url: str, readers: int) -> None:
        parts = URL(url)
        request = f"GET {parts.raw_path_qs} HTTP/1.1\r\nHost: {parts.authority}\r\n\r\n".encode()
        self._received: dict[socket.socket, list[tuple[float, bytes]]] = {}
        self._ready = selectors.DefaultSelector()
        for _ in range(readers):
            stream = socket.create_connection((parts.host, parts.port))
            stream.sendall(request)
            self._ready.register(stream, selectors.EVENT_READ)
            self._received[stream] = []

    def read(self, events: int) -> list[list[float]]:
        """Wait until each stream has received a number of events.

        Returns:
            The delay of each event of each stream, in milliseconds.
        """
        self.wait_for(events)
        return [_delays(received) for received in self._received.values()]

    def close(self) -> None:
        self._ready.close()
        for stream in self._received:
            stream.close()

    def wait_for(self, events: int) -> None:
        """Wait until each stream has received a number of events."""
        missing = dict.fromkeys(self._received, events)
        while missing:
            for key, _ in self._ready.select():
                stream = cast("socket.socket", key.fileobj)
                data = stream.recv(_CHUNK)
                self._received[stream].append((time.time(), data))
                if not data:
                    raise SystemExit("a stream ended too early")
                if stream in missing:
                    missing[stream] -= data.count(_DATA)  # events are small: none is split
                    if missing[stream] <= 0:
                        del missing[stream]


def _delays(received: list[tuple[float, bytes]]) -> list[float]:
    return [
        (at - datetime.fromisoformat(stamp.decode()).timestamp()) * 1000
        for at, data in received
        for stamp in _TIMESTAMP.findall(data)
    ]
