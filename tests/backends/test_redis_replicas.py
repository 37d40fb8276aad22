"""Replicas of one service see at once what another one does."""

import asyncio
import time
from statistics import median
from unittest.mock import patch

import pytest

from dockrion.backends.redis import background
from dockrion.backends.redis.store import Store
from dockrion.backends.redis.subscriptions import Subscriptions
from dockrion.errors import RunExists, SequenceConflict, TooManySubscribers
from tests.backends.conformance import (
    TIMEOUT_SECONDS,
    Writer,
    advanced,
    begin,
    cancel_requests,
    entries,
    follow_all,
    new_run,
    read_all,
)
from tests.backends.service import Service, following, sequences_of
from tests.support import wait_until

PROMPT_SECONDS = 0.25


@pytest.mark.usefixtures("single_beat")
async def test_readers_on_another_replica_get_events_live(service: Service) -> None:
    one, other = await service.replicas(2)
    writer = await begin(one)
    async with following(other, writer.run_id) as pages:
        took: list[float] = []
        for number in range(1, 21):
            began = time.monotonic()
            await writer.write()
            await wait_until(lambda: len(sequences_of(pages)) == number)  # noqa: B023  awaited at once
            took.append(time.monotonic() - began)
    assert sequences_of(pages) == list(range(1, 21))
    assert median(took) < PROMPT_SECONDS, took


@pytest.mark.usefixtures("single_beat")
async def test_readers_on_all_replicas_see_the_same(service: Service) -> None:
    owner, *others = await service.replicas(4)
    writer = await begin(owner)
    readers = [asyncio.create_task(follow_all(each, writer.run_id)) for each in (owner, *others) * 3]
    for size in (1, 3, 2, 7):
        await writer.write(size)
        await asyncio.sleep(0)
    await writer.finish()
    copies = await asyncio.gather(*readers)
    assert copies == [await read_all(owner, writer.run_id)] * len(readers)


async def test_a_run_is_the_same_from_everywhere(service: Service) -> None:
    owner, *others = await service.replicas(3)
    writer = await begin(owner, events=3)
    await writer.finish()
    for each in (owner, *others):
        assert await each.get(writer.run_id) == writer.run
        assert (await each.recent(status=None, limit=5, cursor=None)).items == [writer.run]
        assert (await each.recent(status="running", limit=5, cursor=None)).items == []


@pytest.mark.usefixtures("single_beat")
async def test_a_cancel_reaches_the_owner_from_anywhere_at_once(service: Service) -> None:
    owner, other, third = await service.replicas(3)
    writer = await begin(owner, events=1)
    async with cancel_requests(owner) as received, cancel_requests(other) as not_received:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await third.request_cancel(writer.run_id, "enough")
            assert await received.get() == (writer.run_id, "enough")
        assert not_received.empty()


async def test_the_id_of_a_run_is_taken_on_every_replica(service: Service) -> None:
    owner, *others = await service.replicas(3)
    writer = await begin(owner)
    for each in others:
        with pytest.raises(RunExists):
            await each.create(new_run(writer.run_id))
    assert await owner.get(writer.run_id) == writer.run


async def test_one_of_the_replicas_that_create_the_same_run_wins(service: Service) -> None:
    replicas = await service.replicas(5)
    for number in range(10):
        run_ids = [new_run(f"same-{number}") for _ in replicas]
        results = await asyncio.gather(
            *(each.create(run) for each, run in zip(replicas, run_ids, strict=True)), return_exceptions=True
        )
        assert [type(result) for result in results].count(RunExists) == 4, results
        assert await replicas[0].get(f"same-{number}") == run_ids[results.index(None)]


async def test_a_second_writer_is_refused(service: Service) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner, events=3)
    for first in (1, 3, 4, 5):
        with pytest.raises(SequenceConflict):
            await other.append(advanced(writer.run, first), entries(first, first))
    with pytest.raises(SequenceConflict):
        await other.force_close(advanced(writer.run, 9, "failed"), entries(9, 9)[0])
    assert await owner.get(writer.run_id) == writer.run
    await writer.write()


async def test_readers_of_all_replicas_count_together(service: Service) -> None:
    owner, other, third = await service.replicas(3)
    writer = await begin(owner, events=1)
    run_id = writer.run_id
    async with owner.watch(run_id, limit=3), other.watch(run_id, limit=3), third.watch(run_id, limit=None):
        async with other.watch(run_id, limit=3):
            for each in (owner, other, third):
                with pytest.raises(TooManySubscribers):
                    async with each.watch(run_id, limit=3):
                        pass
            assert service.readers(run_id) == {owner.replica: 1, other.replica: 2, third.replica: 0}
        async with third.watch(run_id, limit=3):
            assert service.readers(run_id)[third.replica] == 1
    assert service.readers(run_id) == {}


async def test_concurrent_readers_do_not_exceed_the_limit(service: Service) -> None:
    replicas = await service.replicas(3)
    writer = await begin(replicas[0], events=1)
    leave = asyncio.Event()
    inside = 0

    async def read(number: int) -> bool:
        nonlocal inside
        try:
            async with replicas[number % 3].watch(writer.run_id, limit=7):
                inside += 1
                await leave.wait()
        except TooManySubscribers:
            return False
        return True

    readers = [asyncio.create_task(read(number)) for number in range(30)]
    await wait_until(lambda: inside + sum(reader.done() for reader in readers) == 30)
    assert inside == 7
    assert sum(service.readers(writer.run_id).values()) == 7
    leave.set()
    assert sum(await asyncio.gather(*readers)) == 7
    assert service.readers(writer.run_id) == {}


@pytest.mark.usefixtures("fast_beats")
async def test_the_readers_of_a_dead_replica_do_not_count(service: Service) -> None:
    owner, doomed = await service.replicas(2)
    writer = await begin(owner, events=1)
    async with doomed.watch(writer.run_id, limit=1):
        with pytest.raises(TooManySubscribers):
            async with owner.watch(writer.run_id, limit=1):
                pass
        await service.kill(doomed)
        await wait_until(lambda: doomed.replica not in service.alive())
        async with owner.watch(writer.run_id, limit=1):
            assert service.readers(writer.run_id) == {owner.replica: 1}


@pytest.mark.usefixtures("fast_beats")
async def test_readers_recover_from_a_deleted_inbox(service: Service) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner)
    async with following(other, writer.run_id) as pages:
        for number in range(1, 6):
            service.ask("DEL", service.keys.inbox(other.replica))
            await writer.write()
            await wait_until(lambda: len(sequences_of(pages)) == number)  # noqa: B023  awaited at once


@pytest.mark.usefixtures("fast_beats")
async def test_readers_recover_from_lost_messages(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_RENEW_SUBSCRIPTIONS_SECONDS", 0.1)
    owner, other = await service.replicas(2)
    writer = await begin(owner)
    with patch.object(Store, "messages", return_value=[]):
        async with following(other, writer.run_id) as pages:
            for number in range(1, 4):
                await writer.write()
                await wait_until(lambda: len(sequences_of(pages)) == number)  # noqa: B023  awaited at once


@pytest.mark.usefixtures("fast_beats")
async def test_a_cancel_request_whose_message_is_lost_arrives(service: Service) -> None:
    owner, other = await service.replicas(2)
    writer = await begin(owner, events=1)
    async with cancel_requests(owner) as received:
        with patch.object(Store, "messages", return_value=[]):
            await other.request_cancel(writer.run_id, "enough")
            await other.request_cancel(writer.run_id, "too late")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await received.get() == (writer.run_id, "enough")
        beats = int(service.ask("HGET", service.keys.replicas, owner.replica))
        await wait_until(lambda: int(service.ask("HGET", service.keys.replicas, owner.replica)) > beats + 3)
        assert received.empty()


@pytest.mark.usefixtures("fast_beats")
async def test_deleted_subscriptions_are_renewed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_RENEW_SUBSCRIPTIONS_SECONDS", 0.1)
    owner, other = await service.replicas(2)
    writer = await begin(owner, events=1)
    async with other.watch(writer.run_id, limit=5):
        service.ask("DEL", service.keys.watchers(writer.run_id))
        await wait_until(lambda: service.readers(writer.run_id) == {other.replica: 1})


async def _renewing(
    subscriptions: Subscriptions, monkeypatch: pytest.MonkeyPatch
) -> tuple[asyncio.Task[None], asyncio.Event]:
    """Start to renew the subscriptions of a replica, and hold the commands."""
    client = subscriptions._store.client
    send, held, resumed = client.send_background_each, asyncio.Event(), asyncio.Event()

    async def held_send(*commands: object) -> object:
        held.set()
        await resumed.wait()
        return await send(*commands)  # type: ignore[arg-type]

    monkeypatch.setattr(client, "send_background_each", held_send)
    task = asyncio.create_task(subscriptions.renew())
    await held.wait()
    return task, resumed


@pytest.mark.usefixtures("single_beat")
async def test_a_reader_who_left_during_a_renewal_does_not_count(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await service.replica()
    writer: Writer = await begin(one, events=1)
    entered, left = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async with one.watch(writer.run_id, limit=1):
            entered.set()
            await left.wait()

    reader = asyncio.create_task(read())
    await entered.wait()
    renewal, resumed = await _renewing(one._subscriptions, monkeypatch)
    left.set()
    await asyncio.sleep(0)
    resumed.set()
    await asyncio.gather(renewal, reader)
    assert service.readers(writer.run_id) == {}
