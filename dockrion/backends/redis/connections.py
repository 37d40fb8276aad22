"""Connections to one server of Redis, and how commands are sent on them.

Scripts are called by their digest. A server that does not have them, after a restart or a failover,
replies NOSCRIPT; then all of them are loaded, and the commands are sent again.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from dockrion.backends.redis.keys import SCRIPTS, Command
from dockrion.backends.redis.under_way import UnderWay

_CONNECT_SECONDS = 5.0
_POOL_SECONDS = 5.0
COMMON_OPTIONS = {
    "protocol": 2,
    "client_name": "dockrion",
    "driver_info": None,  # else CLIENT SETINFO is sent, which no ACL of Redis 7.0 can allow
}
UNCONFIRMED = suppress(exceptions.TimeoutError)  # that connections with TLS are closed
OnConnect = Callable[[AbstractConnection], Awaitable[None]]


class Connections(Protocol):
    """Connections to all servers of a deployment, for one purpose."""

    async def replies(self, commands: Sequence[Command], *, ordered: int | None = None) -> list[Any]:
        """Send commands and return the reply to each, which may be an error.

        Args:
            commands: The commands.
            ordered: How many of the first ones are executed one after the other, before the rest; by default
                all. A command of these that fails may keep those after it from being sent.

        Raises:
            RedisError: A server does not reply.
            OSError: Likewise.
        """
        ...

    async def from_each_primary(self, command: Command) -> list[Any]:
        """Send a command to each server that accepts writes, as `replies` does."""
        ...

    async def aclose(self) -> None:
        """Close them."""
        ...


class Deployment(Protocol):
    """The servers that a URL names.

    Attributes:
        spread: Whether the keys are spread over them.
    """

    spread: bool

    def connect(
        self, most: int, reply_seconds: float, hook: Callable[[], OnConnect] | None = None
    ) -> Connections:
        """Return connections, which are made when they are used.

        Args:
            most: How many there are to a server.
            reply_seconds: How long a server may take to reply.
            hook: Returns what is called with each connection to a server, to set it up.

        Raises:
            ValueError: An option of the URL is malformed.
            TypeError: Or does not exist.
        """
        ...

    def url_for(self, key: str) -> str:
        """Return the URL of the server that has a key, as far as is known.

        Raises:
            RedisError: No server is known.
        """
        ...

    async def follow_primary(self) -> None:
        """Leave a server that has been replaced, unless its replies to commands tell of that."""
        ...

    async def aclose(self) -> None:
        """Close what its connections share."""
        ...


class ServerConnections:
    """Connections to one server.

    Args:
        pool: Makes them.

    Raises:
        TypeError: The URL has an option that does not exist.
    """

    def __init__(self, pool: BlockingConnectionPool) -> None:
        pool.make_connection()  # validates the options of the URL
        self._pool = pool
        self._client = Redis.from_pool(pool)

    async def replies(
        self,
        commands: Sequence[Command],
        *,
        ordered: int | None = None,  # noqa: ARG002  a server executes them in order anyway
        asking: bool = False,
    ) -> list[Any]:
        """Send commands as `Connections.replies` does.

        Args:
            commands: The commands.
            ordered: Not used.
            asking: The server is importing their slot (Redis Cluster specification, "ASK redirection").
        """
        replies = await self._execute(commands, asking=asking)
        if any(isinstance(reply, exceptions.NoScriptError) for reply in replies):
            loaded = await self._execute([("SCRIPT", "LOAD", script.text) for script in SCRIPTS])
            refused = next((reply for reply in loaded if isinstance(reply, Exception)), None)
            if refused is not None:
                return [refused] * len(commands)
            replies = await self._execute(commands, asking=asking)
        return replies

    async def from_each_primary(self, command: Command) -> list[Any]:
        return await self.replies([command])

    async def aclose(self) -> None:
        with UNCONFIRMED:
            await self._client.aclose()

    async def _execute(self, commands: Sequence[Command], *, asking: bool = False) -> list[Any]:
        try:
            if len(commands) == 1 and not asking:
                return [await self._client.execute_command(*commands[0])]
            async with self._client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    if asking:
                        pipeline.execute_command("ASKING")
                    pipeline.execute_command(*command)
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
                return replies[1::2] if asking else replies
        except exceptions.ResponseError as error:  # the reply to a single command
            return [error] * len(commands)
        except AttributeError as error:  # of asyncio's transports from Python 3.12 on: the connection is lost
            raise exceptions.ConnectionError("connection lost") from error


class ReplaceableConnections(ServerConnections):
    """Connections to a server that another may replace."""

    def __init__(self, pool: BlockingConnectionPool) -> None:
        super().__init__(pool)
        self._under_way = UnderWay(lambda: exceptions.ConnectionError("the server was replaced"))

    async def replies(
        self, commands: Sequence[Command], *, ordered: int | None = None, asking: bool = False
    ) -> list[Any]:
        async with self._under_way.limited():
            return await super().replies(commands, ordered=ordered, asking=asking)

    async def leave(self) -> None:
        """Close the connections, and let the commands under way fail; later ones make new connections."""
        self._under_way.end()
        with UNCONFIRMED:
            await self._pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        await self._under_way.close(super().aclose)


class SingleServer:
    """One server, which never changes.

    Args:
        url: A redis://, rediss:// or unix:// URL.
    """

    spread = False

    def __init__(self, url: str) -> None:
        self._url = url

    def connect(
        self, most: int, reply_seconds: float, hook: Callable[[], OnConnect] | None = None
    ) -> ServerConnections:
        options = pool_options(self._url, most, reply_seconds, hook)
        return ServerConnections(BlockingConnectionPool(**options))

    def url_for(self, _key: str) -> str:
        return self._url

    async def follow_primary(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""


def pool_options(
    url: str, most: int, reply_seconds: float, hook: Callable[[], OnConnect] | None = None
) -> dict[str, Any]:
    """Return the options of a pool of connections to the server with a URL; see `Deployment.connect`.

    Raises:
        ValueError: The URL is malformed.
    """
    return {
        **parse_url(url),
        "max_connections": most,
        "timeout": _POOL_SECONDS,
        "socket_timeout": reply_seconds,
        "socket_connect_timeout": _CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 1, (exceptions.ConnectionError,)),
        **COMMON_OPTIONS,
        "redis_connect_func": hook() if hook is not None else None,
    }
