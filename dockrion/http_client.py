"""HTTP requests to other processes: to one endpoint, over TCP or a unix socket, or to any URL."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

import dockrion


def succeeded(status: int) -> bool:
    """Tell whether a status is in the class of successful ones (RFC 9110, 15.3)."""
    return 200 <= status < 300  # noqa: PLR2004


def loggable(error: Exception) -> str:
    """Return what may be logged of the error of a request: not its headers, which have keys and tokens."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__}({error.message!r})"
    return repr(error)


class _CleanConnections(aiohttp.BaseConnector):
    """Does not reuse a connection on which unsolicited bytes have arrived.

    aiohttp would parse them as the response to the next request, which is another caller's. This relies
    on `BaseConnector._get` and `should_close`, which are internal: tests/test_http_client.py fails when
    they change.
    """

    async def _get(self, key: Any, traces: Any) -> Any:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        return None


class _TcpConnector(_CleanConnections, aiohttp.TCPConnector):
    """Connects to a host and port."""


class _UnixConnector(_CleanConnections, aiohttp.UnixConnector):
    """Connects to a unix socket."""


class HttpEndpoint:
    """A pool of connections to one URL. Created on the event loop that uses it.

    Args:
        url: `http://…`, `https://…`, or `unix:/path.sock:/http/path`.
        connect_timeout: The longest time to connect, in seconds.
    """

    def __init__(self, url: str, connect_timeout: float) -> None:
        self._socket_path: str | None = None
        self._url = url
        connector: aiohttp.BaseConnector
        if url.startswith("unix:"):
            self._socket_path, _, path = url.removeprefix("unix:").partition(":")
            self._url = f"http://localhost{path}"
            connector = _UnixConnector(self._socket_path, limit=0)
        else:
            connector = _TcpConnector(limit=0)
        self._session = _session(connector, connect_timeout)

    def request(self, method: str, **options: Any) -> Any:
        """Send a request, without following redirects; use as aiohttp's `ClientSession.request`."""
        return self._session.request(method, self._url, allow_redirects=False, **options)

    async def try_connect(self) -> None:
        """Open a connection and close it again, without sending a request.

        Raises:
            OSError: The connection is refused.
            ValueError: The URL is malformed.
        """
        if self._socket_path is not None:
            _, writer = await asyncio.open_unix_connection(self._socket_path)
        else:
            url = URL(self._url)
            _, writer = await asyncio.open_connection(url.host, url.port)
        writer.close()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


class HttpClient:
    """A pool of connections to any URLs. Created on the event loop that uses it.

    Args:
        connect_timeout: The longest time to connect, in seconds.
        resolver: Resolves names.
        socket_factory: Makes the socket for an address; raises `OSError` to refuse it.
    """

    def __init__(
        self,
        connect_timeout: float,
        *,
        resolver: AbstractResolver,
        socket_factory: Callable[[tuple[Any, ...]], socket.socket] | None = None,
    ) -> None:
        connector = _TcpConnector(limit=0, resolver=resolver, socket_factory=socket_factory)
        self._session = _session(connector, connect_timeout)

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Send a request, without following redirects; use as aiohttp's `ClientSession.request`."""
        return self._session.request(method, url, allow_redirects=False, **options)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()


def _session(connector: aiohttp.BaseConnector, connect_timeout: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),  # callers must not share cookies
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
        headers={"User-Agent": f"dockrion/{dockrion.__version__}", "Accept-Encoding": "identity"},
    )
