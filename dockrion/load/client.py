"""HTTP as a virtual user needs it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import hdrs
from yarl import URL

from dockrion.client.transport import STREAM
from dockrion.load.options import Options

_SLOW_BYTES = 4096
_SSE = {hdrs.ACCEPT: "text/event-stream"}


class Client:
    """Asks the service.

    Args:
        session: For those who read as fast as they can.
        slow: For those who do not.
        options: What is asked for.
    """

    def __init__(self, session: aiohttp.ClientSession, slow: aiohttp.ClientSession, options: Options) -> None:
        self._session = session
        self._slow = slow
        self._base = URL(options.url)
        self._payload = options.payload

    async def post(self, *path: str, slow: bool = False, **query: str) -> aiohttp.ClientResponse:
        """Send the payload."""
        session = self._slow if slow else self._session
        url = self._url(*path).with_query(query or None)
        return await session.post(url, data=self._payload, headers={hdrs.CONTENT_TYPE: "application/json"})

    async def events(self, run_id: str, after: int, *, slow: bool) -> aiohttp.ClientResponse:
        """Open the events of a run that follow a position."""
        headers = _SSE | ({"Last-Event-ID": str(after)} if after else {})
        session = self._slow if slow else self._session
        return await session.get(self._url("runs", run_id, "events"), headers=headers)

    def _url(self, *path: str) -> URL:
        return self._base.joinpath(*path)


@asynccontextmanager
async def connected(options: Options) -> AsyncIterator[Client]:
    """Make a client whose connections are its own."""
    common: dict[str, Any] = {
        "timeout": STREAM,
        "headers": [(hdrs.ACCEPT_ENCODING, "identity"), *options.headers],
        "cookie_jar": aiohttp.DummyCookieJar(),
    }
    fast = aiohttp.TCPConnector(limit=0)
    slow = aiohttp.TCPConnector(limit=0, socket_factory=_small_socket)
    async with (
        aiohttp.ClientSession(connector=fast, **common) as session,
        aiohttp.ClientSession(connector=slow, read_bufsize=_SLOW_BYTES, **common) as slow_session,
    ):
        yield Client(session, slow_session, options)


def _small_socket(address: Any) -> socket.socket:
    """Return a socket that takes little from who does not read."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BYTES)
    return made
