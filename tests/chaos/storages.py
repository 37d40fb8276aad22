"""Where services under chaos store their runs, and the faults of that. None loses what was stored."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol, Self

from redis.exceptions import RedisError

from dockrion.backends.redis.keys import Keys
from tests.deployments import PRIMARY, ClusterServers, SentinelServers, wait_for
from tests.servers import RedisServer

PASSWORD = "no-log-may-hold-this"
AGENT = "tested"
_MOVED_SLOTS = 8
_PAUSE_MILLISECONDS = 60_000  # longer than any failover
_DOWN_AFTER_MILLISECONDS = 1500  # on a busy machine, servers may be silent for some time
_ELECTION_SECONDS = 6.0  # a node of Redis 7.0 that is elected again sooner counts the votes of before
Wait = Callable[[float], Awaitable[object]]
Fault = Callable[[Random, Wait], Awaitable[None]]


class Storage(Protocol):
    """A set-up of servers.

    Attributes:
        url: For `streaming.redis.url`.
        keys: The names of its keys.
        masters: The servers that have keys at the moment.
        faults: What may happen to it, by name. Each is repaired when it returns.
    """

    url: str
    keys: Keys
    faults: dict[str, Fault]

    @property
    def masters(self) -> list[RedisServer]: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class SingleServer:
    """One server."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._server = RedisServer(kind, folder, password=PASSWORD, aof=True)
        self.url = self._server.url
        self.keys = Keys(AGENT)
        self.faults: dict[str, Fault] = {
            "redis paused": self._pause,
            "redis restarted": self._restart,
            "all connections to redis killed": partial(_kill_connections, self),
        }

    @property
    def masters(self) -> list[RedisServer]:
        return [self._server]

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()

    async def _pause(self, random: Random, wait: Wait) -> None:
        self._server.pause()
        await wait(random.choice((random.uniform(0.05, 2), random.uniform(2, 8))))
        self._server.resume()

    async def _restart(self, random: Random, wait: Wait) -> None:
        self._server.kill()
        await wait(random.choice((0.0, random.uniform(0, 4))))
        self._server.start()


class SentinelStorage:
    """A primary, its replica and a Sentinel."""

    def __init__(self, folder: Path) -> None:
        self._servers = SentinelServers(folder, down_after=_DOWN_AFTER_MILLISECONDS)
        self.url = self._servers.url
        self.keys = Keys(AGENT)
        self.faults: dict[str, Fault] = {
            "failovers": self._fail_over,
            "all connections to redis killed": partial(_kill_connections, self),
        }

    @property
    def masters(self) -> list[RedisServer]:
        return [self._servers.primary]

    def __enter__(self) -> Self:
        self._servers.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.__exit__()

    async def _fail_over(self, random: Random, _wait: Wait) -> None:
        await asyncio.to_thread(self._replace_primary, crash=random.random() < 0.5)

    def _replace_primary(self, *, crash: bool) -> None:
        primary = self._servers.primary
        replica = next(server for server in self._servers.servers if server is not primary)
        _stop_writes(primary, replica)
        if crash:
            primary.kill()
        else:
            wait_for(self._order_failover, "no failover")
        wait_for(lambda: self._servers.primary is replica, "no failover")
        wait_for(lambda: _role(replica) == "master", "no promotion")
        if crash:
            primary.start()
        primary.command("REPLICAOF", "127.0.0.1", replica.port)  # before Sentinel does it, after ten seconds
        if not crash:
            primary.kill_clients()
            primary.command("CLIENT", "UNPAUSE")
        wait_for(lambda: _is_synchronized(replica, primary), "the former primary is no replica")

    def _order_failover(self) -> bool:
        self._servers.sentinels[0].command("SENTINEL", "FAILOVER", PRIMARY)
        return True


class ClusterStorage:
    """Three masters, and a replica of the first."""

    def __init__(self, folder: Path) -> None:
        self._servers = ClusterServers(folder, replicas=1, node_timeout=_DOWN_AFTER_MILLISECONDS)
        self.url = self._servers.url
        self.keys = Keys(AGENT, spread=True)
        self._next_election_at = 0.0
        self.faults: dict[str, Fault] = {
            "slots moved": self._move_slots,
            "failovers": self._fail_over,
            "all connections to redis killed": partial(_kill_connections, self),
        }

    @property
    def masters(self) -> list[RedisServer]:
        return [node for node in self._servers.nodes if _role(node) == "master"]

    def __enter__(self) -> Self:
        self._servers.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.__exit__()

    async def _move_slots(self, random: Random, wait: Wait) -> None:
        """Move the slot of the service, and those of some runs, key by key."""
        for number in range(_MOVED_SLOTS):
            masters = await asyncio.to_thread(lambda: self.masters)
            key = masters[0].command("RANDOMKEY") if number else self.keys.queue.encode()
            if key is None:
                continue
            source = await asyncio.to_thread(self._servers.owner, key.decode())
            slot = source.command("CLUSTER", "KEYSLOT", key)
            target = random.choice([master for master in masters if master is not source])
            self._servers.begin_move(slot, source, target)
            while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 1):
                await wait(random.choice((0, random.uniform(0, 0.2))))
                self._servers.move_keys(target, source, *keys)
            await wait(random.uniform(0, 0.2))
            self._servers.end_move(slot, source, target)

    async def _fail_over(self, random: Random, _wait: Wait) -> None:
        await asyncio.sleep(max(self._next_election_at - time.monotonic(), 0))
        await asyncio.to_thread(self._replace_master, crash=random.random() < 0.5)
        self._next_election_at = time.monotonic() + _ELECTION_SECONDS

    def _replace_master(self, *, crash: bool) -> None:
        pair = self._servers.masters[0], self._servers.replicas[0]
        master, replica = sorted(pair, key=_role)
        if crash:
            _stop_writes(master, replica)
            master.kill()
        else:
            replica.command("CLUSTER", "FAILOVER")
        wait_for(lambda: _role(replica) == "master", "no failover")
        if crash:
            master.start()
        wait_for(lambda: _is_synchronized(replica, master), "the former master is no replica")


async def _kill_connections(storage: Storage, _random: Random, _wait: Wait) -> None:
    for master in await asyncio.to_thread(lambda: storage.masters):
        await asyncio.to_thread(master.kill_clients)


def _stop_writes(primary: RedisServer, replica: RedisServer) -> None:
    """Let nothing be written any more that the replica does not have."""
    primary.command("CLIENT", "PAUSE", _PAUSE_MILLISECONDS, "WRITE")
    wait_for(lambda: _is_synchronized(primary, replica), "the replica does not catch up")


def _is_synchronized(primary: RedisServer, replica: RedisServer) -> bool:
    of_primary, of_replica = (server.command("INFO", "replication") for server in (primary, replica))
    return bool(
        of_replica["role"] == "slave"
        and of_replica["master_link_status"] == "up"
        and of_replica["master_port"] == primary.port
        and of_replica["slave_repl_offset"] >= of_primary["master_repl_offset"]
    )


def _role(server: RedisServer) -> str:
    """Return "master" or "slave", or nothing while the server does not reply."""
    try:
        return str(server.command("INFO", "replication")["role"])
    except RedisError:
        return ""
