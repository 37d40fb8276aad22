"""The primary that Sentinels know, and connections to it.

Each new connection asks a Sentinel for the primary, and a primary that has become a replica closes its
connections. But one that is cut off from the Sentinels knows nothing of its successor, and what is written
to it is lost. So the background work asks a Sentinel, too, and ends connections to another server.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from dockrion.backends.redis.connections import (
    COMMON_OPTIONS,
    UNCONFIRMED,
    OnConnect,
    ReplaceableConnections,
    pool_options,
)
from dockrion.backends.redis.location import Address, SentinelLocation

_SENTINEL_SECONDS = 1.0


class _PrimaryPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary, for which commands wait as in other pools."""

    async def get_master_address(self) -> Any:
        before = self.master_address
        address = await super().get_master_address()  # type: ignore[no-untyped-call]
        if before not in (None, address):
            await self.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
        return address


class MonitoredPrimary:
    """The primary that Sentinels know.

    Args:
        location: Its name, and the Sentinels.

    Raises:
        ValueError: An option of the URL is malformed.
    """

    spread = False

    def __init__(self, location: SentinelLocation) -> None:
        self._location = location
        self._pools: list[tuple[_PrimaryPool, ReplaceableConnections]] = []
        urls = location.sentinel_urls
        options: dict[str, Any] = {**parse_url(urls.at(location.sentinels[0]))}
        if options.pop("connection_class", None) is SSLConnection:
            options["ssl"] = True
        options = {name: value for name, value in options.items() if name not in ("host", "port")}
        timeouts = {"socket_timeout": _SENTINEL_SECONDS, "socket_connect_timeout": _SENTINEL_SECONDS}
        once = Retry(NoBackoff(), 0)
        self._sentinel = Sentinel(
            location.sentinels, sentinel_kwargs={**options, **timeouts, **COMMON_OPTIONS, "retry": once}
        )

    def connect(
        self, most: int, reply_seconds: float, hook: Callable[[], OnConnect] | None = None
    ) -> ReplaceableConnections:
        anywhere = self._location.urls.at(self._location.sentinels[0])
        options = pool_options(anywhere, most, reply_seconds, hook)
        for name in ("host", "port"):
            del options[name]
        options["ssl"] = options.pop("connection_class", None) is SSLConnection
        pool = _PrimaryPool(self._location.primary, self._sentinel, **options)  # type: ignore[no-untyped-call]
        connections = ReplaceableConnections(pool)
        self._pools.append((pool, connections))
        return connections

    def url_for(self, _key: str) -> str:
        for pool, _ in self._pools:
            if pool.master_address is not None:
                return self._location.urls.at(Address(*pool.master_address))
        raise exceptions.ConnectionError("no Sentinel has named the primary yet")

    async def follow_primary(self) -> None:
        """End the connections to a server that is not the primary any more.

        Without a reply of a Sentinel, the primary stays: it may work all the same.
        """
        try:
            async with asyncio.timeout(_SENTINEL_SECONDS):
                address = await self._sentinel.discover_master(self._location.primary)
        except (exceptions.RedisError, OSError):
            return
        left = [each for each in self._pools if each[0].master_address not in (None, address)]
        for pool, _ in left:
            pool.master_address = address
        await asyncio.gather(*(connections.leave() for _, connections in left))

    async def aclose(self) -> None:
        """Close the connections to the Sentinels."""
        with UNCONFIRMED:
            await self._sentinel.aclose()
