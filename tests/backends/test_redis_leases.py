"""Leases: the runs of replicas that die, or seem to, are ended once, and no other run is."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dockrion.backends import Backend
from dockrion.backends.redis import RedisBackend
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.health import Health
from dockrion.backends.redis.keys import Command
from dockrion.backends.redis.reaper import BEATS_TO_DEATH
from dockrion.backends.redis.store import Store
from dockrion.backends.run_log import WaitingFor
from dockrion.background_tasks import BackgroundTasks
from dockrion.caller import NO_REQUEST, CallerRequest, current_request
from dockrion.errors import RunClosed, RunExists, ServiceUnavailable
from tests.backends.conformance import (
    MAX_EVENTS,
    TIMEOUT_SECONDS,
    Writer,
    begin,
    follow_all,
    new_run,
    read_all,
    sequences,
)
from tests.backends.service import Service, following, paused, sequences_of
from tests.servers import KINDS, RedisServer
from tests.support import wait_until

pytestmark = pytest.mark.usefixtures("fast_beats")


def beats(service: Service, backend: RedisBackend) -> int:
    return int(service.ask("HGET", service.keys.replicas, backend.replica) or 0)


async def some_beats(service: Service, backend: RedisBackend, number: int = 2 * BEATS_TO_DEATH) -> None:
    last = beats(service, backend) + number
    await wait_until(lambda: beats(service, backend) >= last)


async def finished(backend: Backend, run_id: str) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not (await backend.get(run_id)).finished:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def lost_runs(backend: Backend) -> AsyncIterator[list[str]]:
    received: list[str] = []

    async def listen() -> None:
        async for run in backend.lost_runs():
            received.append(run.run_id)  # noqa: PERF401  the test sees each as it arrives

    tasks = BackgroundTasks()
    tasks.start(listen())
    yield received
    await tasks.cancel_until_done()


async def test_the_runs_of_a_dead_replica_are_reaped_once(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    doomed, *survivors = await service.replicas(6)
    writers = [await begin(doomed, events=number) for number in range(1, 8)]
    writers += [await begin(doomed)]
    question = WaitingFor(request_id="q", prompt="?", expires_at=writers[0].run.created_at)
    await doomed.append(msgspec.structs.replace(writers[0].run, waiting_for=question), [])
    done = await begin(doomed, events=2)
    await done.finish()
    async with following(survivors[0], writers[0].run_id) as pages:
        await service.kill(doomed)
        for writer in writers:
            await finished(survivors[0], writer.run_id)
        await wait_until(lambda: sequences_of(pages) == [1, 2])
    await wait_until(lambda: doomed.replica not in service.alive())
    for writer in writers:
        last = writer.run.last_sequence + 1
        run = await survivors[1].get(writer.run_id)
        log = await read_all(survivors[2], writer.run_id)
        assert sequences(log) == list(range(1, last + 1))
        assert [entry.type for entry in log].count("error") == 1
        assert (run.status, run.last_sequence, run.waiting_for) == ("failed", last, None)
        assert run.error is not None
        assert run.error["code"] == "WORKER_LOST"
        data = msgspec.json.decode(log[-1].data)
        assert (data["code"], data["sequence"], data["run_id"]) == ("WORKER_LOST", last, writer.run_id)
    assert await survivors[0].get(done.run_id) == done.run
    logged = Counter(str(record.__dict__) for record in caplog.records if record.getMessage() == "run failed")
    assert sum(logged.values()) == len(writers)
    assert service.names().count(service.keys.owned(doomed.replica)) == 0
    assert service.names().count(service.keys.inbox(doomed.replica)) == 0


@pytest.mark.parametrize("cancelled", [False, True])
async def test_lines_about_the_runs_of_a_dead_replica_have_the_ids_of_their_requests(
    service: Service, caplog: pytest.LogCaptureFixture, cancelled: bool
) -> None:
    caplog.set_level(logging.INFO)
    requests: dict[str, CallerRequest] = {}
    caplog.handler.addFilter(lambda record: bool(requests.setdefault(record.getMessage(), current_request())))
    doomed, survivor = await service.replicas(2)
    run = msgspec.structs.replace(new_run(), request_id="req-1", traceparent="00-trace")
    await doomed.create(run)
    await Writer(doomed, run).write(1)
    async with paused(doomed):
        if cancelled:
            await survivor.request_cancel(run.run_id, "enough")
        await finished(survivor, run.run_id)
    line = "run cancelled" if cancelled else "run failed"
    await wait_until(lambda: line in requests)
    assert requests[line] == run.request
    assert current_request() == NO_REQUEST


async def test_a_replica_declared_dead_can_no_longer_write(service: Service) -> None:
    suspect, survivor = await service.replicas(2)
    writer = await begin(suspect, events=2)
    async with lost_runs(suspect) as lost:
        async with paused(suspect):
            await finished(survivor, writer.run_id)
            with pytest.raises(RunClosed):
                await writer.write()
            with pytest.raises(RunClosed):
                await Writer(suspect, writer.run).finish()
        await wait_until(lambda: lost)
    assert set(lost) == {writer.run_id}
    assert sequences(await read_all(survivor, writer.run_id)) == [1, 2, 3]


async def test_a_lost_run_is_reported_once_and_released(service: Service) -> None:
    suspect, survivor = await service.replicas(2)
    writer = await begin(suspect, events=2)
    async with lost_runs(suspect) as lost:
        async with paused(suspect):
            await finished(survivor, writer.run_id)
        await wait_until(lambda: lost)
        await some_beats(service, suspect)
        assert lost == [writer.run_id]
    assert suspect._leases._owned == {}


async def test_a_replica_declared_dead_continues(service: Service) -> None:
    suspect, survivor = await service.replicas(2)
    async with paused(suspect):
        await wait_until(lambda: suspect.replica not in service.alive())
    await wait_until(lambda: suspect.replica in service.alive())
    writer = await begin(suspect, events=2)
    async with following(survivor, writer.run_id) as pages:
        await some_beats(service, survivor)
        await writer.finish()
        await wait_until(lambda: sequences_of(pages) == [1, 2, 3])


async def test_the_runs_of_a_paused_replica_that_nobody_reaped_continue(service: Service) -> None:
    suspect = await service.replica()
    writer = await begin(suspect, events=2)
    async with paused(suspect):
        await writer.write()
    await some_beats(service, suspect)
    await writer.finish()
    assert writer.run == await suspect.get(writer.run_id)


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_run_that_was_not_reaped_is_found_when_its_owner_really_dies(
    service: Service, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """The owner writes between a survivor's read of the record and its append."""
    suspect, survivor = await service.replicas(2)
    writer = await begin(suspect, events=2)
    get, written = Store.get, asyncio.Event()

    async def slow(store: Store, run_id: str) -> object:
        run = await get(store, run_id)
        if writer.run.last_sequence == 2:
            await writer.write()
            written.set()
        return run

    monkeypatch.setattr(Store, "get", slow)
    async with paused(suspect):
        await wait_until(written.is_set)
        if at_once:
            await service.kill(suspect)
    if not at_once:
        await some_beats(service, suspect)
        await service.kill(suspect)
    await finished(survivor, writer.run_id)


async def test_a_refused_creation_does_not_hide_a_dead_replica(service: Service) -> None:
    doomed, survivor = await service.replicas(2)
    existing = [await begin(survivor, events=1) for _ in range(5)]
    async with paused(doomed):
        for each in existing:
            with pytest.raises(RunExists):
                await doomed.create(new_run(each.run_id))
        writers = [await begin(doomed, events=1) for _ in range(5)]
        await service.kill(doomed)
    await some_beats(service, survivor, 6 * BEATS_TO_DEATH)
    assert [(await survivor.get(writer.run_id)).status for writer in writers] == ["failed"] * 5
    for each in existing:
        await each.finish()


async def test_a_creation_refused_during_a_heartbeat_is_removed_by_the_next(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica, other = await service.replicas(2)
    existing = await begin(other)
    owned = service.keys.owned(replica.replica)
    removed, reply = asyncio.Event(), asyncio.Event()
    send_background = RedisClient.send_background

    async def delay_reply(client: RedisClient, *commands: Command, **more: Any) -> list[Any]:
        replies = await send_background(client, *commands, **more)
        if any(owned in command and existing.run_id in command for command in commands):
            removed.set()
            await reply.wait()
        return replies

    async def refused() -> None:
        with pytest.raises(RunExists):
            await replica.create(new_run(existing.run_id))

    monkeypatch.setattr(RedisClient, "send_background", delay_reply)
    await refused()
    await removed.wait()
    await refused()
    assert service.ask("SMEMBERS", owned) == {existing.run_id.encode()}
    reply.set()
    await wait_until(lambda: not service.ask("SMEMBERS", owned))
    await existing.finish()


async def test_a_creation_that_meets_a_key_of_another_type_leaves_no_registration(service: Service) -> None:
    replica = await service.replica()
    run = new_run()
    service.ask("SET", service.keys.log(run.run_id)[0], "of another type", "EX", 60)
    with pytest.raises(ServiceUnavailable):
        await replica.create(run)
    await wait_until(lambda: not service.ask("SMEMBERS", service.keys.owned(replica.replica)))


async def test_a_slow_replica_is_not_declared_dead(service: Service) -> None:
    slow, survivor = await service.replicas(2)
    writer = await begin(slow, events=1)
    for _ in range(4):
        async with paused(slow):
            await some_beats(service, survivor, 2)
        assert slow.replica in service.alive()
    assert not (await survivor.get(writer.run_id)).finished
    await writer.finish()


@pytest.mark.parametrize("kind", KINDS)
async def test_no_replica_is_declared_dead_while_redis_is_away(kind: str, tmp_path: Path) -> None:
    with RedisServer(kind, tmp_path, aof=True) as server:
        replicas = [
            RedisBackend(server.url, agent="away", max_events=MAX_EVENTS, ttl=60, max_run_duration=60)
            for _ in range(3)
        ]
        writers = [await begin(each, events=1) for each in replicas]
        key = "dockrion:away:{service}:replicas"
        await wait_until(lambda: server.command("HLEN", key) == 3)
        server.kill()
        states = [each._client.health for each in replicas]
        await wait_until(lambda: all(each.state is Health.UNREACHABLE for each in states))
        await asyncio.sleep(0.05 * 3 * BEATS_TO_DEATH)
        server.start()
        await wait_until(lambda: all(each.state is not Health.UNREACHABLE for each in states))
        counts = [int(count) for count in server.command("HVALS", key)]
        await wait_until(lambda: min(map(int, server.command("HVALS", key))) > max(counts) + BEATS_TO_DEATH)
        for writer in writers:
            await writer.finish()
        for each in replicas:
            await each.aclose()


async def test_deregistering_leaves_nothing(service: Service) -> None:
    one, other = await service.replicas(2)
    writer = await begin(one, events=2)
    await writer.finish()
    async with one.watch(writer.run_id, limit=3):
        pass
    await service.close(one)
    assert service.alive() == {other.replica}
    assert not [name for name in service.names() if one.replica in name]
    assert service.readers(writer.run_id) == {}


async def test_runs_that_had_not_ended_at_shutdown_are_reaped(service: Service) -> None:
    leaver, survivor = await service.replicas(2)
    writer = await begin(leaver, events=2)
    await service.close(leaver)
    await finished(survivor, writer.run_id)
    await wait_until(lambda: service.alive() == {survivor.replica})


async def test_a_replica_that_starts_later_reaps_them(service: Service) -> None:
    leaver = await service.replica()
    writer = await begin(leaver, events=2)
    await service.kill(leaver)
    late = await service.replica()
    await finished(late, writer.run_id)


@pytest.mark.usefixtures("fast_beats")
async def test_a_run_whose_first_creation_failed_is_still_found_when_its_owner_dies(service: Service) -> None:
    one, other = await service.replicas(2)
    run = new_run()
    one._leases.discard(run)  # the next heartbeat removes it from the set
    await one.create(run)
    service.ask("SREM", service.keys.owned(one.replica), run.run_id)
    members = service.keys.owned(one.replica)
    await wait_until(lambda: service.ask("SMEMBERS", members) == {run.run_id.encode()})
    await service.kill(one)
    assert [event.type for event in await follow_all(other, run.run_id)] == ["error"]


@pytest.mark.usefixtures("fast_beats")
async def test_a_creation_that_was_never_sent_does_not_end_the_run_of_that_name(service: Service) -> None:
    one = await service.replica()
    run = new_run()
    one._leases.unconfirmed.add(new_run(run.run_id), one.replica)
    await one.create(run)
    one._leases.unconfirmed.add(new_run(run.run_id), one.replica)
    await wait_until(lambda: not one._leases.unconfirmed)
    assert not (await one.get(run.run_id)).finished
    assert service.ask("SMEMBERS", service.keys.owned(one.replica)) == {run.run_id.encode()}
