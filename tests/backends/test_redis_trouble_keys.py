"""Keys of a live run are deleted, or replaced by keys of another type."""

import asyncio
from collections.abc import Callable

import pytest

from dockrion.backends import follow
from dockrion.backends.redis import RedisBackend
from dockrion.backends.redis.keys import Keys
from dockrion.backends.redis.leases import Heartbeat
from tests.backends.trouble import (
    CommandedAgent,
    Logged,
    OnRedis,
    assert_accepts_runs,
    assert_complete,
    assert_finished_or_unknown,
    checked_end,
    following,
    ready,
    wait_ready,
)
from tests.servers import RedisServer
from tests.support import Reader, Served, sequences, wait_until

KEYS = Keys("tested")
# Keys whose loss is a loss of events.
OF_THE_RUN: dict[str, Callable[[str], str]] = {
    "run": KEYS.run,
    "events": lambda run_id: KEYS.log(run_id)[1],
}
# Keys that the service can restore.
OF_THE_SERVICE: dict[str, Callable[[str, str], str]] = {
    "watchers": lambda run_id, _replica: KEYS.watchers(run_id),
    "control": lambda _run_id, replica: KEYS.inbox(replica),
    "owned": lambda _run_id, replica: KEYS.owned(replica),
    "replicas": lambda _run_id, _replica: KEYS.replicas,
    "runs": lambda _run_id, _replica: KEYS.runs,
    "expiry": lambda _run_id, _replica: KEYS.expiry,
    "format": lambda _run_id, _replica: KEYS.format,
    "declarations": lambda _run_id, _replica: KEYS.declarations,
    "ping": lambda _run_id, _replica: KEYS.ping,
}


def replica(served: Served) -> str:
    backend = served.service.backend
    assert isinstance(backend, RedisBackend)
    return backend.replica


def delete(server: RedisServer, *keys: str) -> None:
    server.command("DEL", *keys)


def replace(server: RedisServer, *keys: str) -> None:
    """Replace keys by keys of another type."""
    for key in keys:
        server.command("DEL", key)
        server.command("GEOADD", key, 0, 0, "something else")
        server.command("EXPIRE", key, 600)


async def beats(served: Served, count: int) -> None:
    """Make a service do so many rounds of background work."""
    backend = served.service.backend
    assert isinstance(backend, RedisBackend)
    done: list[None] = []
    work = backend._leases.beat

    async def counted() -> Heartbeat:
        done.append(None)
        return await work()

    def has_worked() -> bool:
        backend._client.health.failure_seen.set()
        return len(done) > count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend._leases, "beat", counted)
        await wait_until(has_worked)


async def readiness_is_true(served: Served) -> None:
    """Check that a service that is ready accepts runs, and one that is not refuses them."""
    if await ready(served):
        await assert_accepts_runs(served)
        return
    async with served.client.post("/runs", json={}) as response:
        assert response.status == 503, await response.text()


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
            assert checked_end(await reader.end()) in ("error", "gone")
    await logged.until("run lost")
    assert agent.stopped == 1
    for each in replicas:
        await assert_finished_or_unknown(each, run_id)
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
                assert checked_end(messages) == "complete"
                assert sequences(messages) == list(range(6, 11))
    assert (await other.record(run_id))["output"] == {"emitted": 8}


@pytest.mark.parametrize(("server", "after"), [("redis", 0), ("valkey", 3)], indirect=["server"])
async def test_a_stream_of_a_finished_run_whose_events_are_deleted_ends(
    server: RedisServer, on_redis: OnRedis, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_RECREATED_SECONDS", 0.5)
    agent = CommandedAgent()
    agent.emit(4)
    agent.finish()
    served = await on_redis(agent)
    run_id = await served.start()
    await served.finished(run_id)
    delete(server, KEYS.log(run_id)[1])
    async with served.client.get(f"/runs/{run_id}/events?from_sequence={after}") as response:
        assert response.status in (200, 204, 404)
        if response.status == 200:
            assert checked_end(await Reader(response).all()) in ("complete", "gone")


@pytest.mark.parametrize("name", OF_THE_SERVICE)
@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_deleted_keys_of_the_service_are_restored_unnoticed(
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
async def test_a_cancel_request_arrives_though_its_message_is_lost(
    server: RedisServer, on_redis: OnRedis
) -> None:
    agent = CommandedAgent()
    replicas = served, other = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    run_id = await served.start()
    delete(server, *(KEYS.inbox(replica(each)) for each in replicas), KEYS.watchers(run_id))
    async with other.client.delete(f"/runs/{run_id}") as response:
        assert response.status == 200, await response.text()
    assert agent.stopped == 1


@pytest.mark.parametrize(
    ("server", "name", "busy"),
    [("redis", "run", True), ("valkey", "run", False), ("redis", "events", True), ("valkey", "events", True)],
    indirect=["server"],
)
async def test_a_run_with_a_key_of_another_type_ends(
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
                assert checked_end(await reader.end()) in ("error", "gone")
        await wait_until(lambda: agent.stopped)
        bystander.emit(3)
        bystander.finish()
        for reader in others:
            assert_complete(await reader.end(), 5)
    for each in replicas:
        await assert_finished_or_unknown(each, run_id)
        await assert_accepts_runs(each)
    assert len(logged.tracebacks()) <= 2


@pytest.mark.parametrize("name", OF_THE_SERVICE)
@pytest.mark.parametrize("server", ["redis"], indirect=True)
async def test_keys_of_another_type_are_logged_once_and_no_reader_hangs(
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
            await readiness_is_true(each)
        delete(server, *(OF_THE_SERVICE[name](run_id, replica(each)) for each in replicas))
        for reader in readers:
            assert checked_end(await reader.end()) in ("complete", "error", "gone")
    for each in replicas:
        await wait_ready(each)
        await assert_accepts_runs(each)
    assert len(logged.tracebacks()) <= 2
