"""Sentinels that let a replica take the place of the primary, while runs are at work."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.sentinel import Sentinel

from dockrion.backends.redis import RedisBackend
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.health import Health
from dockrion.errors import ServiceUnavailable
from tests.backends.trouble import (
    CommandedAgent,
    Logged,
    assert_complete,
    checked_end,
    following,
    serve_on,
    wait_ready,
)
from tests.conftest import Serve
from tests.deployments import KIND, SentinelServers, shared_sentinels, wait_for
from tests.servers import RedisServer
from tests.support import Served, sequences, wait_until


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[SentinelServers]:
    with SentinelServers(tmp_path) as started:
        yield started


@pytest.fixture
async def replicas(
    servers: SentinelServers, serve: Serve, agent: CommandedAgent
) -> AsyncIterator[list[Served]]:
    """Two replicas of a service."""
    started = [await serve_on(serve, servers.url, agent) for _ in range(2)]
    await wait_ready(*started)
    yield started
    for served in started:
        await served.client.close()


@pytest.fixture
def agent() -> CommandedAgent:
    return CommandedAgent()


async def fail_over(servers: SentinelServers, replicas: list[Served]) -> None:
    """Kill the primary, and wait until the service uses the other."""
    lost = servers.primary
    lost.kill()
    await wait_ready(*replicas, expected=False)
    await wait_ready(*replicas)
    assert servers.primary is not lost


async def test_a_primary_is_replaced_while_runs_are_at_work(
    servers: SentinelServers, replicas: list[Served], agent: CommandedAgent, logged: Logged
) -> None:
    owner, other = replicas
    run_id = await owner.start()
    async with following(run_id, owner, other) as readers:
        agent.emit(10)
        for each in readers:
            await each.until(11)
        assert servers.command("WAIT", 1, 5000) == 1
        lost = servers.primary
        agent.emit(5)
        await fail_over(servers, replicas)
        agent.emit(5)
        lost.start()
        agent.emit(5)
        agent.finish()
        for each in readers:
            assert_complete(await each.end(), 27)
    assert agent.stopped == 0
    assert logged.fields("run failed") == []


async def test_what_the_new_primary_had_not_received_is_said_and_not_doubled(
    servers: SentinelServers, replicas: list[Served], agent: CommandedAgent
) -> None:
    owner, other = replicas
    primary, replica = servers.primary, servers.servers[1]
    run_id = await owner.start()
    async with following(run_id, other) as (early,):
        agent.emit(10)
        await early.until(11)
        assert primary.command("WAIT", 1, 5000) == 1
        primary.command("ACL", "SETUSER", "default", "-psync", "-sync")  # the replica receives nothing more
        primary.command("CLIENT", "KILL", "TYPE", "replica")
        wait_for(lambda: replica.command("ROLE")[3] != b"connected", "the replica is still connected")
        agent.emit(10)
        await early.until(21)
        await fail_over(servers, replicas)
        seen = await early.end()
    assert checked_end(seen) == "error"
    assert sequences(seen) == [*range(1, 22), last := sequences(seen)[-1]]
    assert last > 21  # no number that a reader has seen is another event's
    async with owner.events(run_id) as late:
        messages = await late.all()
    assert checked_end(messages) == "error"
    assert sequences(messages) == [*range(1, 12), last]
    assert [each.event for each in messages].count("gap") == 1
    assert (await owner.record(run_id))["status"] == "failed"
    assert agent.stopped == 1


@pytest.mark.usefixtures("fast_beats")
async def test_the_service_goes_on_without_sentinels(
    servers: SentinelServers, replicas: list[Served], agent: CommandedAgent, failures: list[None]
) -> None:
    owner, other = replicas
    for sentinel in servers.sentinels:
        sentinel.kill()
    backend = owner.service.backend
    assert isinstance(backend, RedisBackend)
    health = backend._client.health
    rounds = health.rounds
    run_id = await owner.start()
    async with following(run_id, other) as (reader,):
        agent.emit(5)
        await wait_until(lambda: health.rounds > rounds + 1)
        agent.finish()
        assert_complete(await reader.end(), 7)
    assert not failures


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[RedisServer]]:
    with RedisServer(KIND, tmp_path) as one, RedisServer(KIND, tmp_path) as other:
        yield [one, other]


async def test_a_primary_that_is_cut_off_from_the_sentinels_is_left(
    two: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = two[0]

    async def discover(_sentinel: Sentinel, _name: str) -> tuple[str, int]:
        return "127.0.0.1", named.port

    monkeypatch.setattr(Sentinel, "discover_master", discover)
    client = RedisClient("redis+sentinel://127.0.0.1:1/any", pool_size=2)
    await client.check_servers()
    await client.send(("SET", "key", 1))
    await client.send_background(("SET", "key", 2))
    block: Any = ("XREAD", "BLOCK", 60_000, "STREAMS", "inbox", "0-0")
    blocking = asyncio.create_task(client.send_blocking(block))
    await wait_until(lambda: two[0].command("INFO", "clients")["blocked_clients"] == 1)
    named = two[1]
    await client.check_servers()
    two[1].command("XADD", "inbox", "*", "field", "value")
    with pytest.raises(ServiceUnavailable):
        await asyncio.wait_for(blocking, 10)
    assert await client.send_blocking(block)
    await client.send(("SET", "key", 3))
    await client.send_background(("INCR", "key"))
    assert two[1].command("GET", "key") == b"4"
    assert two[0].command("GET", "key") == b"2"
    assert client.reconnected()
    assert client.health.state is Health.HEALTHY
    await client.aclose()


async def test_a_heartbeat_from_another_thread_reaches_the_primary() -> None:
    client = RedisClient(shared_sentinels().url, pool_size=1)
    with pytest.raises(ServiceUnavailable):  # no Sentinel was asked yet
        await asyncio.to_thread(client.send_without_loop, "k", ("INCR", "k"))
    await client.send(("SET", "dockrion:k", 1, "EX", 60))
    await asyncio.to_thread(client.send_without_loop, "dockrion:k", ("INCR", "dockrion:k"))
    assert await client.send(("GET", "dockrion:k")) == [b"2"]
    await client.aclose()


async def test_a_command_waits_for_a_connection() -> None:
    client = RedisClient(shared_sentinels().url, pool_size=1)
    replies = await asyncio.gather(*(client.send(("ECHO", number)) for number in range(20)))
    assert replies == [[str(number).encode()] for number in range(20)]
    await client.aclose()


async def test_sentinels_may_require_a_password_of_their_own(
    tmp_path: Path, serve: Serve, logged: Logged
) -> None:
    with SentinelServers(tmp_path, password="of-sentinels") as servers:
        without = await serve_on(serve, servers.url)
        await wait_until(logged.redis_errors)
        assert logged.redis_errors() == ["NOPRIMARY"]
        assert "sentinel_password" in logged.advice("NOPRIMARY")
        served = await serve_on(serve, f"{servers.url}?sentinel_password=of-sentinels")
        await wait_ready(served)
        await wait_ready(without, expected=False)
        assert logged.redis_errors() == ["NOPRIMARY"]
        for each in (without, served):
            await each.client.close()
