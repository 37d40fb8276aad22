"""The connections to Redis, and the only module that sends commands.

Connections: requests share a pool. What carries more than `LARGE_BYTES` has connections of its own, so
that it neither delays others nor costs them theirs when Redis closes the connection over it, and its
timeout grows with its size. The background work (heartbeats, renewals) has a connection of
its own, because it must not wait behind requests for the pool: peers would declare a busy replica
dead. The reader of the inbox has one because it blocks. To a cluster, all of these are per node.

Lost replies: a command without a reply may or may not have been executed. So every command and
script can be repeated (an append recognizes its own last batch, a creation its own record).
redis-py retries once on a new connection, since an idle one may have been closed, and callers
may repeat whatever raised `ServiceUnavailable`. What its caller cannot repeat, because it has
already answered 503, is settled by the background work (see `leases`).

Outages: while Redis does not respond, requests are refused immediately instead of waiting for a
timeout (see `health`). Only the background work keeps trying, every `RETRY_SECONDS`. That delay does
not grow, since an attempt is cheap and every open stream waits for the first that succeeds.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from redis import Redis as SyncRedis
from redis import exceptions
from redis.asyncio.connection import AbstractConnection
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.connection import parse_url as parse_sync_url
from redis.retry import Retry as SyncRetry

from dockrion.backends.pages import PAGE_BYTES
from dockrion.backends.redis.connections import (
    COMMON_OPTIONS,
    Connections,
    Deployment,
    OnConnect,
    SingleServer,
)
from dockrion.backends.redis.health import NO_OBSERVER, Health, HealthMonitor, Observer, unavailable
from dockrion.backends.redis.keys import Command
from dockrion.backends.redis.location import ClusterLocation, expected_form, locate
from dockrion.backends.redis.server_check import wrong_kind
from dockrion.backends.redis.under_way import UnderWay
from dockrion.errors import CorruptLog, ServiceUnavailable, StartError

BLOCK_SECONDS = 5.0
RETRY_SECONDS = 0.5
_REPLY_SECONDS = 3.0
LARGE_BYTES = PAGE_BYTES
_LARGE_CONNECTIONS = 4
_LARGE_SECONDS = 600.0  # bounds even what swallows a cancellation, as redis-py does while it connects
_SLOWEST_BYTES_PER_SECOND = 128 * 1024


def transfer_seconds(size: int) -> float:
    """Return how long so many bytes may take on the slowest connection that is supported."""
    return size / _SLOWEST_BYTES_PER_SECOND


class TransferFailed(ServiceUnavailable):
    """A large command has failed."""


class RedisClient:
    """Sends commands to one Redis: a server, a cluster, or the primary that Sentinels name.

    Args:
        url: A URL of one of the schemes that the Dockfile allows.
        pool_size: The maximum number of connections for requests.
        observer: Is told how Redis does.

    Attributes:
        health: The state of Redis.
        spread: Whether the keys are spread over a cluster.

    Raises:
        StartError: The URL is malformed.
    """

    def __init__(self, url: str, *, pool_size: int, observer: Observer = NO_OBSERVER) -> None:
        self._on_reply = observer.on_reply
        self._reconnected = False
        self._checked = asyncio.Event()
        self.health = HealthMonitor(observer)
        hook = self._reconnection_hook
        try:
            self._deployment = deployment = self._deployment_at(url)
            self._requests = deployment.connect(pool_size, _REPLY_SECONDS)
            self._large = deployment.connect(_LARGE_CONNECTIONS, _LARGE_SECONDS)
            self._background = deployment.connect(1, _REPLY_SECONDS, hook)
            self._blocking = deployment.connect(1, BLOCK_SECONDS + _REPLY_SECONDS, hook)
        except (ValueError, TypeError, exceptions.RedisError):  # whose messages may contain the password
            raise StartError(f"streaming.redis.url: malformed; expected {expected_form(url)}") from None
        self.spread = deployment.spread
        self._large_turns = asyncio.Semaphore(_LARGE_CONNECTIONS)
        self._transfers = UnderWay()
        self._commands = UnderWay(unavailable)

    async def send(self, *commands: Command, ordered: int | None = None) -> list[Any]:
        """Send commands in one round trip, for a request; to a cluster, in one to each node at least.

        Args:
            commands: The commands.
            ordered: How many of the first ones are executed one after the other, before the rest, whose order
                does not matter; by default all.

        Returns:
            A reply to each.

        Raises:
            ServiceUnavailable: Redis does not respond, or cannot execute the commands now.
            CorruptLog: What is stored was not stored by this service.
        """
        self.check_reachable()
        return await self._send_timed(self._requests, commands, ordered)

    async def send_large(self, *commands: Command, size: int, ordered: int | None = None) -> list[Any]:
        """Send commands as `send` does that carry so many bytes, or whose replies do.

        Raises:
            TransferFailed: As `ServiceUnavailable`, once they were sent.
        """
        async with self._large_turns:
            self.check_reachable()
            recoveries = self.health.recoveries
            try:
                async with self._transfers.limited(_REPLY_SECONDS + transfer_seconds(size)):
                    return await self._send(self._large, commands, ordered, large=True)
            except TimeoutError as error:
                self.health.command_failed(error, recoveries, large=True)
                raise TransferFailed(unavailable().message) from error
            except ServiceUnavailable as error:
                raise TransferFailed(error.message) from error

    def abort_transfers(self) -> None:
        """Let large commands fail that have been sent to a Redis that is unreachable now."""
        self._transfers.end()

    async def send_background(self, *commands: Command, ordered: int | None = None) -> list[Any]:
        """Send commands for the background work, as `send` does, also while Redis is unreachable."""
        return await self._send_timed(self._background, commands, ordered)

    def reconnected(self) -> bool:
        """Return whether a server was lost since the last call, so that Redis may have been set back.

        The reader of the inbox always has one, so it notices at once, and a round of background work starts.
        """
        reconnected, self._reconnected = self._reconnected, False
        return reconnected

    async def send_background_each(self, *commands: Command) -> list[Any]:
        """Send commands in any order as `send_background` does, but return a `CorruptLog` as a reply."""
        return await self._send(self._background, commands, 0, unreadable_as_reply=True)

    async def send_blocking(self, *commands: Command) -> list[Any]:
        """Send commands of which the last blocks for up to `BLOCK_SECONDS`, as `send` does.

        Waits for `check_servers` to succeed, since another kind of server may refuse them in its own words.
        """
        await self._checked.wait()
        return await self._send(self._blocking, commands, None)

    def check_reachable(self) -> None:
        """Refuse a request that would only wait for a timeout.

        Raises:
            ServiceUnavailable: Redis is unreachable at present.
        """
        if self.health.state is Health.UNREACHABLE:
            raise unavailable()

    def send_without_loop(self, key: str, *commands: Command) -> None:
        """Send commands about a key from another thread, while the event loop is blocked.

        Raises:
            ServiceUnavailable: Redis does not respond, refuses them, or must not be written to.
        """
        if self.health.refusal is not None:
            raise ServiceUnavailable(self.health.refusal)
        try:
            options: dict[str, Any] = {
                **parse_sync_url(self._deployment.url_for(key)),
                **COMMON_OPTIONS,
                "socket_timeout": _REPLY_SECONDS,
                "socket_connect_timeout": _REPLY_SECONDS,
                "retry": SyncRetry(NoBackoff(), 0),
            }
            with SyncRedis.from_pool(ConnectionPool(**options)) as client:
                for command in commands:
                    client.execute_command(*command)
        except Exception as error:  # redis-py raises any type for a malformed reply
            raise unavailable() from error

    async def check_servers(self) -> None:
        """Check that the servers are those that the URL names: what they are once, which it is each time.

        Raises:
            ServiceUnavailable: They are not, or do not respond.
        """
        async with self._commands.limited():
            try:
                await self._deployment.follow_primary()
                if self._checked.is_set():
                    return
                kind = await wrong_kind(self._background, single=isinstance(self._deployment, SingleServer))
            except (exceptions.RedisError, OSError) as error:
                raise self.health.command_failed(error, self.health.recoveries) from error
        if kind is not None:
            raise self.health.wrong_server(kind)
        self._checked.set()

    async def aclose(self) -> None:
        """Refuse further commands, end those under way, and close every connection."""
        await self._commands.close(self._close_connections)

    async def _close_connections(self) -> None:
        every = self._requests, self._large, self._background, self._blocking
        await asyncio.gather(*(connections.aclose() for connections in every), self._deployment.aclose())

    def _deployment_at(self, url: str) -> Deployment:
        """Return the servers that a URL names.

        Raises:
            ValueError: It is malformed.
        """
        location = locate(url)
        if location is None:
            return SingleServer(url)
        if isinstance(location, ClusterLocation):
            from dockrion.backends.redis.cluster import Cluster  # noqa: PLC0415  memory

            return Cluster(location, self._server_lost)
        from dockrion.backends.redis.sentinel import MonitoredPrimary  # noqa: PLC0415  memory

        return MonitoredPrimary(location)

    def _server_lost(self) -> None:
        """Let a round of background work start, since a server may have lost what it stored."""
        self._reconnected = True
        self.health.failure_seen.set()

    def _reconnection_hook(self) -> OnConnect:
        """Return a function that notes each connection to a server but the first."""
        is_first = True

        async def on_connect(connection: AbstractConnection) -> None:
            nonlocal is_first
            await connection.on_connect()
            if not is_first:
                self._server_lost()
            is_first = False

        return on_connect

    async def _send_timed(
        self, connections: Connections, commands: Sequence[Command], ordered: int | None
    ) -> list[Any]:
        began = time.perf_counter()
        replies = await self._send(connections, commands, ordered)
        self._on_reply(time.perf_counter() - began)
        return replies

    async def _send(
        self,
        connections: Connections,
        commands: Sequence[Command],
        ordered: int | None,
        *,
        unreadable_as_reply: bool = False,
        large: bool = False,
    ) -> list[Any]:
        recoveries = self.health.recoveries
        async with self._commands.limited():
            try:
                replies = await connections.replies(commands, ordered=ordered)
            except (exceptions.RedisError, OSError) as error:
                raise self.health.command_failed(error, recoveries, large=large) from error
        for number, reply in enumerate(replies):
            if isinstance(reply, Exception):
                failure = self.health.command_failed(reply, recoveries, large=large)
                if not (unreadable_as_reply and isinstance(failure, CorruptLog)):
                    raise failure from reply
                replies[number] = failure
        return replies


def check_url(url: str) -> None:
    """Check the URL of a Redis, without connecting.

    Raises:
        StartError: It is malformed.
    """
    RedisClient(url, pool_size=1)
