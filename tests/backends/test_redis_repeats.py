"""Every command may be repeated: what was done is not done twice."""

import asyncio

import msgspec
import pytest

from dockrion.errors import RunClosed, RunExists, SequenceConflict, ServiceUnavailable, TooManySubscribers
from dockrion.events import Entry
from tests.backends.conformance import (
    MAX_EVENTS,
    TIMEOUT_SECONDS,
    Writer,
    advanced,
    begin,
    cancel_requests,
    entries,
    new_run,
    read_all,
    sequences,
)
from tests.backends.service import Service, paused, reply_lost
from tests.support import wait_until


async def test_a_run_is_created_once(service: Service) -> None:
    one = await service.replica()
    run = new_run()
    for _ in range(3):
        await one.create(run)
    assert (await one.recent(status=None, limit=10, cursor=None)).items == [run]
    assert await read_all(one, run.run_id) == []


async def test_a_creation_with_another_record_is_refused(service: Service) -> None:
    one = await service.replica()
    run = new_run()
    await one.create(run)
    with pytest.raises(RunExists):
        await one.create(msgspec.structs.replace(run, metadata={"other": 1}))
    assert await one.get(run.run_id) == run


async def test_a_creation_by_another_replica_is_refused(service: Service) -> None:
    one, other = await service.replicas(2)
    run = new_run()
    await one.create(run)
    with pytest.raises(RunExists):
        await other.create(run)


@pytest.mark.parametrize("size", [1, 2, MAX_EVENTS, 3 * MAX_EVENTS])
@pytest.mark.parametrize("before", [0, 3])
async def test_a_batch_is_stored_once(service: Service, size: int, before: int) -> None:
    one = await service.replica()
    writer = await begin(one)
    if before:
        await writer.write(before)
    run, batch = advanced(writer.run, before + size), entries(before + 1, before + size)
    await one.append(run, batch)
    stored = service.ask("DUMP", service.keys.log(run.run_id)[1])
    for _ in range(2):
        await one.append(run, batch)
    assert service.ask("DUMP", service.keys.log(run.run_id)[1]) == stored
    assert await one.get(run.run_id) == run


@pytest.mark.parametrize("size", [1, 4])
async def test_the_last_batch_is_stored_once(service: Service, size: int) -> None:
    one = await service.replica()
    writer = await begin(one, events=3)
    output = msgspec.Raw(b'{"a":1}')
    run = msgspec.structs.replace(advanced(writer.run, 3 + size, "completed"), output=output)
    for _ in range(3):
        await one.append(run, entries(4, 3 + size))
    assert await one.get(run.run_id) == run
    assert sequences(await read_all(one, run.run_id)) == list(range(1, 4 + size))


async def test_a_run_is_force_closed_once(service: Service) -> None:
    one = await service.replica()
    for writer in (await begin(one, events=3), Writer(one, new_run())):
        run, (last,) = advanced(writer.run, 9, "failed"), entries(9, 9, "error")
        for _ in range(3):
            await one.force_close(run, last)
        assert await one.get(run.run_id) == run
        assert list((await one.read(run.run_id, 3, 100)).entries) == [last]


def rivals(first: int, size: int) -> list[list[Entry]]:
    """Return batches of a size that differ from `entries` in one thing each."""
    batch = entries(first, first + size - 1)
    last = batch[-1]
    return [
        [*batch[:-1], Entry(last.sequence, last.type, b'{"other":1}', last.emitted_at)],
        [*batch[:-1], Entry(last.sequence, "other", last.data, last.emitted_at)],
        [*batch[:-1], Entry(last.sequence, last.type, last.data, last.emitted_at + 1e-6)],
    ]


@pytest.mark.parametrize("size", [1, 4])
async def test_a_batch_with_other_bytes_is_refused(service: Service, size: int) -> None:
    one = await service.replica()
    writer = await begin(one, events=3)
    await writer.write(size)
    for rival in rivals(4, size):
        with pytest.raises(SequenceConflict):
            await one.append(writer.run, rival)
    assert await read_all(one, writer.run_id) == entries(1, 3 + size)
    await writer.write()


@pytest.mark.parametrize("size", [1, 4])
async def test_a_last_batch_with_other_bytes_is_refused(service: Service, size: int) -> None:
    one = await service.replica()
    writer = await begin(one, events=3)
    run = advanced(writer.run, 3 + size, "failed")
    await one.append(run, entries(4, 3 + size))
    for rival in rivals(4, size):
        with pytest.raises(RunClosed):
            await one.append(run, rival)
        with pytest.raises(RunClosed):
            await one.force_close(run, rival[-1])
    assert await read_all(one, writer.run_id) == entries(1, 3 + size)


async def test_the_same_batch_from_another_replica_is_refused(service: Service) -> None:
    one, other = await service.replicas(2)
    writer = await begin(one, events=3)
    with pytest.raises(SequenceConflict):
        await other.append(writer.run, entries(1, 3))
    await writer.finish()
    with pytest.raises(RunClosed):
        await other.append(writer.run, entries(4, 4, "complete"))


async def test_an_older_batch_is_refused(service: Service) -> None:
    one = await service.replica()
    writer = await begin(one, events=2)
    await writer.write(2)
    with pytest.raises(SequenceConflict):
        await one.append(advanced(writer.run, 2), entries(1, 2))


async def test_a_writer_whose_replies_are_lost_can_repeat_batches(service: Service) -> None:
    one = await service.replica()
    writer = await begin(one, events=1)
    for status in ("running", "running", "completed"):
        sequence = writer.run.last_sequence + 1
        run, batch = advanced(writer.run, sequence, status), entries(sequence, sequence)
        with reply_lost(), pytest.raises(ServiceUnavailable):
            await one.append(run, batch)
        await one.append(run, batch)
        writer.run = run
    assert await read_all(one, writer.run_id) == entries(1, 4)
    assert await one.get(writer.run_id) == writer.run


async def test_a_run_is_force_closed_once_when_the_reply_is_lost(service: Service) -> None:
    one = await service.replica()
    run, (last,) = advanced(new_run(), 9, "failed"), entries(9, 9, "error")
    with reply_lost(), pytest.raises(ServiceUnavailable):
        await one.force_close(run, last)
    await one.force_close(run, last)
    assert await read_all(one, run.run_id) == [last]


@pytest.mark.usefixtures("fast_beats")
async def test_a_run_created_by_the_second_attempt_is_kept(service: Service) -> None:
    one = await service.replica()
    run = new_run()
    async with paused(one):  # else it may end the run before the second attempt
        with reply_lost(), pytest.raises(ServiceUnavailable):
            await one.create(run)
        await one.create(run)
    await wait_until(lambda: not one._leases.unconfirmed)
    await Writer(one, run).write()
    assert run.run_id.encode() in service.ask("SMEMBERS", service.keys.owned(one.replica))


@pytest.mark.usefixtures("fast_beats")
async def test_a_refused_creation_does_not_release_the_run_of_that_id(service: Service) -> None:
    one = await service.replica()
    writer = await begin(one, events=1)
    with pytest.raises(RunExists):
        await one.create(new_run(writer.run_id))
    await wait_until(lambda: not one._leases._ended)
    assert service.ask("SMEMBERS", service.keys.owned(one.replica)) == {writer.run_id.encode()}


async def test_a_repeated_cancel_request_is_passed_on_once(service: Service) -> None:
    one, other = await service.replicas(2)
    writer = await begin(one, events=1)
    async with cancel_requests(one) as received:
        with reply_lost(), pytest.raises(ServiceUnavailable):
            await other.request_cancel(writer.run_id, "first")
        for reason in ("first", "second", None):
            await other.request_cancel(writer.run_id, reason)
            await one.request_cancel(writer.run_id, reason)
        next_writer = await begin(one, events=1)
        await other.request_cancel(next_writer.run_id, None)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await received.get() == (writer.run_id, "first")
            assert await received.get() == (next_writer.run_id, None)


async def test_a_watch_whose_reply_was_lost_is_not_counted_twice(service: Service) -> None:
    one = await service.replica()
    writer = await begin(one, events=1)
    with reply_lost(), pytest.raises(ServiceUnavailable):
        async with one.watch(writer.run_id, limit=2):
            pass
    async with one.watch(writer.run_id, limit=2), one.watch(writer.run_id, limit=2):
        assert service.readers(writer.run_id) == {one.replica: 2}
        with pytest.raises(TooManySubscribers):
            async with one.watch(writer.run_id, limit=2):
                pass
    assert service.readers(writer.run_id) == {}
