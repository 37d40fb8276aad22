"""A cluster and a primary with Sentinels, as child processes of the tests."""

import atexit
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Self, TypeVar

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import RedisError

from tests.servers import (
    KINDS,
    TIMEOUT_SECONDS,
    RedisServer,
    Server,
    cluster_privileges,
    executable,
    free_port,
)

S = TypeVar("S", "ClusterServers", "SentinelServers")
KIND = KINDS[0]
PRIMARY = "the-primary"
_NEVER_DOWN_MILLISECONDS = 60_000  # on a busy machine, servers may be silent for some time


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Wait until a condition holds; a server that does not reply yet does not meet it."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        with suppress(RedisError):
            if condition():
                return
        time.sleep(0.01)
    raise AssertionError(f"{what} in {TIMEOUT_SECONDS} s")


class _Deployment(ABC):
    """Servers that run during a block.

    Attributes:
        processes: All of them.
    """

    processes: Sequence[RedisServer]

    @abstractmethod
    def start(self) -> None:
        """Start the servers, and wait until they are ready."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.processes:
            each.kill()


class ClusterServers(_Deployment):
    """The nodes of a cluster: masters that share the slots evenly, and replicas of the first ones."""

    def __init__(
        self, folder: Path, *, masters: int = 3, replicas: int = 0, node_timeout: int = 1000
    ) -> None:
        self._bus_ports = [free_port() for _ in range(masters + replicas)]
        self.nodes = [
            RedisServer(
                KIND,
                folder,
                *("--cluster-enabled", "yes", "--cluster-port", str(port)),
                *("--cluster-node-timeout", str(node_timeout), "--cluster-replica-validity-factor", "0"),
                *("--repl-diskless-sync-delay", "0", "--cluster-allow-replica-migration", "no"),
            )
            for port in self._bus_ports
        ]
        self.processes = self.nodes
        self.masters, self.replicas = self.nodes[:masters], self.nodes[masters:]

    @property
    def url(self) -> str:
        return f"redis+cluster://{self._addresses}"

    @cached_property
    def least_privileged_url(self) -> str:
        """The URL with a user who has the privileges in the guide."""
        user = {node.grant_least_privileges(*cluster_privileges()) for node in self.nodes}.pop()
        return f"redis+cluster://{user}@{self._addresses}"

    @property
    def _addresses(self) -> str:
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])

    def start(self) -> None:
        """Start the nodes, introduce them to each other, and wait until they agree."""
        for node in self.nodes:
            node.start()
        first, *others = self.nodes
        share = REDIS_CLUSTER_HASH_SLOTS / len(self.masters)
        for number, node in enumerate(self.masters):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            last = round(share * (number + 1)) - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", round(share * number), last)
        for node, bus in zip(others, self._bus_ports[1:], strict=True):
            first.command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for master, replica in zip(self.masters, self.replicas, strict=False):
            wait_for(partial(replica.command, "CLUSTER", "REPLICATE", identity(master)), "no replica")
        wait_for(lambda: all(map(self._is_complete, self.nodes)), "the nodes do not agree")
        wait_for(lambda: all(map(_is_linked, self.replicas)), "no replica is linked")

    def owner(self, key: str) -> RedisServer:
        """Return the node that has a key."""
        slot = key_slot(key.encode())
        for node in filter(RedisServer.running, self.nodes):
            for first, last, (_, port, *_), *_ in node.command("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(each for each in self.nodes if each.port == port)
        raise AssertionError(f"no node has slot {slot}")

    def command(self, *words: Any) -> list[Any]:
        """Send a command to each master and return the replies."""
        return [master.command(*words) for master in self.masters]

    def move_slot(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Move a slot with its keys, as the tools of Redis do."""
        self.begin_move(slot, source, target)
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            self.move_keys(target, source, *keys)
        self.end_move(slot, source, target)

    def begin_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", identity(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", identity(target))

    def move_keys(self, target: RedisServer, source: RedisServer, *keys: str | bytes) -> None:
        source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", *keys)

    def end_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        for node in (target, source, *self.nodes):
            if node.command("INFO", "replication")["role"] == "master":  # a failover may have changed that
                node.command("CLUSTER", "SETSLOT", slot, "NODE", identity(target))

    def _is_complete(self, node: RedisServer) -> bool:
        state = node.command("CLUSTER INFO")
        return bool(
            state["cluster_state"] == "ok"
            and int(state["cluster_known_nodes"]) == len(self.nodes)
            and len(node.command("CLUSTER", "SLOTS")) == len(self.masters)
        )


class SentinelServers(_Deployment):
    """A primary, a replica of it, and Sentinels that watch them."""

    def __init__(
        self, folder: Path, *, sentinels: int = 1, down_after: int = 500, password: str = ""
    ) -> None:
        options = ("--repl-diskless-sync-delay", "0")
        self.servers = [RedisServer(KIND, folder, *options) for _ in range(2)]
        self.sentinels = [
            SentinelServer(
                folder, self.servers[0], sentinels=sentinels, down_after=down_after, password=password
            )
            for _ in range(sentinels)
        ]
        self.processes = [*self.sentinels, *self.servers]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self._addresses}"

    @cached_property
    def least_privileged_url(self) -> str:
        """The URL with a user who has the privileges in the guide."""
        user = {server.grant_least_privileges() for server in self.servers}.pop()
        return f"redis+sentinel://{user}@{self._addresses}"

    @property
    def _addresses(self) -> str:
        return f"{','.join(f'127.0.0.1:{each.port}' for each in self.sentinels)}/{PRIMARY}/0"

    @property
    def primary(self) -> RedisServer:
        """The server that the Sentinels call the primary."""
        port = int(self.sentinels[0].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY)[1])
        return next(server for server in self.servers if server.port == port)

    def start(self) -> None:
        """Start everything, and wait until a failover is possible."""
        primary, replica = self.servers
        for server in self.servers:
            server.start()
        replica.command("REPLICAOF", "127.0.0.1", primary.port)
        wait_for(lambda: _is_linked(replica), "the replica is not linked")
        for sentinel in self.sentinels:
            sentinel.start()
        wait_for(
            lambda: all(each.knows(len(self.sentinels)) for each in self.sentinels), "no Sentinel is ready"
        )

    def command(self, *words: Any) -> Any:
        """Send a command to the primary."""
        return self.primary.command(*words)


class SentinelServer(RedisServer):
    """A Sentinel."""

    def __init__(
        self, folder: Path, primary: RedisServer, *, sentinels: int, down_after: int, password: str
    ) -> None:
        super().__init__(KIND, folder, password=password)
        configuration = self.folder / "sentinel.conf"
        lines = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {self.folder}",
            f"logfile {self.folder / 'log'}",
            f"sentinel monitor {PRIMARY} 127.0.0.1 {primary.port} {sentinels // 2 + 1}",
            f"sentinel down-after-milliseconds {PRIMARY} {down_after}",
            f"sentinel failover-timeout {PRIMARY} 2000",
        )
        required = (f"requirepass {password}",) if password else ()
        configuration.write_text("\n".join((*lines, *required)) + "\n")
        self.unix_url = self.url
        self._command = [str(executable(KIND)), str(configuration), "--sentinel"]

    def knows(self, sentinels: int) -> bool:
        """Return whether this one knows the replica and the other Sentinels."""
        state = self.command("SENTINEL MASTER", PRIMARY)
        return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == sentinels - 1)


@cache
def shared_cluster() -> ClusterServers:
    """Return the cluster that all tests share, whose nodes no test kills."""
    return _kept(partial(ClusterServers, node_timeout=_NEVER_DOWN_MILLISECONDS))


@cache
def shared_sentinels() -> SentinelServers:
    """Return the Sentinels that all tests share, whose primary no test kills."""
    return _kept(partial(SentinelServers, down_after=_NEVER_DOWN_MILLISECONDS))


def _kept(make: Callable[[Path], S]) -> S:
    """Start servers that end with the tests."""
    folder = Path(tempfile.mkdtemp(prefix="dockrion-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    servers = make(folder)
    servers.start()
    return servers


def identity(node: Server) -> str:
    """Return the id of a node of a cluster."""
    return str(node.command("CLUSTER", "MYID").decode())


def _is_linked(replica: Server) -> bool:
    return bool(replica.command("INFO", "replication").get("master_link_status") == "up")
