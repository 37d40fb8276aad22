"""Somebody deletes keys under a run, or puts something else in their place."""

import asyncio
from collections.abc import Callable

import pytest

from dockrion.backends.redis import RedisBackend
from dockrion.backends.redis.keys import Keys
from tests.backends.trouble import (
    CommandedAgent,
    Logged,
    OnRedis,
    assert_accepts_runs,
    assert_complete,
    assert_loss_reported,
    assert_run_over,
    following,
    ready,
    wait_ready,
)
from tests.servers import RedisServer
from tests.support import Reader, Served, sequences, wait_until

KEYS = Keys("tested")
# What a run's readers get by means of: without it, they lose something.
OF_THE_RUN: dict[str, Callable[[str], str]] = {
    "run": KEYS.run,
    "events": lambda run_id: KEYS.log(run_id)[1],
}
# What can be made anew.
OF_THE_SERVICE: dict[str, Callable[[str, str], str]] = {
    "watchers": lambda run_id, _replica: KEYS.watchers(run_id),
    "control": lambda _run_id, replica: KEYS.inbox(replica),
    "owned": lambda _run_id, replica: KEYS.owned(replica),
    "replicas": lambda _run_id, _replica: KEYS.replicas,
    "runs": lambda _run_id, _replica: KEYS.runs,
    "expiry": lambda _run_id, _replica: KEYS.expiry,
    "ping": lambda _run_id, _replica: KEYS.ping,
}


def replica(served: Served) -> str:
    backend = served.service.backend
    assert isinstance(backend, RedisBackend)
    return backend.replica


def delete(server: RedisServer, *keys: str) -> None:
    server.command("DEL", *keys)


def replace(server: RedisServer, *keys: str) -> None:
    """Put a type in the place of each key that is none of ours."""
    for key in keys:
        server.command("DEL", key)
        server.command("GEOADD", key, 0, 0, "something else")
        server.command("EXPIRE", key, 600)


async def beats(served: Served, count: int) -> None:
    """Make a service's keeper work, and wait until it has, so many times."""
    backend = served.service.backend
    assert isinstance(backend, RedisBackend)
    done: list[None] = []
    work = backend._leases.beat

    async def counted() -> bool:
        done.append(None)
        return await work()

    def kept_at_work() -> bool:
        backend._client.health.failure_seen.set()
        return len(done) > count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend._leases, "beat", counted)
        await wait_until(kept_at_work)


async def tells_the_truth(served: Served) -> None:
    """Check that a service that is ready takes runs, and one that is not refuses them."""
    if await ready(served):
        await assert_accepts_runs(served)
        return
    async with served.client.post("/runs", json={}) as answer:
        assert answer.status == 503, await answer.text()


@pytest.mark.parametrize("busy", [True, False])
async def test_a_run_whose_record_is_deleted_is_ended(
    server: RedisServer, on_redis: OnRedis, logged: Logged, busy: bool
) -> None:
    agent = CommandedAgent()
    replicas = served, _ = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    run_id = await served.start()
    agent.emit(4)
    async with following(run_id, *replicas) as readers:
        for reader in readers:
            await reader.until(5)
        delete(server, KEYS.run(run_id))
        if busy:
            agent.emit(4)
        for reader in readers:
            assert assert_loss_reported(await reader.end()) in ("error", "gone")
    assert agent.stopped == 1
    assert len(logged.fields("run lost")) == 1
    for each in replicas:
        await assert_run_over(each, run_id)
        await assert_accepts_runs(each)


async def test_a_run_whose_events_are_deleted_goes_on(server: RedisServer, on_redis: OnRedis) -> None:
    agent = CommandedAgent()
    replicas = served, other = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    run_id = await served.start()
    agent.emit(4)
    async with following(run_id, *replicas) as readers:
        for reader in readers:
            await reader.until(5)
        delete(server, KEYS.log(run_id)[1])
        async with following(run_id, *replicas) as late:
            agent.emit(4)
            agent.finish()
            for reader in readers:
                assert_complete(await reader.end(), 10)
            for reader in late:
                messages = await reader.end()
                assert assert_loss_reported(messages) == "complete"
                assert sequences(messages) == list(range(6, 11))
    assert (await other.record(run_id))["output"] == {"emitted": 8}


@pytest.mark.parametrize(("server", "after"), [("redis", 0), ("valkey", 3)], indirect=["server"])
async def test_a_finished_run_whose_events_are_deleted_has_an_end(
    server: RedisServer, on_redis: OnRedis, after: int
) -> None:
    agent = CommandedAgent()
    agent.emit(4)
    agent.finish()
    served = await on_redis(agent)
    run_id = await served.start()
    await served.finished(run_id)
    delete(server, KEYS.log(run_id)[1])
    async with served.client.get(f"/runs/{run_id}/events?from_sequence={after}") as answer:
        assert answer.status in (200, 204, 404)
        if answer.status == 200:
            assert assert_loss_reported(await Reader(answer).all()) in ("complete", "gone")


@pytest.mark.parametrize("name", OF_THE_SERVICE)
@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_keys_that_can_be_made_anew_are_missed_by_nobody(
    server: RedisServer, on_redis: OnRedis, logged: Logged, name: str
) -> None:
    agent = CommandedAgent()
    replicas = served, _ = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    run_id = await served.start()
    agent.emit(4)
    async with following(run_id, *replicas) as readers:
        for reader in readers:
            await reader.until(5)
        delete(server, *(OF_THE_SERVICE[name](run_id, replica(each)) for each in replicas))
        agent.emit(4)
        for reader in readers:
            await reader.until(9)
        for each in replicas:
            assert await ready(each)
            await assert_accepts_runs(each)
        agent.finish()
        for reader in readers:
            assert_complete(await reader.end(), 10)
    assert logged.fields("replica lost") == logged.fields("run lost") == []
    assert logged.tracebacks() == []


@pytest.mark.parametrize("server", ["redis"], indirect=True)
async def test_a_cancel_is_heard_though_nobody_could_be_told(server: RedisServer, on_redis: OnRedis) -> None:
    agent = CommandedAgent()
    replicas = served, other = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    run_id = await served.start()
    delete(server, *(KEYS.inbox(replica(each)) for each in replicas), KEYS.watchers(run_id))
    async with other.client.delete(f"/runs/{run_id}") as answer:
        assert answer.status == 200, await answer.text()
    assert agent.stopped == 1


@pytest.mark.parametrize(
    ("server", "name", "busy"),
    [("redis", "run", True), ("valkey", "run", False), ("redis", "events", True), ("valkey", "events", True)],
    indirect=["server"],
)
async def test_a_run_with_a_key_of_another_type_has_an_end(
    server: RedisServer, on_redis: OnRedis, logged: Logged, name: str, busy: bool
) -> None:
    agent, bystander = CommandedAgent(), CommandedAgent()
    replicas = served, _ = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    run_id = await served.start()
    agent.emit(4)
    served.use(bystander)
    unharmed = await served.start()
    async with following(unharmed, *replicas) as others:
        async with following(run_id, *replicas) as readers:
            for reader in readers:
                await reader.until(5)
            replace(server, OF_THE_RUN[name](run_id))
            if busy:
                agent.emit(4)
            for reader in readers:
                assert assert_loss_reported(await reader.end()) in ("error", "gone")
        await wait_until(lambda: agent.stopped)
        bystander.emit(3)
        bystander.finish()
        for reader in others:
            assert_complete(await reader.end(), 5)
    for each in replicas:
        await assert_run_over(each, run_id)
        await assert_accepts_runs(each)
    assert len(logged.tracebacks()) <= 2


@pytest.mark.parametrize("name", OF_THE_SERVICE)
@pytest.mark.parametrize("server", ["redis"], indirect=True)
async def test_keys_of_another_type_are_told_once_and_no_reader_hangs(
    server: RedisServer, on_redis: OnRedis, logged: Logged, name: str
) -> None:
    agent = CommandedAgent()
    replicas = served, _ = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    run_id = await served.start()
    agent.emit(4)
    async with following(run_id, *replicas) as readers:
        for reader in readers:
            await reader.until(5)
        replace(server, *(OF_THE_SERVICE[name](run_id, replica(each)) for each in replicas))
        agent.emit(4)
        agent.finish()
        await asyncio.gather(*(beats(each, 4) for each in replicas))
        for each in replicas:
            await tells_the_truth(each)
        delete(server, *(OF_THE_SERVICE[name](run_id, replica(each)) for each in replicas))
        for reader in readers:
            assert assert_loss_reported(await reader.end()) in ("complete", "error", "gone")
    for each in replicas:
        await wait_ready(each)
        await assert_accepts_runs(each)
    assert len(logged.tracebacks()) <= 2
