"""Which node of a Redis Cluster has a slot, as its nodes tell."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from redis import exceptions
from redis.asyncio import BlockingConnectionPool
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from dockrion.backends.redis.connections import OnConnect, ReplaceableConnections, pool_options
from dockrion.backends.redis.location import Address, ClusterLocation

_LAYOUT_SECONDS = 1.0


class Layout:
    """Which node has a slot.

    Args:
        location: The cluster.
        primary_lost: Called when a node has lost its slots to others.
    """

    def __init__(self, location: ClusterLocation, primary_lost: Callable[[], None]) -> None:
        self.removal_callbacks: list[Callable[[set[Address]], None]] = []
        self._location = location
        self._primary_lost = primary_lost
        self._owners: list[Address | None] = []
        self._learnt: set[Address] = set()  # the primaries when the layout was learnt
        self._nodes: set[Address] = set()  # and their replicas
        self._refreshing = asyncio.Lock()
        self._attempts = 0
        self._failure: Exception | None = None
        self._refreshed_at = -_LAYOUT_SECONDS
        self._outdated = True

    @property
    def primaries(self) -> set[Address]:
        """The nodes that have slots."""
        return {owner for owner in self._owners if owner is not None}

    def owner(self, slot: int) -> Address:
        """Return the node that has a slot.

        Raises:
            ClusterDownError: None has it, or none is known yet.
        """
        owner = self._owners[slot] if self._owners else None
        if owner is None:
            raise exceptions.ClusterDownError("CLUSTERDOWN Hash slot not served")
        return owner

    def moved(self, slot: int, node: Address) -> None:
        """Record that a slot has moved to a node."""
        self._owners[slot] = node
        self._outdated = True

    async def ensure_current(self) -> None:
        """Learn the layout if none is known, or slots have moved since it was learnt a while ago."""
        if self._outdated and time.monotonic() - self._refreshed_at >= _LAYOUT_SECONDS:
            await self.refresh()

    async def refresh(self) -> None:
        """Learn the layout from any node that knows it.

        Raises:
            RedisError: No node replies.
            OSError: Likewise.
        """
        attempts = self._attempts
        async with self._refreshing:
            if self._attempts == attempts:  # else another call has tried meanwhile
                try:
                    self._owners, self._nodes = await self._learn()
                    self._failure = None
                except (exceptions.RedisError, OSError) as error:
                    self._failure = error
                finally:
                    self._attempts += 1
                self._on_refreshed()
        if self._failure is not None:
            raise self._failure

    def _on_refreshed(self) -> None:
        if self._failure is None:
            self._refreshed_at = time.monotonic()
            self._outdated = False
            removed, self._learnt = self._learnt - self.primaries, self.primaries
            if removed:
                for callback in self.removal_callbacks:
                    callback(removed)
                self._primary_lost()

    async def _learn(self) -> tuple[list[Address | None], set[Address]]:
        nodes = list({*self._nodes, *self._location.nodes})
        random.shuffle(nodes)
        failure: Exception = exceptions.ClusterDownError("CLUSTERDOWN no node has slots")
        for node in nodes:
            connection = connect_node(self._location, node, 1, _LAYOUT_SECONDS)
            try:
                (reply,) = await connection.replies([("CLUSTER", "SLOTS")])
                if isinstance(reply, Exception):
                    raise reply
                if reply:
                    return _parsed(reply, node)
            except (exceptions.RedisError, OSError) as error:
                failure = error
            finally:
                await connection.aclose()
        raise failure


def connect_node(
    location: ClusterLocation,
    node: Address,
    most: int,
    reply_seconds: float,
    hook: Callable[[], OnConnect] | None = None,
) -> ReplaceableConnections:
    """Return connections to a node; see `Deployment.connect`."""
    options = pool_options(location.urls.at(node), most, reply_seconds, hook)
    return ReplaceableConnections(BlockingConnectionPool(**options))


def known_address(host: str, port: int, replying: Address) -> Address:
    """Return the address of a node that another has named, which may not know its host."""
    return Address(replying.host if host in ("", "?") else host, port)


def _parsed(reply: list[Any], asked: Address) -> tuple[list[Address | None], set[Address]]:
    """Return the owner of each slot and all nodes, from a reply to CLUSTER SLOTS of a node."""
    owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
    nodes: set[Address] = set()
    for first, last, *servers in reply:
        found = [known_address((host or b"").decode(), port, asked) for host, port, *_ in servers]
        owners[first : last + 1] = [found[0]] * (last + 1 - first)
        nodes.update(found)
    return owners, nodes
