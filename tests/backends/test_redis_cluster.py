"""A cluster whose slots move and whose primaries are replaced, while runs are at work."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions
from redis.crc import key_slot

from dockrion.backends.redis import RedisBackend, cluster, cluster_layout
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.cluster import ClusterConnections
from dockrion.backends.redis.cluster_layout import Layout
from dockrion.backends.redis.keys import Command, Keys
from dockrion.backends.redis.location import Address, ClusterLocation, ServerUrls
from dockrion.errors import ServiceUnavailable
from tests.backends.conformance import begin, delete_keys, follow_all
from tests.backends.trouble import CommandedAgent, Logged, assert_complete, following, serve_on, wait_ready
from tests.conftest import Serve
from tests.deployments import ClusterServers, shared_cluster, wait_for
from tests.support import Served, wait_until

AGENT = "moving"


@pytest.fixture
def servers() -> Iterator[ClusterServers]:
    """The shared cluster."""
    yield shared_cluster()
    delete_keys("cluster", AGENT)


@pytest.fixture
def redirections(monkeypatch: pytest.MonkeyPatch) -> Counter[type[Exception]]:
    """Count the redirections by their type."""
    counted: Counter[type[Exception]] = Counter()
    redirect = ClusterConnections._redirect

    def count(connections: ClusterConnections, place: int, reply: Exception, *more: Any) -> None:
        counted[type(reply)] += 1
        redirect(connections, place, reply, *more)

    monkeypatch.setattr(ClusterConnections, "_redirect", count)
    return counted


async def serve_agent(serve: Serve, servers: ClusterServers, agent: Any) -> Served:
    served = await serve_on(serve, servers.url, agent)
    await wait_ready(served)
    return served


def keys_of(served: Served) -> tuple[Keys, str]:
    """Return the names of keys, and the replica."""
    backend = served.service.backend
    assert isinstance(backend, RedisBackend)
    return backend._store.keys, backend.replica


async def move(
    servers: ClusterServers, key: str, redirections: Counter[type[Exception]], held: str = ""
) -> None:
    """Move the slot of a key to the next master, and the key `held` only after a script needed both."""
    slot, source = key_slot(key.encode()), servers.owner(key)
    target = servers.masters[(servers.masters.index(source) + 1) % 3]
    servers.begin_move(slot, source, target)
    if held:
        keys = source.command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        servers.move_keys(target, source, *(each for each in keys if each.decode() != held))
        before = redirections[exceptions.TryAgainError]
        await wait_until(lambda: redirections[exceptions.TryAgainError] > before)
    while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
        servers.move_keys(target, source, *keys)
    await asyncio.sleep(0)
    servers.end_move(slot, source, target)


async def test_slots_move_while_runs_are_at_work(
    serve: Serve, servers: ClusterServers, redirections: Counter[type[Exception]], logged: Logged
) -> None:
    agent = CommandedAgent()
    owner, other = await serve_agent(serve, servers, agent), await serve_agent(serve, servers, agent)
    run_id = await owner.start()
    (keys, replica), (_, reader) = keys_of(owner), keys_of(other)
    run, events = keys.log(run_id)
    before = {key: servers.owner(key) for key in (run, keys.inbox(reader), keys.inbox(replica), keys.runs)}
    async with following(run_id, owner, other) as readers:
        last = 1
        for key in before:
            held = events if key == run else ""
            moving = asyncio.create_task(move(servers, key, redirections, held))
            while not moving.done():
                agent.emit()
                last += 1
                await asyncio.sleep(0.01)
            await moving
            agent.emit(2)
            last += 2
            for each in readers:
                await each.until(last)
        agent.finish()
        for each in readers:
            assert_complete(await each.end(), last + 1)
    assert set(redirections) >= {exceptions.MovedError, exceptions.TryAgainError}
    assert (await other.client.get(f"/runs/{run_id}")).status == 200
    assert set(logged.redis_errors()) <= {"TRYAGAIN"}
    for key, source in before.items():
        servers.move_slot(key_slot(key.encode()), servers.owner(key), source)


async def test_a_key_that_has_moved_already_is_asked_for_elsewhere(
    servers: ClusterServers, redirections: Counter[type[Exception]]
) -> None:
    client = RedisClient(servers.url, pool_size=4)
    key = f"dockrion:{AGENT}:asked"
    slot, source = key_slot(key.encode()), servers.owner(key)
    target = next(master for master in servers.masters if master is not source)
    await client.send(("SET", key, 0, "EX", 60))
    servers.begin_move(slot, source, target)
    servers.move_keys(target, source, key)
    increments = [client.send(("INCR", key), ("EXPIRE", key, 60)) for _ in range(20)]
    assert sorted(number for number, _ in await asyncio.gather(*increments)) == list(range(1, 21))
    assert redirections[exceptions.AskError]
    assert await client.send(("SET", "dockrion:a", 1, "EX", 1), ("INCR", key), ordered=0) == [True, 21]
    servers.end_move(slot, source, target)
    assert await client.send(("GET", key)) == [b"21"]
    servers.move_slot(slot, target, source)
    assert await client.send(("GET", key)) == [b"21"]
    await client.aclose()


async def test_scripts_are_loaded_on_each_primary(servers: ClusterServers) -> None:
    backend = RedisBackend(servers.url, agent=AGENT, max_events=20, ttl=60, max_run_duration=60)
    for _ in range(2):
        for number in range(6):
            writer = await begin(backend, events=number + 1)
            await writer.finish()
            assert len(await follow_all(backend, writer.run_id)) == number + 2
        servers.command("SCRIPT", "FLUSH")
    await backend.aclose()


async def test_a_heartbeat_from_another_thread_reaches_the_node_of_its_key(servers: ClusterServers) -> None:
    client = RedisClient(servers.url, pool_size=1)
    keys = [f"dockrion:{AGENT}:{number}" for number in range(6)]
    with pytest.raises(ServiceUnavailable):  # no node is known yet
        await asyncio.to_thread(client.send_without_loop, keys[0], ("INCR", keys[0]))
    await client.send(("GET", keys[0]))
    for key in keys:
        await asyncio.to_thread(client.send_without_loop, key, ("INCR", key), ("EXPIRE", key, 60))
    assert await client.send(*(("GET", key) for key in keys), ordered=0) == [b"1"] * 6
    await client.aclose()


async def test_runs_and_messages_spread_over_the_nodes(servers: ClusterServers) -> None:
    backend = RedisBackend(servers.url, agent=AGENT, max_events=20, ttl=60, max_run_duration=60)
    for number in range(40):
        await begin(backend, events=1)
        await backend.count(str(number), 60)
        await backend.hold(str(number), "me", 60)
    for kind in ("*:run", "uses:*", "holder:*"):
        found = servers.command("KEYS", f"dockrion:{AGENT}:{kind}")
        assert all(found), kind
    await backend.aclose()


async def test_a_primary_is_replaced_while_runs_are_at_work(
    serve: Serve, tmp_path: Path, logged: Logged
) -> None:
    with ClusterServers(tmp_path, replicas=3, node_timeout=500) as servers:
        agent = CommandedAgent()
        owner, other = await serve_agent(serve, servers, agent), await serve_agent(serve, servers, agent)
        keys, reader = keys_of(other)
        lost = servers.owner(keys.inbox(reader))
        run_id = next(name for name in map(str, range(1000)) if servers.owner(keys.run(name)) is lost)
        await owner.start(run_id=run_id)
        async with following(run_id, owner, other) as readers:
            agent.emit(10)
            for each in readers:
                await each.until(11)
            assert lost.command("WAIT", 1, 5000) == 1
            lost.kill()
            agent.emit(10)
            await wait_ready(owner, other, expected=False)
            await wait_ready(owner, other)
            assert servers.owner(keys.run(run_id)) is not lost
            agent.emit(10)
            for each in readers:
                await each.until(31)
            lost.start()
            wait_for(lambda: lost.command("ROLE")[0] == b"slave", "it is no replica")
            agent.emit(10)
            agent.finish()
            for each in readers:
                assert_complete(await each.end(), 42)
        assert agent.stopped == 0
        assert logged.fields("run failed") == []
        for served in (owner, other):
            await served.client.close()


class FakeNode:
    """A node that replies what it is told, and records what it executes."""

    def __init__(self, address: Address, executed: list[tuple[Address, Any]]) -> None:
        self.address = address
        self.executed = executed
        self.replies_to: dict[Any, list[Any]] = {}
        self.started = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()
        self.closed = False

    async def replies(self, commands: Sequence[Command], *, asking: bool = False) -> list[Any]:
        self.started.set()
        await self.free.wait()
        replies = []
        for command in commands:
            self.executed.append((self.address, ("ASKING", *command) if asking else command))
            scripted = self.replies_to.get(command[1])
            reply = scripted.pop(0) if scripted else command[1]
            if isinstance(reply, OSError):
                raise reply
            replies.append(reply)
        return replies

    async def aclose(self) -> None:
        self.closed = True


class FakeCluster:
    """A cluster of three nodes, of which each has the slots whose number leaves the same remainder."""

    def __init__(self) -> None:
        self.executed: list[tuple[Address, Any]] = []
        self.nodes = {Address("h", port): FakeNode(Address("h", port), self.executed) for port in range(3)}
        self.lost: list[None] = []
        self.layout = Layout(
            ClusterLocation(tuple(self.nodes), ServerUrls("redis://", "")), lambda: self.lost.append(None)
        )
        self.learnt = 0
        self.failure: Exception | None = None
        self.owners = [Address("h", slot % 3) for slot in range(16_384)]
        self.connections = ClusterConnections(self.layout, self._connect)

    def key(self, port: int, number: int = 0) -> str:
        """Return a key that a node has."""
        names = (f"k{count}" for count in range(1000))
        return [name for name in names if key_slot(name.encode()) % 3 == port][number]

    def ports(self) -> list[tuple[int, Any]]:
        """Return what was executed, by the number of the node."""
        return [(address.port, command[-1]) for address, command in self.executed]

    async def learn(self) -> tuple[list[Address], set[Address]]:
        self.learnt += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return self.owners.copy(), set(self.owners)

    def _connect(self, address: Address) -> Any:
        return self.nodes[address]


@pytest.fixture
async def fake(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeCluster]:
    made = FakeCluster()
    monkeypatch.setattr(Layout, "_learn", made.learn)
    monkeypatch.setattr(cluster, "_REDIRECT_SECONDS", 0.2)
    monkeypatch.setattr(cluster_layout, "_LAYOUT_SECONDS", 0.0)
    yield made
    await made.connections.aclose()


async def test_ordered_commands_are_executed_one_after_the_other(fake: FakeCluster) -> None:
    keys = [fake.key(0), fake.key(1), fake.key(1, 1), fake.key(0)]
    fake.nodes[Address("h", 0)].free.clear()
    sending = asyncio.create_task(fake.connections.replies([("GET", key) for key in keys]))
    await fake.nodes[Address("h", 0)].started.wait()
    await asyncio.sleep(0)
    assert fake.executed == []
    fake.nodes[Address("h", 0)].free.set()
    assert await sending == keys
    assert fake.ports() == list(zip((0, 1, 1, 0), keys, strict=True))


async def test_unordered_commands_are_executed_at_the_same_time(fake: FakeCluster) -> None:
    keys = [fake.key(0), fake.key(1), fake.key(2), fake.key(1, 1)]
    for node in fake.nodes.values():
        node.free.clear()
    commands = [("GET", key) for key in keys]
    sending = asyncio.create_task(fake.connections.replies(commands, ordered=0))
    for node in fake.nodes.values():
        await node.started.wait()
        node.free.set()
    assert await sending == keys
    assert sorted(fake.ports()) == sorted(zip((0, 1, 2, 1), keys, strict=True))


async def test_the_rest_waits_for_the_ordered_commands(fake: FakeCluster) -> None:
    first, *rest = keys = [fake.key(2), fake.key(0), fake.key(1), fake.key(2, 1)]
    assert await fake.connections.replies([("GET", key) for key in keys], ordered=1) == keys
    assert fake.ports()[0] == (2, first)
    assert sorted(key for _, key in fake.ports()[1:]) == sorted(rest)


async def test_a_failure_keeps_what_has_to_follow_from_being_executed(fake: FakeCluster) -> None:
    keys = [fake.key(0), fake.key(1), fake.key(2)]
    failure = exceptions.ResponseError("OOM")
    fake.nodes[Address("h", 1)].replies_to[keys[1]] = [failure]
    replies = await fake.connections.replies([("GET", key) for key in keys])
    assert replies == [keys[0], failure, failure]
    assert [port for port, _ in fake.ports()] == [0, 1]


async def test_what_follows_a_moved_command_is_executed_after_it(fake: FakeCluster) -> None:
    first, second, elsewhere = fake.key(0), fake.key(0, 1), fake.key(1)
    slot = key_slot(first.encode())
    moved = exceptions.MovedError(f"{slot} h:2")
    fake.nodes[Address("h", 0)].replies_to[first] = [moved]
    fake.owners[slot] = Address("h", 2)
    keys = [first, second, elsewhere]
    assert await fake.connections.replies([("GET", key) for key in keys]) == keys
    assert fake.ports()[-3:] == [(2, first), (0, second), (1, elsewhere)]
    assert fake.lost == []


@pytest.mark.parametrize("host", ["h", "", "?"])  # Redis Cluster specification: unknown, that of the reply
async def test_a_key_that_is_being_moved_is_asked_for_on_the_same_connection(
    fake: FakeCluster, host: str
) -> None:
    key = fake.key(0)
    ask = exceptions.AskError(f"{key_slot(key.encode())} {host}:1")
    fake.nodes[Address("h", 0)].replies_to[key] = [ask]
    assert await fake.connections.replies([("GET", key)]) == [key]
    assert fake.executed[-1] == (Address("h", 1), ("ASKING", "GET", key))


@pytest.mark.parametrize("redirection", ["MOVED", "ASK", "TRYAGAIN"])
async def test_endless_redirections_end(fake: FakeCluster, redirection: str) -> None:
    key = fake.key(0)
    slot = key_slot(key.encode())
    types = {"MOVED": exceptions.MovedError, "ASK": exceptions.AskError}
    made: type[Exception] = types.get(redirection, exceptions.TryAgainError)
    for address, node in fake.nodes.items():
        node.replies_to[key] = [made(f"{slot} h:{(address.port + 1) % 3}")] * 1000
    with pytest.raises(exceptions.TryAgainError):
        await asyncio.wait_for(fake.connections.replies([("GET", key)]), 10)


async def test_a_node_that_was_replaced_is_left_and_said_to_be_lost(fake: FakeCluster) -> None:
    key = fake.key(0)
    await fake.connections.replies([("GET", key)])
    lost = fake.nodes[Address("h", 0)]
    lost.replies_to[key] = [OSError("gone")]
    fake.owners = [Address("h", 1) if owner.port == 0 else owner for owner in fake.owners]
    assert await fake.connections.replies([("GET", key)]) == [key]
    assert fake.ports()[-1] == (1, key)
    assert fake.lost == [None]
    await wait_until(lambda: lost.closed)


async def test_a_node_that_was_not_replaced_fails_its_commands(fake: FakeCluster) -> None:
    key = fake.key(0)
    fake.nodes[Address("h", 0)].replies_to[key] = [OSError("gone")]
    with pytest.raises(OSError, match="gone"):
        await fake.connections.replies([("GET", key), ("GET", fake.key(1))], ordered=0)
    assert fake.lost == []


async def test_a_slot_without_a_node_is_a_cluster_that_is_down(fake: FakeCluster) -> None:
    fake.owners[key_slot(b"x")] = None  # type: ignore[call-overload]
    with pytest.raises(exceptions.ClusterDownError):
        await fake.connections.replies([("GET", "x")])


async def test_the_layout_is_learnt_once_for_all_who_need_it(fake: FakeCluster) -> None:
    await asyncio.gather(*(fake.layout.refresh() for _ in range(20)))
    assert fake.learnt == 1
    fake.failure = OSError("no node")
    results = await asyncio.gather(*(fake.layout.refresh() for _ in range(20)), return_exceptions=True)
    assert results == [fake.failure] * 20
    assert fake.learnt == 2
    fake.failure = None
    await fake.layout.refresh()
    assert fake.learnt == 3
