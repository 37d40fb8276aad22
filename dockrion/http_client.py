"""An HTTP endpoint of another process, over TCP or a unix socket."""

import asyncio
from typing import Any

import aiohttp
from yarl import URL

import dockrion
from dockrion.errors import ServiceUnavailable

_CHECK_SECONDS = 2.0


def succeeded(status: int) -> bool:
    """Tell whether a status says success (RFC 9110, 15.3)."""
    return 200 <= status < 300  # noqa: PLR2004


class _Connector(aiohttp.BaseConnector):
    """Uses no connection again on which something came that nobody had asked for.

    It would be taken for the answer to the next request, which is another caller's.
    """

    async def _get(self, key: Any, traces: Any) -> Any:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        return None


class _TcpConnector(_Connector, aiohttp.TCPConnector):
    """To a host."""


class _UnixConnector(_Connector, aiohttp.UnixConnector):
    """To a unix socket."""


class HttpEndpoint:
    """Keeps connections to one URL. Made on the event loop that uses it.

    Args:
        url: `http://…`, `https://…`, or `unix:/path.sock:/http/path`.
        connect_timeout: Seconds a connection may take.
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
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # one caller's cookies are not another's
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
            headers={"User-Agent": f"dockrion/{dockrion.__version__}", "Accept-Encoding": "identity"},
        )

    def request(self, method: str, **options: Any) -> Any:
        """Send a request; an async context manager, as of aiohttp's client."""
        return self._session.request(method, self._url, allow_redirects=False, **options)

    async def check(self, *, ask: bool) -> None:
        """Return if the process is there.

        Args:
            ask: Whether it is to answer a GET; else being connected to is enough.

        Raises:
            ServiceUnavailable: It is not.
        """
        status = 200
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                if ask:
                    async with self.request("GET") as answer:
                        status = answer.status
                else:
                    await self._connect()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            raise ServiceUnavailable("the agent process cannot be reached") from None
        if not succeeded(status):
            raise ServiceUnavailable(f"the agent process says that it is not ready: status {status}")

    async def aclose(self) -> None:
        await self._session.close()

    async def _connect(self) -> None:
        if self._socket_path is not None:
            _, writer = await asyncio.open_unix_connection(self._socket_path)
        else:
            url = URL(self._url)
            _, writer = await asyncio.open_connection(url.host, url.port)
        writer.close()
