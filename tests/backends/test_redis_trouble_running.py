"""Redis fails and recovers while runs are written and read."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from dockrion.backends.redis.client import RETRY_SECONDS
from tests.backends.trouble import (
    CommandedAgent,
    EndlessAgent,
    Logged,
    OnRedis,
    assert_accepts_runs,
    assert_complete,
    assert_finished_or_unknown,
    assert_refuses_runs,
    checked_end,
    following,
    ready,
    status,
    wait_ready,
)
from tests.servers import RedisServer
from tests.support import TIMEOUT_SECONDS, wait_until

BUFFERED = 1000  # more than an event buffer holds, with the batch that is being written


def config(name: str, value: str) -> Callable[[RedisServer], object]:
    return lambda server: server.command("CONFIG", "SET", name, value)


def replica_of(*where: str) -> Callable[[RedisServer], object]:
    return lambda server: server.command("REPLICAOF", *where)


def require_password(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "requirepass", "new")
    server.url = server.url.replace("//", "//:new@")
    server.kill_clients()


def require_no_password(server: RedisServer) -> None:
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
    "password": Trouble(require_password, require_no_password, "NOAUTH", "password", readable=False),
    "restart": Trouble(RedisServer.kill, RedisServer.start, "UNREACHABLE", "is it running", readable=False),
}


@pytest.mark.parametrize("name", TROUBLES)
async def test_nothing_is_lost_or_duplicated_by_an_outage(
    name: str, server: RedisServer, on_redis: OnRedis, logged: Logged, failures: list[None]
) -> None:
    trouble = TROUBLES[name]
    agent = CommandedAgent()
    replicas = served, other = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    run_id = await served.start()
    agent.emit(4)
    async with following(run_id, served, other) as readers:
        for each in readers:
            await each.until(5)

        trouble.begin(server)
        agent.emit(2 * BUFFERED)
        await wait_ready(*replicas, expected=False)
        await assert_refuses_runs(served)
        await assert_refuses_runs(other)
        for each in readers:
            await each.until_heartbeat()
        await wait_until(lambda: len(failures) >= 4)
        assert not await ready(served)
        assert agent.emitted < BUFFERED
        assert not agent.stopped
        assert not any(each.over or each.last > 5 for each in readers)
        assert await status(served, f"/runs/{run_id}") == (200 if trouble.readable else 503)
        assert await status(other, f"/runs/{run_id}/events") == 503

        trouble.end(server)
        await wait_ready(*replicas)
        agent.finish()
        for each in readers:
            assert_complete(await each.end(), 2 * BUFFERED + 6)
    await assert_accepts_runs(served)
    await assert_accepts_runs(other)
    assert (await served.record(run_id))["output"] == {"emitted": 2 * BUFFERED + 4}
    assert Counter(logged.redis_errors())[trouble.kind] == 2, logged.redis_errors()
    assert set(logged.redis_errors()) <= {trouble.kind, "LOADING"}
    assert trouble.advice in logged.advice(trouble.kind)
    await logged.until("redis has recovered", 2)
    assert logged.tracebacks() == []


async def test_killed_connections_go_unnoticed(
    server: RedisServer, on_redis: OnRedis, logged: Logged
) -> None:
    agent = EndlessAgent()
    replicas = served, other = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
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
        await assert_accepts_runs(served)
        agent.finished = True
        for each in readers:
            assert_complete(await each.end(), agent.emitted + 2)
    assert logged.tracebacks() == []
    assert len(logged.redis_errors()) <= 2


@pytest.mark.parametrize("server", ["redis"], indirect=True)
async def test_each_outage_is_logged_once(
    server: RedisServer, on_redis: OnRedis, logged: Logged, failures: list[None]
) -> None:
    agent = EndlessAgent()
    served = await on_redis(agent)
    await wait_ready(served)
    async with following(await served.start(), served) as (reader,):
        for number in (1, 2):
            failures.clear()
            server.kill()
            await wait_until(lambda: failures)  # else the background work may not notice the outage
            await wait_ready(served, expected=False)
            server.start()
            await wait_ready(served)
            await logged.until("redis has recovered", number)  # else it is one outage
        agent.finished = True
        assert_complete(await reader.end(), agent.emitted + 2)
    assert logged.redis_errors().count("UNREACHABLE") == 2


async def test_background_work_pauses_between_failed_rounds(
    server: RedisServer, on_redis: OnRedis, failures: list[None]
) -> None:
    served = await on_redis()
    await wait_ready(served)
    server.command("CONFIG", "SET", "maxmemory", "1")
    await wait_until(lambda: failures)
    before, began = len(failures), time.monotonic()
    await wait_until(lambda: len(failures) >= before + 3)
    assert time.monotonic() - began >= 2 * RETRY_SECONDS * 0.9
    server.command("CONFIG", "SET", "maxmemory", "0")
    await wait_ready(served)


@pytest.mark.parametrize(("busy", "noticed"), [(True, True), (False, False)])
async def test_runs_that_an_empty_server_has_lost_end(
    server: RedisServer, on_redis: OnRedis, logged: Logged, busy: bool, noticed: bool
) -> None:
    agent = EndlessAgent() if busy else CommandedAgent()
    replicas = served, other = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    run_id = await served.start()
    async with following(run_id, served, other) as readers:
        for each in readers:
            await each.until(5 if busy else 1)
        if noticed:
            server.kill()
            await wait_ready(*replicas, expected=False)
        server.restart_empty()
        for each in readers:
            assert checked_end(await each.end()) in ("error", "gone")
    if isinstance(agent, CommandedAgent):
        assert agent.stopped == 1
    for replica in replicas:
        await wait_ready(replica)
        await assert_finished_or_unknown(replica, run_id)
        await assert_accepts_runs(replica)
    await logged.until("run lost")
    assert logged.fields("replica lost") == []


async def test_a_finished_run_that_the_server_has_lost_is_not_found(
    server: RedisServer, on_redis: OnRedis
) -> None:
    agent = CommandedAgent()
    agent.finish()
    served = await on_redis(agent)
    run_id = await served.start()
    await served.finished(run_id)
    server.restart_empty()
    await wait_ready(served)
    assert await status(served, f"/runs/{run_id}") == 404
    assert await status(served, f"/runs/{run_id}/events") == 404


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_request_to_cancel_is_refused_while_redis_is_away_and_works_again(
    server: RedisServer, on_redis: OnRedis
) -> None:
    agent = CommandedAgent()
    replicas = served, other = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    run_id = await served.start()
    server.kill()
    await wait_ready(*replicas, expected=False)
    async with other.client.delete(f"/runs/{run_id}") as response:
        assert response.status == 503
    server.start()
    await wait_ready(*replicas)
    async with asyncio.timeout(TIMEOUT_SECONDS), other.client.delete(f"/runs/{run_id}") as response:
        assert response.status == 200, await response.text()
    assert agent.stopped == 1
