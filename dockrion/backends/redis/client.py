"""The connections to Redis, and the only module that sends commands.

Connections: requests share a pool. What carries more than `LARGE_BYTES` has connections of its own, so
that it neither delays others nor costs them theirs when Redis closes the connection over it, and its
timeout grows with its size. The background work (heartbeats, renewals) has a connection of
its own, because it must not wait behind requests for the pool: peers would declare a busy replica
dead. The reader of the inbox has one because it blocks.

Lost replies: a command without a reply may or may not have been executed. So every command and
script can be repeated (an append recognizes its own last batch, a creation its own record).
redis-py retries once on a new connection, since an idle one may have been closed, and callers
may repeat whatever raised `ServiceUnavailable`. What its caller cannot repeat, because it has
already answered 503, is settled by the background work (see `leases`).

Outages: while Redis does not respond, requests are refused immediately instead of waiting for a
timeout (see `health`). Only the background work keeps trying, every `RETRY_SECONDS`. That delay does
not grow, since an attempt is cheap and every open stream waits for the first that succeeds.

Scripts are called by their digest. A server that does not have them, after a restart or a failover,
replies NOSCRIPT; then all of them are loaded, and the commands are sent again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis import Redis as SyncRedis
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.connection import parse_url as parse_sync_url
from redis.retry import Retry as SyncRetry

from dockrion.backends.pages import PAGE_BYTES
from dockrion.backends.redis.health import Health, HealthMonitor, unavailable
from dockrion.backends.redis.keys import SCRIPTS, Command
from dockrion.errors import CorruptLog, ServiceUnavailable, StartError
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")
BLOCK_SECONDS = 5.0
RETRY_SECONDS = 0.5
_REPLY_SECONDS = 3.0
_CONNECT_SECONDS = 5.0
_POOL_SECONDS = 5.0
LARGE_BYTES = PAGE_BYTES
_LARGE_CONNECTIONS = 4
_LARGE_SECONDS = 600.0  # bounds even what swallows a cancellation, as redis-py does while it connects
_SLOWEST_BYTES_PER_SECOND = 128 * 1024
_CONNECTION_OPTIONS = {
    "protocol": 2,
    "client_name": "dockrion",
    "driver_info": None,  # else CLIENT SETINFO is sent, which no ACL of Redis 7.0 can allow
}


def transfer_seconds(size: int) -> float:
    """Return how long so many bytes may take on the slowest connection that is supported."""
    return size / _SLOWEST_BYTES_PER_SECOND


class TransferFailed(ServiceUnavailable):
    """A large command has failed."""


class RedisClient:
    """Sends commands to one Redis.

    Args:
        url: A redis://, rediss:// or unix:// URL.
        pool_size: The maximum number of connections for requests.

    Attributes:
        health: The state of Redis.

    Raises:
        StartError: The URL is malformed.
    """

    def __init__(self, url: str, *, pool_size: int) -> None:
        self._url = url
        self._requests = _connect(url, pool_size, _REPLY_SECONDS)
        self._large = _connect(url, _LARGE_CONNECTIONS, _LARGE_SECONDS)
        self._large_turns = asyncio.Semaphore(_LARGE_CONNECTIONS)
        self._transfers: set[asyncio.Timeout] = set()
        self._background = _connect(url, 1, _REPLY_SECONDS, on_connect=self._reconnection_hook())
        self._blocking = _connect(
            url, 1, BLOCK_SECONDS + _REPLY_SECONDS, on_connect=self._reconnection_hook()
        )
        self._reconnected = False
        self.health = HealthMonitor()

    async def send(self, *commands: Command) -> list[Any]:
        """Send commands in one round trip, for a request.

        Returns:
            A reply to each.

        Raises:
            ServiceUnavailable: Redis does not respond, or cannot execute the commands now.
            CorruptLog: What is stored was not stored by this service.
        """
        self.check_reachable()
        return await self._send(self._requests, commands)

    async def send_large(self, *commands: Command, size: int) -> list[Any]:
        """Send commands as `send` does that carry so many bytes, or whose replies do.

        Raises:
            TransferFailed: As `ServiceUnavailable`, once they were sent.
        """
        async with self._large_turns:
            self.check_reachable()
            recoveries = self.health.recoveries
            limit = asyncio.timeout(_REPLY_SECONDS + transfer_seconds(size))
            try:
                async with limit:
                    self._transfers.add(limit)
                    return await self._send(self._large, commands, large=True)
            except TimeoutError as error:
                self.health.command_failed(error, recoveries, large=True)
                raise TransferFailed(unavailable().message) from error
            except ServiceUnavailable as error:
                raise TransferFailed(error.message) from error
            finally:
                self._transfers.discard(limit)

    def abort_transfers(self) -> None:
        """Let large commands fail that have been sent to a Redis that is unreachable now."""
        for limit in self._transfers:
            if not limit.expired():
                limit.reschedule(0)

    async def send_background(self, *commands: Command) -> list[Any]:
        """Send commands for the background work, as `send` does, also while Redis is unreachable."""
        return await self._send(self._background, commands)

    def reconnected(self) -> bool:
        """Return whether a connection was lost since the last call, so that Redis may have been restarted.

        The reader of the inbox always has one, so it notices at once, and a round of background work starts.
        """
        reconnected, self._reconnected = self._reconnected, False
        return reconnected

    async def send_background_each(self, *commands: Command) -> list[Any]:
        """Send commands as `send_background` does, but return a `CorruptLog` in place of a reply."""
        return await self._send(self._background, commands, unreadable_as_reply=True)

    async def send_blocking(self, *commands: Command) -> list[Any]:
        """Send commands of which the last blocks for up to `BLOCK_SECONDS`, as `send` does."""
        return await self._send(self._blocking, commands)

    def check_reachable(self) -> None:
        """Refuse a request that would only wait for a timeout.

        Raises:
            ServiceUnavailable: Redis is unreachable at present.
        """
        if self.health.state is Health.UNREACHABLE:
            raise unavailable()

    def send_without_loop(self, *commands: Command) -> None:
        """Send commands from another thread, on a new connection, while the event loop is blocked.

        Raises:
            ServiceUnavailable: Redis does not respond, or refuses them.
        """
        options: dict[str, Any] = {
            **parse_sync_url(self._url),
            **_CONNECTION_OPTIONS,
            "socket_timeout": _REPLY_SECONDS,
            "socket_connect_timeout": _REPLY_SECONDS,
            "retry": SyncRetry(NoBackoff(), 0),
        }
        try:
            with SyncRedis.from_pool(ConnectionPool(**options)) as client:
                for command in commands:
                    client.execute_command(*command)
        except Exception as error:  # redis-py raises any type for a malformed reply
            raise unavailable() from error

    async def check_eviction(self) -> None:
        """Warn if Redis may evict keys of unfinished runs when its memory is full."""
        try:
            (memory,) = await _replies(self._background, [("INFO", "memory")])
        except (exceptions.RedisError, OSError) as error:
            raise self.health.command_failed(error, self.health.recoveries) from error
        if isinstance(memory, exceptions.ResponseError):  # INFO is optional: ACLs often forbid it
            return
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction":
            log(
                _logger,
                logging.WARNING,
                "redis may drop live runs when its memory is full; set its maxmemory-policy to noeviction",
                policy=policy,
                maxmemory=memory.get("maxmemory"),
            )

    async def aclose(self) -> None:
        """Close every connection."""
        for client in (self._requests, self._large, self._background, self._blocking):
            await client.aclose()

    def _reconnection_hook(self) -> Callable[[AbstractConnection], Awaitable[None]]:
        """Return a function that notes each connection of a client but the first."""
        is_first = True

        async def on_connect(connection: AbstractConnection) -> None:
            nonlocal is_first
            await connection.on_connect()
            if not is_first:
                self._reconnected = True
                self.health.failure_seen.set()
            is_first = False

        return on_connect

    async def _send(
        self,
        client: Redis,
        commands: Sequence[Command],
        *,
        unreadable_as_reply: bool = False,
        large: bool = False,
    ) -> list[Any]:
        recoveries = self.health.recoveries
        try:
            replies = await _replies(client, commands)
            if any(isinstance(reply, exceptions.NoScriptError) for reply in replies):
                loaded = await _replies(client, [("SCRIPT", "LOAD", script.text) for script in SCRIPTS])
                refused = [reply for reply in loaded if isinstance(reply, Exception)]
                replies = refused or await _replies(client, commands)
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
    """Check the URL of a Redis as `RedisClient` does, without connecting.

    Raises:
        StartError: It is malformed.
    """
    _connect(url, 1, _REPLY_SECONDS)


def _connect(
    url: str,
    connections: int,
    reply_seconds: float,
    on_connect: Callable[[AbstractConnection], Awaitable[None]] | None = None,
) -> Redis:
    """Return a client, which connects when it is used.

    Raises:
        StartError: The URL is malformed.
    """
    try:
        options: dict[str, Any] = {
            **parse_url(url),
            "max_connections": connections,
            "timeout": _POOL_SECONDS,
            "socket_timeout": reply_seconds,
            "socket_connect_timeout": _CONNECT_SECONDS,
            "retry": Retry(NoBackoff(), 1, (exceptions.ConnectionError,)),
            **_CONNECTION_OPTIONS,
            "redis_connect_func": on_connect,
        }
        pool = BlockingConnectionPool(**options)
        pool.make_connection()  # validates the options of the URL
    except (ValueError, TypeError, exceptions.RedisError):  # whose messages may contain the password
        raise StartError(
            "streaming.redis.url: malformed; expected redis://[user:password@]host[:port][/db]"
        ) from None
    return Redis.from_pool(pool)


async def _replies(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """Return the reply to each command, which may be an error."""
    try:
        if len(commands) == 1:
            return [await _reply(client, commands[0])]
        async with client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)
    except AttributeError as error:  # of asyncio's transports from Python 3.12 on: the connection is lost
        raise exceptions.ConnectionError("connection lost") from error


async def _reply(client: Redis, command: Command) -> Any:
    try:
        return await client.execute_command(*command)
    except exceptions.ResponseError as error:
        return error
