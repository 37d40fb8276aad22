"""Redis gets into trouble under runs that are written and read, and comes out of it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.backends.trouble import (
    OnRedis,
    Ticks,
    Told,
    Works,
    following,
    honest,
    lost,
    ready,
    refuses_runs,
    status,
    takes_runs,
    until_ready,
    whole,
)
from tests.servers import RedisServer
from tests.support import wait_until

BUFFERED = 1000  # more than waits in a publisher, on its way included


def config(name: str, value: str) -> Callable[[RedisServer], object]:
    return lambda server: server.command("CONFIG", "SET", name, value)


def replica_of(*where: str) -> Callable[[RedisServer], object]:
    return lambda server: server.command("REPLICAOF", *where)


def ask_for_a_password(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "requirepass", "new")
    server.url = server.url.replace("//", "//:new@")
    server.kill_clients()


def ask_for_none(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "requirepass", "")
    server.url = server.url.replace(":new@", "")


@dataclass(frozen=True)
class Trouble:
    begin: Callable[[RedisServer], object]
    end: Callable[[RedisServer], object]
    kind: str
    advice: str
    readable: bool = True


TROUBLES = {
    "out of memory": Trouble(config("maxmemory", "1"), config("maxmemory", "0"), "OOM", "memory is full"),
    "read-only": Trouble(
        replica_of("127.0.0.1", "1"), replica_of("NO", "ONE"), "READONLY", "must name the primary"
    ),
    "password": Trouble(ask_for_a_password, ask_for_none, "NOAUTH", "password", readable=False),
    "restart": Trouble(RedisServer.kill, RedisServer.start, "UNREACHABLE", "is it running", readable=False),
}


@pytest.mark.parametrize("name", TROUBLES)
async def test_when_it_is_over_nothing_is_lost_and_nothing_doubled(
    name: str, server: RedisServer, on_redis: OnRedis, told: Told, failures: list[None]
) -> None:
    trouble = TROUBLES[name]
    agent = Works()
    replicas = served, other = await on_redis(agent), await on_redis()
    await until_ready(*replicas)
    run_id = await served.start()
    agent.emit(4)
    async with following(run_id, served, other) as readers:
        for each in readers:
            await each.until(5)

        trouble.begin(server)
        agent.emit(2 * BUFFERED)
        await until_ready(*replicas, ready_at_last=False)
        await refuses_runs(served)
        await refuses_runs(other)
        for each in readers:
            await each.sign_of_life()
        await wait_until(lambda: len(failures) >= 4)
        assert not await ready(served)
        assert agent.emitted < BUFFERED
        assert not agent.stopped
        assert not any(each.over or each.last > 5 for each in readers)
        assert await status(served, f"/runs/{run_id}") == (200 if trouble.readable else 503)
        assert await status(other, f"/runs/{run_id}/events") == 503

        trouble.end(server)
        await until_ready(*replicas)
        agent.finish()
        for each in readers:
            whole(await each.end(), 2 * BUFFERED + 6)
    await takes_runs(served)
    await takes_runs(other)
    assert (await served.record(run_id))["output"] == {"emitted": 2 * BUFFERED + 4}
    assert Counter(told.troubles())[trouble.kind] == 2, told.troubles()
    assert set(told.troubles()) <= {trouble.kind, "LOADING"}
    assert trouble.advice in told.advice(trouble.kind)
    assert len(told.fields("redis answers")) == 2
    assert told.tracebacks() == []


async def test_killed_connections_are_not_noticed(server: RedisServer, on_redis: OnRedis, told: Told) -> None:
    agent = Ticks()
    replicas = served, other = await on_redis(agent), await on_redis()
    await until_ready(*replicas)
    run_id = await served.start()
    async with following(run_id, served, other, served, other) as readers:
        killed = 0
        for _ in range(15):
            killed += server.kill_clients()
            reached = max(each.last for each in readers)
            for each in readers:
                await each.until(reached + 5)
            for replica in replicas:
                assert await ready(replica)
                assert await status(replica, f"/runs/{run_id}") == 200
        assert killed > 60
        await takes_runs(served)
        agent.finished = True
        for each in readers:
            whole(await each.end(), agent.emitted + 2)
    assert told.tracebacks() == []
    assert len(told.troubles()) <= 2


@pytest.mark.parametrize("server", ["redis"], indirect=True)
async def test_each_outage_is_told_once(server: RedisServer, on_redis: OnRedis, told: Told) -> None:
    agent = Ticks()
    served = await on_redis(agent)
    await until_ready(served)
    async with following(await served.start(), served) as (reader,):
        for _ in range(2):
            server.kill()
            await until_ready(served, ready_at_last=False)
            server.start()
            await until_ready(served)
        agent.finished = True
        whole(await reader.end(), agent.emitted + 2)
    assert told.troubles().count("UNREACHABLE") == 2


@pytest.mark.parametrize(("busy", "noticed"), [(True, True), (False, False)])
async def test_an_empty_server_ends_the_runs_that_it_has_lost(
    server: RedisServer, on_redis: OnRedis, told: Told, busy: bool, noticed: bool
) -> None:
    agent = Ticks() if busy else Works()
    replicas = served, other = await on_redis(agent), await on_redis()
    await until_ready(*replicas)
    run_id = await served.start()
    async with following(run_id, served, other) as readers:
        for each in readers:
            await each.until(5 if busy else 1)
        if noticed:
            server.kill()
            await until_ready(*replicas, ready_at_last=False)
        server.restart_empty()
        for each in readers:
            assert honest(await each.end()) in ("error", "gone")
    if isinstance(agent, Works):
        assert agent.stopped == 1
    for replica in replicas:
        await until_ready(replica)
        await lost(replica, run_id)
        await takes_runs(replica)
    assert len(told.fields("run lost")) == 1
    assert told.fields("replica lost") == []


async def test_a_server_that_forgets_a_finished_run_forgets_it_for_all(
    server: RedisServer, on_redis: OnRedis
) -> None:
    agent = Works()
    agent.finish()
    served = await on_redis(agent)
    run_id = await served.start()
    await served.finished(run_id)
    server.restart_empty()
    await until_ready(served)
    assert await status(served, f"/runs/{run_id}") == 404
    assert await status(served, f"/runs/{run_id}/events") == 404


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_request_to_cancel_is_refused_while_redis_is_away_and_works_again(
    server: RedisServer, on_redis: OnRedis
) -> None:
    agent = Works()
    replicas = served, other = await on_redis(agent), await on_redis()
    await until_ready(*replicas)
    run_id = await served.start()
    server.kill()
    await until_ready(*replicas, ready_at_last=False)
    async with other.client.delete(f"/runs/{run_id}") as answer:
        assert answer.status == 503
    server.start()
    await until_ready(*replicas)
    async with asyncio.timeout(5), other.client.delete(f"/runs/{run_id}") as answer:
        assert answer.status == 200, await answer.text()
    assert agent.stopped == 1
