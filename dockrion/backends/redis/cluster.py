"""A Redis Cluster: which of its nodes has a slot, and connections to all that have any.

Not redis-py's client for clusters, because commands have to be executed in order here: an append before
the messages about it. That client sends ASKING on any connection of a pool, closes all connections when
the layout changes, and does not wait for a connection.

Redirections (Redis Cluster specification). MOVED: another node has the slot, for good. ASK: another node
is importing the slot, and has this key already. TRYAGAIN: a slot is being moved, and some keys of a script
with it. The command, and those that had to follow it, are sent again, which is harmless: any may be
repeated. A slot with many keys can be in motion for longer than a command may wait; it then fails
as if Redis were away, and is repeated by whoever repeats such commands.

Failover. A node without a reply may have been replaced, which the other nodes know. What its replica had
not received is lost, as when a single Redis is set back to an earlier state, and is treated like that.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from redis import exceptions
from redis.crc import key_slot

from dockrion.backends.redis.cluster_layout import Layout, connect_node, known_address
from dockrion.backends.redis.connections import OnConnect, ReplaceableConnections
from dockrion.backends.redis.keys import Command
from dockrion.backends.redis.location import Address, ClusterLocation
from dockrion.background_tasks import BackgroundTasks

_REDIRECT_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
_MOST_AT_ONCE = 4  # redirections, before each further one is waited for: the nodes do not agree yet
_REDIRECTIONS = (exceptions.AskError, exceptions.TryAgainError)  # a MovedError is an AskError


class _Batch(NamedTuple):
    """Commands for one node, by their places among all."""

    node: Address
    asking: bool
    places: list[int]


class ClusterConnections:
    """Connections to the nodes of a cluster.

    Args:
        layout: Which node has a slot.
        connect: Returns connections to a node.
    """

    def __init__(self, layout: Layout, connect: Callable[[Address], ReplaceableConnections]) -> None:
        self._layout = layout
        self._connect = connect
        self._nodes: dict[Address, ReplaceableConnections] = {}
        self._closing = BackgroundTasks()
        layout.removal_callbacks.append(self._remove)

    async def replies(self, commands: Sequence[Command], *, ordered: int | None = None) -> list[Any]:
        """Send commands; see `Connections.replies`."""
        ordered = len(commands) if ordered is None else ordered
        replies: list[Any] = [None] * len(commands)
        pending = list(range(len(commands)))
        asked: dict[int, Address] = {}  # by place: the node to ask next
        redirections = 0
        deadline = 0.0
        while pending:
            await self._layout.ensure_current()
            batches = list(self._batches(commands, pending, asked, ordered))
            if pending[0] < ordered:
                del batches[1:]
            done: set[int] = set()
            redirected = False
            for batch, result in zip(batches, await self._execute(batches, commands), strict=True):
                if isinstance(result, BaseException):
                    await self._node_failed(batch, commands, result)
                    redirected = True
                    continue
                for place, reply in zip(batch.places, result, strict=True):
                    replies[place] = reply
                    if isinstance(reply, _REDIRECTIONS):
                        redirected = True
                        self._redirect(place, reply, batch.node, asked)
                        if place < ordered:
                            break
                    elif isinstance(reply, Exception) and place < ordered:
                        return replies[: place + 1] + [reply] * (len(commands) - place - 1)
                    else:
                        done.add(place)
            pending = [place for place in pending if place not in done]
            if not redirected:
                continue
            redirections += 1
            deadline = deadline or time.monotonic() + _REDIRECT_SECONDS
            if time.monotonic() >= deadline:
                raise exceptions.TryAgainError("TRYAGAIN the cluster redirects for too long")
            if redirections > _MOST_AT_ONCE:
                await asyncio.sleep(_PAUSE_SECONDS)
        return replies

    async def from_each_primary(self, command: Command) -> list[Any]:
        await self._layout.ensure_current()
        return [
            reply
            for node in sorted(self._layout.primaries)
            for reply in await self._node(node).replies([command])
        ]

    async def aclose(self) -> None:
        """Close all connections."""
        if self._closing:
            await asyncio.wait(self._closing)
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))

    def _batches(
        self, commands: Sequence[Command], pending: list[int], asked: dict[int, Address], ordered: int
    ) -> Iterator[_Batch]:
        """Yield the pending commands by node; while order matters, those that follow each other."""
        batches: dict[tuple[Address, bool], _Batch] = {}
        last: tuple[Address, bool] | None = None
        for place in pending:
            target = asked.get(place) or self._layout.owner(_slot(commands[place])), place in asked
            if place <= ordered and target != last:
                yield from batches.values()
                batches = {}
            batches.setdefault(target, _Batch(*target, [])).places.append(place)
            last = target
        yield from batches.values()

    async def _execute(
        self, batches: list[_Batch], commands: Sequence[Command]
    ) -> list[list[Any] | BaseException]:
        """Send batches at the same time; return the replies to each, or why there are none."""
        sending = [
            self._node(batch.node).replies([commands[place] for place in batch.places], asking=batch.asking)
            for batch in batches
        ]
        if len(sending) > 1:
            return await asyncio.gather(*sending, return_exceptions=True)
        try:
            return [await sending[0]]
        except (exceptions.RedisError, OSError) as error:
            return [error]

    def _redirect(self, place: int, redirection: Exception, node: Address, asked: dict[int, Address]) -> None:
        """Note which node to ask next."""
        asked.pop(place, None)
        if isinstance(redirection, exceptions.AskError):
            target = known_address(redirection.host, redirection.port, node)
            if isinstance(redirection, exceptions.MovedError):
                self._layout.moved(redirection.slot_id, target)
            else:
                asked[place] = target

    async def _node_failed(self, batch: _Batch, commands: Sequence[Command], error: BaseException) -> None:
        """Learn the layout, and raise the error if the node has still its slots."""
        if not isinstance(error, (exceptions.RedisError, OSError)):
            raise error
        await self._layout.refresh()
        if self._layout.owner(_slot(commands[batch.places[0]])) == batch.node:
            raise error

    def _node(self, address: Address) -> ReplaceableConnections:
        if address not in self._nodes:
            self._nodes[address] = self._connect(address)
        return self._nodes[address]

    def _remove(self, nodes: set[Address]) -> None:
        for node in nodes & self._nodes.keys():
            self._closing.start(self._nodes.pop(node).aclose())


class Cluster:
    """A cluster.

    Args:
        location: Where it is.
        primary_lost: Called when a node has lost its slots to others.
    """

    spread = True

    def __init__(self, location: ClusterLocation, primary_lost: Callable[[], None]) -> None:
        self._location = location
        self._layout = Layout(location, primary_lost)

    def connect(
        self, most: int, reply_seconds: float, hook: Callable[[], OnConnect] | None = None
    ) -> ClusterConnections:
        def connect(node: Address) -> ReplaceableConnections:
            return connect_node(self._location, node, most, reply_seconds, hook)

        connect(self._location.nodes[0])  # validates the options of the URL
        return ClusterConnections(self._layout, connect)

    def url_for(self, key: str) -> str:
        return self._location.urls.at(self._layout.owner(key_slot(key.encode())))

    async def follow_primary(self) -> None:
        """Do nothing: each node redirects commands that it cannot execute."""

    async def aclose(self) -> None:
        """Do nothing."""


def _slot(command: Command) -> int:
    """Return the slot of a command's keys: all of one are in the same."""
    match command[0]:
        case "EVALSHA":
            key = command[3]
        case "XREAD":
            key = command[command.index("STREAMS") + 1]
        case _:
            key = command[1]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())
