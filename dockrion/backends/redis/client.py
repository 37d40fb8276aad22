"""The connections to Redis, and what is known of its state."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from dockrion.backends.redis.keys import SCRIPTS, Command
from dockrion.errors import CorruptLog, ServiceUnavailable, StartError
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")
BLOCK_SECONDS = 5.0
_ANSWER_SECONDS = 3.0
_CONNECT_SECONDS = 5.0
_POOL_SECONDS = 5.0
_CANCEL_AGAIN_SECONDS = 0.02
_SILENT_SECONDS = 60.0  # how long the same trouble is not told again
_UNREACHABLE = "UNREACHABLE"
_LET_GO = "UNBLOCKED"
_ADVICE = {
    _UNREACHABLE: "no connection, or no answer; is it running, and is the address right?",
    "POOL": "all connections to it are busy; raise streaming.redis.connection_pool_size",
    "MAXCLIENTS": "it takes no more connections; raise its maxclients",
    "NOAUTH": "it asks for a password; put it into streaming.redis.url",
    "WRONGPASS": "it refuses the user or the password of streaming.redis.url",
    "NOPASS": "it has no password, streaming.redis.url has one",
    "NOPERM": "the user of streaming.redis.url may not use all the commands and keys it needs",
    "OOM": "its memory is full, so that nothing can be stored",
    "READONLY": "it is a read-only replica; streaming.redis.url must name the primary",
    "MISCONF": "it cannot save its data, and takes no writes",
    "NOREPLICAS": "it has too few replicas to take writes",
    "LOADING": "it is loading its data",
    "BUSY": "a script of somebody's keeps it busy",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "CLUSTERDOWN": "its cluster is down",
    _LET_GO: "it has let a blocked reader go",
    "REFUSED": "it refuses a command",
}
_NOT_OURS = ("WRONGTYPE", "wrong arguments for")
_SIGNS: dict[str, str | type[Exception]] = {  # of kinds whose code or type the client library drops
    "POOL": "No connection available",
    "MAXCLIENTS": "max number of clients",
    "NOAUTH": "uthentica",  # required; or, from Redis 7, "unauthenticated multibulk length"
    "WRONGPASS": "username-password pair",
    "NOPASS": "without any password",
    "NOPERM": exceptions.NoPermissionError,
    "OOM": exceptions.OutOfMemoryError,
    "READONLY": exceptions.ReadOnlyError,
    "LOADING": exceptions.BusyLoadingError,
    "MASTERDOWN": exceptions.MasterDownError,
    "CLUSTERDOWN": exceptions.ClusterDownError,
}
_UNAVAILABLE = "the backend cannot be used at present; try again later"
_STILL_READABLE = frozenset({"OOM", "READONLY", "MISCONF", "NOREPLICAS", "POOL"})


class Link:
    """Talks to one Redis, and tells trouble once.

    The blocking reader and the keeper have connections of their own: one blocks, and the other
    must not wait for requests.

    Args:
        url: A redis://, rediss:// or unix:// URL.
        pool_size: The most connections for requests.

    Attributes:
        in_doubt: Set when something failed, so that the keeper has a look.
        away: Whether it is known that there is no answer at present.
        down: Whether the keeper could not do its work the last time.

    Raises:
        StartError: The URL is malformed.
    """

    def __init__(self, url: str, *, pool_size: int) -> None:
        self._requests = _client(url, pool_size, _ANSWER_SECONDS)
        self._keeper = _client(url, 1, _ANSWER_SECONDS)
        self._reader = _client(url, 1, BLOCK_SECONDS + _ANSWER_SECONDS)
        self.in_doubt = asyncio.Event()
        self.away = False
        self.down = False
        self._kind = ""
        self._told: dict[str, float] = {}

    async def send(self, *commands: Command) -> list[Any]:
        """Send commands in one go, for a request.

        Returns:
            A reply to each.

        Raises:
            ServiceUnavailable: There is no answer, or it cannot do this now.
            CorruptLog: What is stored is nothing that we have stored.
        """
        self.check()
        return await self._send(self._requests, commands)

    def check(self) -> None:
        """Refuse what would only wait for an answer.

        Raises:
            ServiceUnavailable: It is known that there is none at present.
        """
        if self.away:
            raise ServiceUnavailable(_UNAVAILABLE)

    async def keep(self, *commands: Command) -> list[Any]:
        """Send commands for the keeper, as `send` does, also when there was no answer before."""
        return await self._send(self._keeper, commands)

    async def keep_each(self, *commands: Command) -> list[Any]:
        """Send commands as `keep` does, with `CorruptLog` in the place of a reply where it applies."""
        return await self._send(self._keeper, commands, in_place=True)

    async def listen(self, *commands: Command) -> list[Any]:
        """Send commands that block, as `send` does."""
        return await self._send(self._reader, commands)

    def lost(self, error: Exception) -> None:
        """Note that the keeper failed."""
        self.down = True
        if isinstance(error, CorruptLog):
            self._tell("NOT_OURS", "redis holds what is not ours, under our keys", reason=str(error))
        elif isinstance(error, ServiceUnavailable):
            self.away = self._kind not in _STILL_READABLE
        else:
            self._tell("BUG", "keeping the runs in redis failed", error=error)

    def reached(self) -> bool:
        """Note that the keeper could write; tell whether it could not the last time."""
        self.in_doubt.clear()
        self.away = False
        return self.down

    def found(self) -> None:
        """Note that the keeper could do all its work."""
        if self.down:
            self.down = False
            self._told.clear()
            log(_logger, logging.INFO, "redis answers")

    async def check_eviction(self) -> None:
        """Warn if Redis may drop keys of live runs when its memory is full."""
        try:
            (memory,) = await self.keep(("INFO", "memory"))
        except CorruptLog:  # not every service lets its users ask
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
        for client in (self._requests, self._keeper, self._reader):
            await client.aclose()

    async def _send(self, client: Redis, commands: Sequence[Command], *, in_place: bool = False) -> list[Any]:
        try:
            replies = await _replies(client, commands)
            if any(isinstance(reply, exceptions.NoScriptError) for reply in replies):
                await _replies(client, [("SCRIPT", "LOAD", script.text) for script in SCRIPTS])
                replies = await _replies(client, commands)
        except (exceptions.RedisError, OSError) as error:
            raise self._trouble(error) from error
        for number, reply in enumerate(replies):
            if isinstance(reply, Exception):
                failure = self._trouble(reply)
                if not (in_place and isinstance(failure, CorruptLog)):
                    raise failure from reply
                replies[number] = failure
        return replies

    def _trouble(self, error: Exception) -> Exception:
        """Tell what is wrong, once, and return what to raise for it."""
        kind = _kind(error)
        if kind is None:
            return CorruptLog(str(error))
        self._kind = kind
        self.in_doubt.set()
        # A busy pool waits for answers; a blocked reader is let go as the server changes its role.
        if kind == _LET_GO or (kind == "POOL" and _UNREACHABLE in self._told):
            return ServiceUnavailable(_UNAVAILABLE)
        reason = str(error) if kind == _UNREACHABLE else None
        self._tell(kind, f"redis is in trouble: {_ADVICE[kind]}", reason=reason)
        return ServiceUnavailable(_UNAVAILABLE)

    def _tell(self, kind: str, message: str, **fields: Any) -> None:
        now = time.monotonic()
        if now - self._told.get(kind, -_SILENT_SECONDS) >= _SILENT_SECONDS:
            self._told[kind] = now
            log(_logger, logging.ERROR, message, kind=kind, **fields)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended: the client library drops a cancellation while it connects."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)


def _client(url: str, connections: int, seconds: float) -> Redis:
    try:
        options: dict[str, Any] = {
            **parse_url(url),
            "max_connections": connections,
            "timeout": _POOL_SECONDS,
            "socket_timeout": seconds,
            "socket_connect_timeout": _CONNECT_SECONDS,
            # A connection may have been closed while it was idle. Every command may be repeated.
            "retry": Retry(NoBackoff(), 1, (exceptions.ConnectionError,)),
            "protocol": 2,
            "client_name": "dockrion",
        }
        pool = BlockingConnectionPool(**options)
        pool.make_connection()  # options of the URL are looked at here
    except (ValueError, TypeError):  # whose messages may hold the password
        raise StartError(
            "streaming.redis.url: malformed; expected redis://[user:password@]host[:port][/db]"
        ) from None
    return Redis.from_pool(pool)


async def _replies(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """Return a reply, which may be an error, to each command."""
    if len(commands) == 1:
        try:
            return [await client.execute_command(*commands[0])]
        except exceptions.ResponseError as error:
            return [error]
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)


def _kind(error: Exception) -> str | None:
    """Return what kind of trouble this is, None if it is no trouble of the server's."""
    text = str(error)
    for kind, sign in _SIGNS.items():
        if sign in text if isinstance(sign, str) else isinstance(error, sign):
            return kind
    if not isinstance(error, exceptions.ResponseError):
        return _UNREACHABLE
    if any(sign in text for sign in _NOT_OURS):
        return None
    code = text.partition(" ")[0]
    return code if code in _ADVICE else "REFUSED"
