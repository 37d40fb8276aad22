"""Replicas of this version and of the one before the work queue work side by side."""

import asyncio

import pytest

from dockrion.backends.redis import records
from tests.backends.conformance import begin, cancel_requests, follow_all, read_all, sequences
from tests.backends.earlier import INCARNATION, EarlierReplica
from tests.backends.service import Service, following, sequences_of
from tests.backends.test_redis_queue import begin_taken, enqueued, take, taken_eventually
from tests.backends.trouble import Logged
from tests.conftest import Serve
from tests.support import wait_until

EARLIER = "r-1"


async def test_a_run_of_an_earlier_replica_is_read_listed_and_watched(service: Service) -> None:
    earlier, one = EarlierReplica(service), await service.replica()
    await one.check_start()
    earlier.create(EARLIER, '{"topic":"x"}', owner="key:ann", input_excerpt="x")
    earlier.append(EARLIER, 1, "started", "token", owner="key:ann")
    run = await one.get(EARLIER)
    assert (run.status, run.last_sequence, run.incarnation) == ("running", 2, INCARNATION)
    assert (run.attempt, run.previous, run.unlisted) == (1, None, False)
    assert await one.get_input(EARLIER) == b'{"topic":"x"}'
    for owner in (None, "key:ann"):
        listing = await one.recent(status="running", limit=10, cursor=None, owner=owner)
        assert [each.run_id for each in listing.items] == [EARLIER]
    async with following(one, EARLIER, limit=1) as pages:
        earlier.append(EARLIER, 3, "token", owner="key:ann")
        earlier.append(EARLIER, 4, "complete", status="completed", owner="key:ann")
        await wait_until(lambda: pages and pages[-1].closed)
    assert sequences_of(pages) == [1, 2, 3, 4]
    assert (await one.get(EARLIER)).finished


async def test_a_run_of_this_version_is_watched_by_an_earlier_replica(service: Service) -> None:
    earlier, one = EarlierReplica(service), await service.replica()
    writer = await begin(one, owner="key:ann", events=2)
    assert earlier.watch(writer.run_id, writer.run.incarnation) == [b"ok", writer.run.incarnation.encode()]
    await writer.write()
    assert earlier.messages() == [{"run": writer.run_id}]
    stored = service.ask("HGET", service.keys.run(writer.run_id), "record")
    seen = earlier.decoded(stored)
    assert (seen["status"], seen["owner"], seen["last_sequence"]) == ("running", "key:ann", 3)


async def test_cancels_pass_between_the_versions(service: Service) -> None:
    earlier, one = EarlierReplica(service), await service.replica()
    earlier.create(EARLIER)
    await one.request_cancel(EARLIER, "enough")
    assert earlier.messages() == [{"run": EARLIER, "incarnation": INCARNATION, "cancel": '"enough"'}]
    assert earlier.renew(EARLIER) == [b"mine", 0, b'"enough"']
    writer = await begin(one)
    async with cancel_requests(one) as received:
        earlier.cancel(writer.run_id, "no more")
        assert await asyncio.wait_for(received.get(), 10) == (writer.run_id, "no more")


@pytest.mark.usefixtures("fast_beats")
async def test_the_runs_of_an_earlier_replica_that_dies_end_once(service: Service) -> None:
    earlier = EarlierReplica(service)
    earlier.create(EARLIER)
    earlier.create("r-2", status="accepted", started_at=None)
    earlier.append(EARLIER, 1, "started")
    one = await service.replica()
    for run_id, number in ((EARLIER, 2), ("r-2", 1)):
        assert [entry.type for entry in await follow_all(one, run_id)][number - 1 :] == ["error"]
        run = await one.get(run_id)
        assert run.error is not None
        assert run.error["code"] == "WORKER_LOST"
    await wait_until(lambda: earlier.name not in service.alive())
    assert earlier.append(EARLIER, 3, "token") == [b"closed"]
    assert earlier.renew(EARLIER) == [b"closed", 0]


async def test_the_runs_of_a_dead_replica_are_ended_by_an_earlier_one(service: Service) -> None:
    one, other = await service.replicas(2)
    writer = await begin(one, owner="key:ann", events=2)
    await service.kill(one)
    assert EarlierReplica(service).reap(one.replica) == [b"ok"]
    assert sequences(await read_all(other, writer.run_id)) == [1, 2, 3]
    run = await other.get(writer.run_id)
    assert (run.status, run.owner, run.incarnation) == ("failed", "key:ann", writer.run.incarnation)
    listing = await other.recent(status="failed", limit=10, cursor=None, owner="key:ann")
    assert [each.run_id for each in listing.items] == [writer.run_id]


async def test_an_input_that_an_earlier_replica_has_masked_stays_masked(
    service: Service, serve: Serve
) -> None:
    earlier = EarlierReplica(service)
    earlier.create(EARLIER, '{"pin":"1234"}', input={"pin": "***"}, input_excerpt="***")
    served = await serve(
        agent={"name": service.agent, "handler": "tests.support:placeholder"},
        streaming={"backend": "redis", "redis": {"url": service.server.url}},
    )
    assert (await served.record(EARLIER))["input"] == {"pin": "***"}
    async with served.client.get("/runs") as response:
        assert [item["run_id"] for item in (await response.json())["items"]] == [EARLIER]
    reaper = await service.replica()
    await reaper._reaper._reap_replica(earlier.name)
    record = await served.record(EARLIER)
    assert (record["status"], record["input"]) == ("failed", {"pin": "***"})


async def test_the_format_of_both_versions_is_the_same(service: Service, logged: Logged) -> None:
    EarlierReplica(service)
    assert service.ask("EXISTS", service.keys.format, service.keys.declarations) == 0
    one = await service.replica()
    await one.check_start()
    await one.ping()
    EarlierReplica(service)  # it starts beside a newer one
    assert records.FORMAT == 1
    assert "redis holds data of a newer version" not in logged.messages(40)


async def test_a_waiting_run_that_an_earlier_replica_cancels_is_not_begun(service: Service) -> None:
    earlier, one = EarlierReplica(service), await service.replica()
    run = await enqueued(one)
    earlier.cancel(run.run_id, "enough")
    (taken,) = await take(one, 1)
    assert taken.cancel is not None
    assert (taken.cancel.run_id, taken.cancel.reason) == (run.run_id, "enough")
    assert service.ask("EXISTS", service.keys.inbox("queue")) == 0


async def test_an_earlier_replica_watches_a_waiting_run(service: Service) -> None:
    earlier, one = EarlierReplica(service), await service.replica()
    run = await enqueued(one)
    assert earlier.watch(run.run_id, run.incarnation) == [b"ok", run.incarnation.encode()]
    (taken,) = await take(one, 1)
    await begin_taken(one, taken)
    assert earlier.messages() == [{"run": run.run_id}]


async def test_a_run_that_may_begin_again_is_ended_by_an_earlier_replica(service: Service) -> None:
    earlier, one, other = EarlierReplica(service), await service.replica(), await service.replica()
    run = await enqueued(one, max_attempts=2)
    (taken,) = await take(one, 1)
    await begin_taken(one, taken)
    await service.kill(one)
    assert earlier.reap(one.replica) == [b"ok"]
    assert (await other.get(run.run_id)).status == "failed"
    assert await take(other, 1) == []
    assert 0 < service.ask("TTL", service.keys.run(run.run_id)) <= 60  # its payload goes with it


@pytest.mark.usefixtures("fast_beats")
async def test_a_waiting_run_that_an_earlier_replica_has_overlooked_is_taken_once_it_is_overdue(
    service: Service,
) -> None:
    earlier, one, other = EarlierReplica(service), await service.replica(), await service.replica()
    run = await enqueued(one)
    (entry,) = service.ask("ZRANGE", service.keys.queue, 0, 0)
    await service.kill(one)
    service.ask("ZREM", service.keys.queue, entry)  # popped, but not taken, by the replica that has died
    service.ask("SADD", service.keys.owned(one.replica), run.run_id)
    assert earlier.reap(one.replica) == [b"foreign"]
    service.ask("ZADD", service.keys.expiry, 0, entry)
    assert (await taken_eventually(other)).run == run
