"""Promises 2 and 3 of the contract, for every backend, with many readers at once."""

import asyncio
import random

import pytest

from dockrion.backends import Backend
from dockrion.events import Entry
from tests.backends.conformance import MAX_EVENTS, begin, follow_all, not_over_deployments, read_all

READERS = 20


async def test_every_reader_of_a_run_gets_the_same_bytes(unbounded: Backend) -> None:
    chance = random.Random(7)
    writer = await begin(unbounded)

    async def join(events_before: int) -> list[Entry]:
        while writer.run.last_sequence < events_before:
            await asyncio.sleep(0)
        return await follow_all(unbounded, writer.run_id)

    readers = [asyncio.create_task(join(chance.randrange(0, 200))) for _ in range(READERS)]
    while writer.run.last_sequence < 200:
        await writer.write(chance.randrange(1, 9))
        await asyncio.sleep(0)
    await writer.finish()
    copies = await asyncio.gather(*readers)
    expected = await read_all(unbounded, writer.run_id, 0, 50)
    assert [entry.sequence for entry in expected] == list(range(1, writer.run.last_sequence + 1))
    assert copies == [expected] * READERS


@pytest.mark.parametrize("after", [0, 1, 10, 11, 12, 500])
async def test_finished_run_is_replayed_from_any_position(unbounded: Backend, after: int) -> None:
    writer = await begin(unbounded, events=11)
    await writer.finish()
    found = await follow_all(unbounded, writer.run_id, after)
    assert [entry.sequence for entry in found] == list(range(after + 1, 13))


async def test_readers_of_a_trimmed_run_get_the_same_events(backend: Backend) -> None:
    writer = await begin(backend, events=5 * MAX_EVENTS)
    await writer.finish()
    copies = await asyncio.gather(*(follow_all(backend, writer.run_id, n) for n in range(READERS)))
    assert copies == [copies[0]] * READERS
    assert len(copies[0]) == MAX_EVENTS


@not_over_deployments("unbounded")
async def test_record_is_finished_once_the_terminal_event_was_read(unbounded: Backend) -> None:
    async def last_seen_and_status(run_id: str) -> tuple[str, bool, int]:
        found = await follow_all(unbounded, run_id)
        run = await unbounded.get(run_id)
        return found[-1].type, run.finished, run.last_sequence

    for _ in range(100):
        writer = await begin(unbounded)
        readers = [asyncio.create_task(last_seen_and_status(writer.run_id)) for _ in range(READERS)]
        await writer.write(2)
        await asyncio.sleep(0)
        await writer.finish()
        assert await asyncio.gather(*readers) == [("complete", True, 3)] * READERS


async def test_events_of_two_writers_never_mix(unbounded: Backend) -> None:
    writer = await begin(unbounded)
    rival = type(writer)(unbounded, writer.run)
    results = await asyncio.gather(writer.write(3), rival.write(2), return_exceptions=True)
    assert sorted(result is None for result in results) == [False, True]
    last = (await unbounded.get(writer.run_id)).last_sequence
    assert [entry.sequence for entry in await read_all(unbounded, writer.run_id)] == list(range(1, last + 1))
