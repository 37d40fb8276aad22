"""What replicas declare of themselves, so that two services that share keys by mistake are noticed.

All replicas of an agent's name are one service, and each may end, list or begin again the runs of any other.
So they need the same agent, the same schemas and the same settings of what is stored. A replica compares its
own with those of the others that are alive when it starts, and warns once: during a rolling update they
differ for good reason.

The counter of a dead replica stays until it is reaped. So another one counts as alive once its counter has
moved, a heartbeat or two after the start.
"""

import logging
from collections.abc import Mapping

import msgspec

from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.keys import DECLARE, Keys
from dockrion.errors import CorruptLog
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")


class Declaration(msgspec.Struct, frozen=True):
    """What a replica declares of itself.

    Attributes:
        target: What it invokes.
        settings: What has to be the same for all replicas: setting → digest of its value. Versions that
            have more of them compare those that both know.
        host: The name of its machine.
        pid: Its process.
    """

    target: str
    settings: Mapping[str, str]
    host: str
    pid: int

    def differing(self, other: "Declaration") -> list[str]:
        """Return the settings in which another replica differs."""
        return sorted(
            name for name, digest in self.settings.items() if other.settings.get(name, digest) != digest
        )


class Declarations:
    """Declares what this replica is, and compares it with the others.

    Args:
        client: The connections.
        keys: The names.
        replica: This replica.
        own: What it declares.
        ttl: Seconds for which it is stored.
    """

    def __init__(self, client: RedisClient, keys: Keys, replica: str, own: Declaration, ttl: int) -> None:
        self._client = client
        self._keys = keys
        self._replica = replica
        self._own = own
        self._ttl = ttl
        self._uncompared: dict[str, bytes] | None = None  # replica → its counter when this one started

    async def declare(self) -> None:
        """Store what this replica declares, or store it for longer.

        Raises:
            ServiceUnavailable: Redis does not respond.
        """
        keys = self._keys.declarations, self._keys.replicas
        text = msgspec.json.encode(self._own)
        await self._client.send_background(DECLARE(keys, self._replica, text, self._ttl))

    async def compare(self, counters: dict[str, bytes]) -> None:
        """Warn once if a replica that was there before this one differs from it.

        Args:
            counters: The number of heartbeats of each replica.

        Raises:
            ServiceUnavailable: Redis does not respond.
        """
        if self._uncompared is None:
            self._uncompared = {each: count for each, count in counters.items() if each != self._replica}
        alive = [each for each, count in self._uncompared.items() if counters.get(each, count) != count]
        if not alive:
            return
        read = "HMGET", self._keys.declarations, *alive
        (declared,) = await self._client.send_background_each(read)
        if isinstance(declared, CorruptLog):  # which the next declaration replaces
            return
        for replica, text in zip(alive, declared, strict=True):
            del self._uncompared[replica]
            other = None if text is None else _decoded(text)
            if other is not None and (settings := self._own.differing(other)):
                self._uncompared.clear()
                log(
                    _logger,
                    logging.WARNING,
                    "another service uses the same agent name in this redis; give one of them another "
                    "agent.name or streaming.redis.key_prefix, unless the Dockfile is being changed",
                    differing=settings,
                    this=_described(self._replica, self._own),
                    other=_described(replica, other),
                )
                return


def _decoded(text: bytes) -> Declaration | None:
    """Return what another replica has declared, unless this version cannot read it."""
    try:
        return msgspec.json.decode(text, type=Declaration)
    except msgspec.DecodeError:
        return None


def _described(replica: str, declaration: Declaration) -> dict[str, str | int]:
    return {
        "target": declaration.target,
        "host": declaration.host,
        "pid": declaration.pid,
        "replica": replica,
    }
