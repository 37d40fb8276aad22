"""The work queue in Redis: who takes a waiting run, and that none is lost or taken twice."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from dockrion.backends.redis import RedisBackend, health
from dockrion.backends.redis.client import RedisClient
from dockrion.backends.redis.keys import POP, TAKE, Command
from dockrion.backends.run_log import Run
from dockrion.backends.work_queue import TakenRun, next_attempt
from dockrion.errors import RunClosed, RunExists, SequenceConflict, ServiceUnavailable, TooManyRuns
from tests.backends.conformance import advanced, entries, new_run, read_all
from tests.backends.service import Service
from tests.support import wait_until


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    time = staticmethod(time.time)


JOB = b"\x00job\xff"


def not_in_flight(_run_id: str) -> bool:
    return False


async def enqueued(backend: RedisBackend, *, max_attempts: int = 1) -> Run:
    run = new_run(max_attempts=max_attempts)
    await backend.queue.enqueue(run, JOB, 100)
    return run


async def take(backend: RedisBackend, slots: int) -> list[TakenRun]:
    return await backend.queue.take(slots, not_in_flight)


async def arrival(backend: RedisBackend) -> None:
    """Wait until a replica is told to look at the queue."""
    async with asyncio.timeout(20):
        async for _ in backend.queue.arrivals():
            return


async def taken_eventually(backend: RedisBackend) -> TakenRun:
    while not (taken := await take(backend, 1)):
        await arrival(backend)
    return taken[0]


async def begin_taken(backend: RedisBackend, taken: TakenRun, attempt: int = 1) -> Run:
    run = msgspec.structs.replace(
        taken.run, started_at=taken.run.started_at or datetime.now(UTC), attempt=attempt
    )
    run = advanced(run, run.last_sequence + 1, "running")
    await backend.append(run, entries(run.last_sequence, run.last_sequence, "started"))
    return run


def stored_job(service: Service, run: Run) -> bytes | None:
    job: bytes | None = service.ask("HGET", service.keys.run(run.run_id), "job")
    return job


async def test_runs_are_taken_once_and_the_oldest_first(service: Service) -> None:
    one, other = await service.replicas(2)
    runs = [await enqueued(one) for _ in range(5)]
    assert (await one.get(runs[0].run_id)).status == "accepted"
    batches = [await take(other, 2), await take(one, 2), await take(other, 2)]
    assert [[each.run for each in batch] for batch in batches] == [runs[:2], runs[2:4], runs[4:]]
    assert {each.job for batch in batches for each in batch} == {JOB}
    assert await take(one, 1) == []


async def test_each_run_is_taken_once_by_many_at_the_same_time(service: Service) -> None:
    replicas = await service.replicas(3)
    runs = [await enqueued(replicas[0]) for _ in range(30)]
    batches = await asyncio.gather(*(take(each, 4) for each in replicas * 4))
    taken = [each.run.run_id for batch in batches for each in batch]
    assert sorted(taken) == sorted(run.run_id for run in runs)


async def test_the_limit_holds_over_all_replicas(service: Service) -> None:
    one, other = await service.replicas(2)
    await one.queue.enqueue(new_run(), JOB, 2)
    await other.queue.enqueue(new_run(), JOB, 2)
    refused = new_run()
    with pytest.raises(TooManyRuns):
        await one.queue.enqueue(refused, JOB, 2)
    assert not service.ask("EXISTS", service.keys.run(refused.run_id))
    await take(one, 1)
    await one.queue.enqueue(refused, JOB, 2)


async def test_an_id_that_exists_is_refused_and_leaves_no_place_in_the_queue(service: Service) -> None:
    one, other = await service.replicas(2)
    run = await enqueued(one)
    with pytest.raises(RunExists):
        await other.queue.enqueue(new_run(run.run_id), JOB, 100)
    assert (await one.queue.queue_state()).length == 1
    assert [each.run for each in await take(other, 5)] == [run]


async def test_the_state_of_the_queue_says_how_many_wait_how_long_and_how_large_they_are(
    service: Service,
) -> None:
    one = await service.replica()
    empty = await one.queue.queue_state()
    assert (empty.length, empty.oldest_seconds, empty.payload_bytes) == (0, 0, 0)
    for _ in range(3):
        await enqueued(one)
    state = await one.queue.queue_state()
    assert (state.length, state.payload_bytes) == (3, 3 * len(JOB))
    assert 0 <= state.oldest_seconds < 60
    await take(one, 2)
    assert (await one.queue.queue_state()).payload_bytes == len(JOB)


async def test_the_job_is_kept_until_the_run_has_begun(service: Service) -> None:
    one = await service.replica()
    run = await enqueued(one)
    (taken,) = await take(one, 1)
    assert stored_job(service, run) == JOB
    await begin_taken(one, taken)
    assert stored_job(service, run) is None


async def test_the_job_of_a_run_with_further_attempts_is_kept_until_its_end(service: Service) -> None:
    one = await service.replica()
    run = await enqueued(one, max_attempts=2)
    (taken,) = await take(one, 1)
    begun = await begin_taken(one, taken)
    assert stored_job(service, run) == JOB
    await one.append(advanced(begun, 2, "completed"), entries(2, 2, "complete"))
    assert stored_job(service, run) is None


@pytest.mark.usefixtures("single_beat")  # else a heartbeat tells it too
async def test_an_idle_replica_is_told_of_a_run(service: Service) -> None:
    one, idle = await service.replicas(2)
    assert await take(idle, 1) == []
    arrived = asyncio.ensure_future(arrival(idle))
    run = await enqueued(one)
    await arrived
    assert [each.run for each in await take(idle, 1)] == [run]


@pytest.mark.usefixtures("single_beat")  # else a heartbeat tells both
async def test_a_replica_without_a_slot_lets_another_one_take_the_run(service: Service) -> None:
    one, *idle = await service.replicas(3)
    for each in idle:
        assert await take(each, 1) == []
    arrivals = {asyncio.ensure_future(arrival(each)): each for each in idle}
    await enqueued(one)
    (told,), (other,) = await asyncio.wait(arrivals, return_when=asyncio.FIRST_COMPLETED)
    await arrivals[told].queue.decline()
    await other
    assert len(await take(arrivals[other], 1)) == 1


async def test_a_waiting_run_is_cancelled_from_any_replica_at_once(service: Service) -> None:
    one, other = await service.replicas(2)
    run = await enqueued(one)
    async with other.watch(run.run_id) as watch:
        await other.request_cancel(run.run_id, "enough")
        assert await watch.wait(10)
    stored = await one.get(run.run_id)
    assert (stored.status, stored.metadata["reason"], stored.last_sequence) == ("cancelled", "enough", 1)
    page = await one.read(run.run_id, 0, 10)
    assert [entry.type for entry in page.entries] == ["cancelled"]
    assert page.closed
    assert (await one.queue.queue_state()).length == 0
    assert stored_job(service, run) is None
    assert await take(one, 1) == []


async def test_a_cancel_that_arrives_while_a_run_is_taken_reaches_the_taker(service: Service) -> None:
    one = await service.replica()
    run = await enqueued(one)
    service.ask("HSET", service.keys.run(run.run_id), "cancel", '"late"')
    (taken,) = await take(one, 1)
    assert taken.cancel is not None
    assert (taken.cancel.run_id, taken.cancel.reason) == (run.run_id, "late")


async def test_a_request_to_the_owner_of_a_waiting_run_is_refused_at_once(service: Service) -> None:
    one = await service.replica()
    run = await enqueued(one)
    with pytest.raises(ServiceUnavailable, match="waits for a slot"):
        await one.request_owner(run.run_id, b"{}")


@pytest.mark.usefixtures("fast_beats")
async def test_what_a_dead_replica_has_taken_counts_as_begun(service: Service) -> None:
    one, other = await service.replicas(2)
    runs = [await enqueued(other), await enqueued(other, max_attempts=2)]
    assert len(await take(one, 2)) == 2
    await service.kill(one)
    again = await taken_eventually(other)
    assert (again.run.run_id, again.run.attempt, again.run.previous) == (runs[1].run_id, 2, "worker_lost")
    assert (await begin_taken(other, again, attempt=2)).last_sequence == 1
    await wait_until(lambda: one.replica not in service.alive())  # in any order, both are ended by then
    ended = await other.get(runs[0].run_id)
    assert (ended.status, ended.error and ended.error["code"]) == ("failed", "WORKER_LOST")


@pytest.mark.usefixtures("fast_beats")
async def test_what_was_popped_but_not_taken_is_offered_again(service: Service) -> None:
    one, other = await service.replicas(2)
    run = await enqueued(other)
    entry = service.ask("ZRANGE", service.keys.queue, 0, 0)[0]
    service.ask("ZREM", service.keys.queue, entry)
    service.ask("SADD", service.keys.owned(one.replica), run.run_id)
    again = await taken_eventually(other)
    assert again.run == run


@pytest.mark.usefixtures("fast_beats")
async def test_a_run_with_further_attempts_is_begun_again_after_the_death_of_its_owner(
    service: Service,
) -> None:
    one, other = await service.replicas(2)
    await enqueued(other, max_attempts=2)
    (taken,) = await take(one, 1)
    begun = await begin_taken(one, taken)
    await service.kill(one)
    again = await taken_eventually(other)
    assert (again.run.attempt, again.run.previous, again.run.status) == (2, "worker_lost", "accepted")
    assert again.run.last_sequence == 1
    assert again.run.started_at == begun.started_at
    second = await begin_taken(other, again, attempt=2)
    await service.kill(other)
    third = await service.replica()
    await wait_until(lambda: other.replica not in service.alive())
    ended = await third.get(second.run_id)
    assert (ended.status, ended.error and ended.error["code"]) == ("failed", "WORKER_LOST")


@pytest.mark.usefixtures("fast_beats")
async def test_a_cancelled_run_of_a_dead_replica_is_not_begun_again(service: Service) -> None:
    one, other = await service.replicas(2)
    await enqueued(other, max_attempts=3)
    (taken,) = await take(one, 1)
    run = await begin_taken(one, taken)
    service.ask("HSET", service.keys.run(run.run_id), "cancel", '"enough"')
    await service.kill(one)
    await wait_until(lambda: one.replica not in service.alive())
    ended = await other.get(run.run_id)
    assert (ended.status, ended.metadata["reason"]) == ("cancelled", "enough")
    assert (await read_all(other, run.run_id))[-1].type == "cancelled"


@pytest.mark.usefixtures("fast_beats")
@pytest.mark.parametrize(("waiting_counts", "status"), [(True, "failed"), (False, "accepted")])
async def test_a_run_that_has_lasted_too_long_is_not_begun_again(
    service: Service, waiting_counts: bool, status: str
) -> None:
    one, other = [await service.replica(waiting_counts=waiting_counts) for _ in range(2)]
    await enqueued(other, max_attempts=3)
    (taken,) = await take(one, 1)
    long_ago = datetime.now(UTC) - timedelta(days=1)
    record = msgspec.structs.replace(taken.run, started_at=long_ago)
    run = await begin_taken(one, msgspec.structs.replace(taken, run=record))
    await service.kill(one)
    await wait_until(lambda: one.replica not in service.alive())
    assert (await other.get(run.run_id)).status == status


async def test_a_released_run_refuses_what_its_owner_writes(service: Service) -> None:
    one, other = await service.replicas(2)
    await enqueued(one, max_attempts=2)
    (taken,) = await take(one, 1)
    run = await begin_taken(one, taken)
    assert await one.queue.release(next_attempt(run, "shutdown"))
    with pytest.raises(SequenceConflict):
        await one.append(advanced(run, 2), entries(2, 2))
    again = await taken_eventually(other)
    assert (again.run.attempt, again.run.previous) == (2, "shutdown")
    with pytest.raises(SequenceConflict):
        await one.append(advanced(run, 2), entries(2, 2))
    await begin_taken(other, again, attempt=2)


async def test_a_run_that_waits_again_is_taken_before_new_ones(service: Service) -> None:
    one = await service.replica()
    older = await enqueued(one, max_attempts=2)
    (taken,) = await take(one, 1)
    run = await begin_taken(one, taken)
    newer = [await enqueued(one) for _ in range(2)]
    assert await one.queue.release(next_attempt(run, "shutdown"))
    state = await one.queue.queue_state()
    assert state.length == 3
    assert state.oldest_seconds < 60
    assert [each.run.run_id for each in await take(one, 3)] == [
        older.run_id,
        *(each.run_id for each in newer),
    ]


async def test_a_run_without_a_job_cannot_be_released(service: Service) -> None:
    one = await service.replica()
    run = new_run()
    await one.create(run)
    assert not await one.queue.release(next_attempt(run, "shutdown"))
    await one.append(advanced(run, 1, "completed"), entries(1, 1, "complete"))


async def test_a_replica_leaves_a_run_to_others_whose_earlier_attempt_it_still_works_on(
    service: Service,
) -> None:
    one, other = await service.replicas(2)
    run = await enqueued(one)
    assert await one.queue.take(1, lambda run_id: run_id == run.run_id) == []
    assert (await taken_eventually(other)).run == run


async def test_a_finished_run_is_not_taken(service: Service) -> None:
    one = await service.replica()
    run = await enqueued(one)
    entry = service.ask("ZRANGE", service.keys.queue, 0, 0)[0]
    await one.request_cancel(run.run_id, None)
    service.ask("ZADD", service.keys.queue, 0, entry)
    assert await take(one, 1) == []
    with pytest.raises(RunClosed):
        await one.append(advanced(run, 2), entries(2, 2))


async def test_a_run_that_is_taken_is_not_taken_again_though_it_is_listed_again(service: Service) -> None:
    one, other = await service.replicas(2)
    await enqueued(one)
    entry = service.ask("ZRANGE", service.keys.queue, 0, 0)[0]
    (taken,) = await take(one, 1)
    service.ask("ZADD", service.keys.queue, 0, entry)
    assert await take(other, 1) == []
    run = await begin_taken(one, taken)
    assert await other.get(run.run_id) == run


@pytest.mark.usefixtures("fast_beats")
async def test_a_reservation_whose_creator_died_leads_to_nothing(service: Service) -> None:
    one = await service.replica()
    service.ask("ZADD", service.keys.queue, 0, "1:nobody")
    assert await take(one, 1) == []
    owned = service.keys.owned(one.replica)
    await wait_until(lambda: not service.ask("SISMEMBER", owned, "nobody"))


async def test_a_large_job_is_taken_whole(service: Service) -> None:
    one = await service.replica()
    run, job = new_run(), bytes(range(256)) * 4096
    await one.queue.enqueue(run, job, 10)
    small = await enqueued(one)
    assert {each.run.run_id: each.job for each in await take(one, 5)} == {
        run.run_id: job,
        small.run_id: JOB,
    }


@pytest.mark.usefixtures("fast_beats")
async def test_what_cannot_be_taken_now_is_taken_later(service: Service) -> None:
    one = await service.replica()
    small, large = await enqueued(one), new_run()
    await one.queue.enqueue(large, bytes(1024 * 1024), 10)
    with patch.object(RedisClient, "send_large", side_effect=ServiceUnavailable("away")):
        assert [each.run for each in await take(one, 2)] == [small]
    assert (await taken_eventually(one)).run == large


async def test_a_cancel_of_another_incarnation_does_not_end_a_waiting_run(service: Service) -> None:
    one = await service.replica()
    run = await enqueued(one)
    await one.queue.cancel(run.run_id, None, "another")
    assert not (await one.get(run.run_id)).finished


async def test_a_replica_that_takes_a_run_while_it_is_reaped_stays_registered(service: Service) -> None:
    one, other = await service.replica(), await service.replica()
    run = await enqueued(one, max_attempts=2)
    send = RedisClient.send_background_each

    async def send_and_take(client: RedisClient, *commands: Command) -> list[Any]:
        replies = await send(client, *commands)
        if commands[0][0] == "SMEMBERS":
            assert len(await take(other, 1)) == 1
        return replies

    with patch.object(RedisClient, "send_background_each", send_and_take):
        await one._reaper._reap_replica(other.replica)
    assert service.ask("HEXISTS", service.keys.replicas, other.replica)
    await one._reaper._reap_replica(other.replica)  # it has died since
    assert not service.ask("HEXISTS", service.keys.replicas, other.replica)
    assert (await taken_eventually(one)).run.run_id == run.run_id


async def test_a_replica_that_was_reaped_is_registered_by_the_next_run_it_takes(service: Service) -> None:
    one, other = await service.replica(), await service.replica()
    await one._reaper._reap_replica(other.replica)
    assert not service.ask("HEXISTS", service.keys.replicas, other.replica)
    await enqueued(one)
    assert len(await take(other, 1)) == 1
    assert service.ask("HEXISTS", service.keys.replicas, other.replica)


@pytest.mark.parametrize("late", ["pop", "take"])
async def test_a_replica_that_gets_runs_late_begins_none_since_others_may_have_them(
    service: Service, late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await service.replica(), await service.replica()
    run = await enqueued(one)
    clock = Clock()
    monkeypatch.setattr(health, "time", clock)
    send = RedisClient.send

    async def reply_late(client: RedisClient, *commands: Command, **more: Any) -> list[Any]:
        replies = await send(client, *commands, **more)
        if {"pop": POP, "take": TAKE}[late].digest in commands[0]:
            clock.now += 60
        return replies

    with patch.object(RedisClient, "send", reply_late), pytest.raises(ServiceUnavailable):
        await take(other, 1)
    assert not other._leases.owns(run.run_id)
    await other._reaper._end_unknown()
    assert [each.run for each in await take(one, 1)] == [run]
