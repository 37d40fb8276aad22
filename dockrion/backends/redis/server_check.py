"""What the servers that a URL names say of themselves."""

import logging
from typing import Any

from dockrion.backends.redis.connections import Connections
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")


async def wrong_kind(connections: Connections, *, single: bool) -> str | None:
    """Return the kind of failure that commands will run into; warn if keys of unfinished runs may be evicted.

    Args:
        connections: Connections to the servers.
        single: Whether the URL names one server.

    Raises:
        RedisError: A server does not reply.
        OSError: Likewise.
    """
    found = await connections.from_each_primary(("INFO",))
    described = [each for each in found if isinstance(each, dict)]  # ACLs often forbid INFO
    for server in described:
        if single and server.get("redis_mode") == "sentinel":
            return "SENTINEL"
        if single and server.get("cluster_enabled") == 1 and await _has_peers(connections):
            return "MOVED"
    _warn_of_eviction(described)
    return None


async def _has_peers(connections: Connections) -> bool:
    """Return whether other nodes of a cluster have slots, too."""
    (slots,) = await connections.replies([("CLUSTER", "SLOTS")])
    return isinstance(slots, list) and len({primary[1] for _, _, primary, *_ in slots}) > 1


def _warn_of_eviction(servers: list[dict[str, Any]]) -> None:
    for server in servers:
        policy = str(server.get("maxmemory_policy", "noeviction"))
        if policy != "noeviction":
            log(
                _logger,
                logging.WARNING,
                "redis may drop live runs when its memory is full; set its maxmemory-policy to noeviction",
                policy=policy,
                maxmemory=server.get("maxmemory"),
            )
            return
