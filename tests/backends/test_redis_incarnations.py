"""Incarnations over several replicas, and next to replicas of an earlier version, which know none."""

import asyncio
from contextlib import AsyncExitStack
from itertools import permutations

import msgspec
import pytest

from dockrion.backends import follow
from dockrion.backends.redis import RedisBackend
from dockrion.backends.run_log import Run
from dockrion.errors import RunNotFound
from tests.backends.conformance import (
    FORGETTING,
    TIMEOUT_SECONDS,
    Writer,
    advanced,
    begin,
    cancel_requests,
    entries,
    follow_all,
    forget,
    new_run,
    sequences,
)
from tests.backends.service import Service, following, sequences_of
from tests.support import wait_until


def without_incarnation(service: Service, run: Run) -> Run:
    """Store a run as an earlier version does, and return its record."""
    key = service.keys.run(run.run_id)
    stored = msgspec.json.decode(service.ask("HGET", key, "record"))
    del stored["incarnation"]
    service.ask("HSET", key, "record", msgspec.json.encode(stored))
    service.ask("HDEL", key, "incarnation")
    return msgspec.structs.replace(run, incarnation="")


def send(service: Service, to: RedisBackend, *fields: str) -> None:
    service.ask("XADD", service.keys.inbox(to.replica), "*", *fields)


@pytest.mark.parametrize("how", FORGETTING)
async def test_a_replica_serves_no_cached_page_of_an_earlier_run(service: Service, how: str) -> None:
    one, other = await service.replicas(2)
    former = await begin(one, events=15)
    await former.finish()
    async with other.watch(former.run_id, limit=5) as watch:
        await other.read(former.run_id, 0, 5, watch.incarnation)
        await forget(one, former.run_id, how)
        writer = await begin(one, former.run_id, events=9)
        async with other.watch(writer.run_id, limit=5) as current:
            assert current.incarnation == writer.run.incarnation
            assert sequences(await other.read(writer.run_id, 0, 20, current.incarnation)) == list(
                range(1, 10)
            )
            with pytest.raises(RunNotFound):
                await other.read(former.run_id, 5, 5, watch.incarnation)


async def test_the_newest_page_of_an_earlier_run_is_not_read(service: Service) -> None:
    one, other = await service.replicas(2)
    former = await begin(one)
    async with one.watch(former.run_id):
        await former.write(3)
        await forget(one, former.run_id)
        writer = await begin(other, former.run_id, events=1)
        assert sequences(await one.read(writer.run_id, 0, 20, writer.run.incarnation)) == [1]


@pytest.mark.usefixtures("single_beat")
async def test_readers_that_an_earlier_run_had_elsewhere_do_not_count(service: Service) -> None:
    one, other = await service.replicas(2)
    former = await begin(one)
    async with other.watch(former.run_id, limit=5):
        await forget(one, former.run_id)
        assert service.readers(former.run_id) == {other.replica: 1}
        await begin(one, former.run_id)
        assert service.readers(former.run_id) == {}
        async with other.watch(former.run_id, limit=1):
            assert service.readers(former.run_id) == {other.replica: 1}
    assert service.readers(former.run_id) == {}


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("order", [*permutations(["former", "current", "any"])], ids="-".join)
@pytest.mark.usefixtures("single_beat")
async def test_readers_join_the_current_run_whichever_they_ask_for_first(
    service: Service, watched: bool, order: tuple[str, ...]
) -> None:
    one, other = await service.replicas(2)
    former = await begin(one)
    async with AsyncExitStack() as stack:
        if watched:
            await stack.enter_async_context(other.watch(former.run_id))
        await forget(one, former.run_id)
        writer = await begin(one, former.run_id)
        asked = {"former": former.run.incarnation, "current": writer.run.incarnation, "any": None}

        leave = asyncio.Event()

        async def join(name: str) -> str:
            async with other.watch(writer.run_id, asked[name], limit=9) as watch:
                await leave.wait()
                return watch.incarnation

        joining = [asyncio.create_task(join(name)) for name in order * 2]
        await wait_until(lambda: service.readers(writer.run_id) == {other.replica: 4})
        leave.set()
        for name, found in zip(
            order * 2, await asyncio.gather(*joining, return_exceptions=True), strict=True
        ):
            if name == "former":
                assert isinstance(found, RunNotFound)
            else:
                assert found == writer.run.incarnation
    assert not other._subscriptions._subscriptions


@pytest.mark.usefixtures("fast_beats")
async def test_an_owner_loses_a_replaced_run_and_not_the_one_that_replaces_it(service: Service) -> None:
    one, other = await service.replicas(2)
    former = await begin(one, events=1)
    await forget(one, former.run_id)
    writer = await begin(other, former.run_id)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        lost = await anext(aiter(one.lost_runs()))
    assert (lost.run_id, lost.incarnation) == (former.run_id, former.run.incarnation)
    await writer.finish()
    assert (await one.get(writer.run_id)).incarnation == writer.run.incarnation


async def test_a_run_that_is_ended_after_its_loss_has_no_events_of_another(service: Service) -> None:
    one, other = await service.replicas(2)
    former = await begin(one, events=1)
    await forget(one, former.run_id)
    writer = await begin(other, former.run_id, events=5)
    await forget(other, writer.run_id, "deleted by hand")
    await one.force_close(advanced(former.run, 9, "failed"), entries(9, 9, "error")[0])
    assert sequences(await other.read(former.run_id, 0, 20, former.run.incarnation)) == [9]


async def test_a_cancel_on_its_way_does_not_reach_the_next_run(service: Service) -> None:
    one, _ = await service.replicas(2)
    former = await begin(one)
    await former.finish()
    await forget(one, former.run_id)
    writer = await begin(one, former.run_id)
    run_id = writer.run_id
    async with cancel_requests(one) as received, asyncio.timeout(TIMEOUT_SECONDS):
        send(service, one, "run", run_id, "incarnation", former.run.incarnation, "cancel", '"former"')
        send(service, one, "run", run_id, "incarnation", writer.run.incarnation, "cancel", '"current"')
        assert await received.get() == (run_id, "current")


async def test_messages_of_earlier_versions_are_about_the_current_run(service: Service) -> None:
    one, _ = await service.replicas(2)
    writer = await begin(one)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async with cancel_requests(one) as received:
            send(service, one, "run", writer.run_id, "cancel", '"early"')
            assert await received.get() == (writer.run_id, "early")
        service.ask("SET", service.keys.request(writer.run_id, "1"), "body", "EX", 60)
        send(service, one, "run", writer.run_id, "question", "1", "from", "somebody")
        request = await anext(one.owner_requests())
    assert (request.run_id, request.incarnation, request.body) == (writer.run_id, None, b"body")


async def test_a_run_of_an_earlier_version_is_read_cancelled_and_ended(service: Service) -> None:
    one, other = await service.replicas(2)
    run = new_run()
    await one.create(run)
    run = without_incarnation(service, run)
    owner = Writer(one, run)
    async with following(other, run.run_id, limit=5) as pages:
        await owner.write(3)
        await wait_until(lambda: sequences_of(pages) == [1, 2, 3])
        found = await other.get(run.run_id)
        assert found.incarnation == ""
        async with other.watch(run.run_id, found.incarnation):
            await other.request_cancel(run.run_id, "enough", found.incarnation)
        await owner.finish()
        await wait_until(lambda: sequences_of(pages) == [1, 2, 3, 4])


@pytest.mark.usefixtures("fast_beats")
async def test_a_run_of_an_earlier_version_is_reaped(service: Service) -> None:
    one, other = await service.replicas(2)
    run = new_run()
    await one.create(run)
    await service.kill(one)
    without_incarnation(service, run)
    assert [event.type for event in await follow_all(other, run.run_id)] == ["error"]


async def test_a_record_that_an_earlier_version_wrote_keeps_its_incarnation(service: Service) -> None:
    one, other = await service.replicas(2)
    writer = await begin(one, events=2)
    incarnation = writer.run.incarnation
    without_incarnation(service, writer.run)
    service.ask("HSET", service.keys.run(writer.run_id), "incarnation", incarnation)
    assert (await other.get(writer.run_id)).incarnation == incarnation
    await writer.finish()
    assert sequences(await follow_all(other, writer.run_id)) == [1, 2, 3]


@pytest.mark.usefixtures("fast_beats")
async def test_a_reader_of_a_replaced_run_is_told_when_its_subscription_is_renewed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_RECREATED_SECONDS", 0.1)
    one, other = await service.replicas(2)
    former = await begin(one, events=1)
    reader = asyncio.create_task(follow_all(other, former.run_id))
    await wait_until(lambda: service.readers(former.run_id))
    await forget(one, former.run_id)
    await begin(one, former.run_id, events=3)
    await other._subscriptions.renew()
    with pytest.raises(RunNotFound):
        await reader
