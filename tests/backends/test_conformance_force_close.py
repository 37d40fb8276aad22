"""`force_close`: ending a run whose log has lost events or is gone."""

import asyncio

import pytest

from dockrion.backends import Backend
from dockrion.backends.follow import follow
from dockrion.backends.run_log import Run, Status
from dockrion.errors import RunClosed, RunExists, SequenceConflict
from dockrion.events import Entry
from tests.backends.conformance import (
    MAX_EVENTS,
    TIMEOUT_SECONDS,
    advanced,
    begin,
    entries,
    follow_all,
    new_run,
    read_all,
    sequences,
)

GAPS = [0, 1, 4, MAX_EVENTS, 10**6, 10**15]


def end_of(run: Run, last: int, status: Status = "failed") -> tuple[Run, Entry]:
    return advanced(run, last, status), entries(last, last, "error")[0]


@pytest.mark.parametrize("gap", GAPS)
async def test_run_ends_after_a_gap(backend: Backend, gap: int) -> None:
    writer = await begin(backend, events=3)
    run, last = end_of(writer.run, 4 + gap)
    await backend.force_close(run, last)
    assert await backend.get(run.run_id) == run
    page = await backend.read(run.run_id, 3, 100)
    assert list(page.entries) == [last]
    assert page.closed
    assert not page.more


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_run_ends_in_any_status(backend: Backend, status: Status) -> None:
    writer = await begin(backend, events=1)
    run, last = end_of(writer.run, 9, status)
    await backend.force_close(run, last)
    assert (await backend.get(run.run_id)).status == status


async def test_run_without_events_ends(backend: Backend) -> None:
    writer = await begin(backend)
    run, last = end_of(writer.run, 5)
    await backend.force_close(run, last)
    assert sequences(await read_all(backend, run.run_id)) == [5]


@pytest.mark.parametrize("sequence", [1, 2, 500, 10**15])
async def test_run_that_is_gone_is_created_again(backend: Backend, sequence: int) -> None:
    run, last = end_of(new_run(), sequence)
    await backend.force_close(run, last)
    assert await backend.get(run.run_id) == run
    page = await backend.read(run.run_id, 0, 100)
    assert list(page.entries) == [last]
    assert page.closed


async def test_id_of_a_run_created_again_cannot_be_reused(backend: Backend) -> None:
    run, last = end_of(new_run(), 5)
    await backend.force_close(run, last)
    with pytest.raises(RunExists):
        await backend.create(new_run(run.run_id))


async def test_page_does_not_span_the_gap(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    await backend.force_close(*end_of(writer.run, 7))
    before = await backend.read(writer.run_id, 0, 100)
    assert sequences(before) == [1, 2, 3]
    assert before.more
    assert not before.closed


@pytest.mark.parametrize("after", [3, 4, 5, 6])
async def test_position_in_the_gap_continues_after_it(backend: Backend, after: int) -> None:
    writer = await begin(backend, events=3)
    await backend.force_close(*end_of(writer.run, 7))
    page = await backend.read(writer.run_id, after, 100)
    assert sequences(page) == [7]
    assert page.closed


async def test_append_after_force_close_is_refused(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    run, last = end_of(writer.run, 7)
    await backend.force_close(run, last)
    page = await backend.read(run.run_id, 7, 100)
    assert sequences(page) == []
    assert page.closed
    for first in (4, 7, 8):
        with pytest.raises(RunClosed):
            await backend.append(advanced(run, first), entries(first, first))
    assert await backend.get(run.run_id) == run


@pytest.mark.parametrize("sequence", [1, 2, 4, 5, 50])
async def test_finished_run_is_not_ended_again(backend: Backend, sequence: int) -> None:
    writer = await begin(backend, events=3)
    await writer.finish()
    with pytest.raises(RunClosed):
        await backend.force_close(*end_of(writer.run, sequence))
    assert await backend.get(writer.run_id) == writer.run
    assert sequences(await read_all(backend, writer.run_id)) == [1, 2, 3, 4]


@pytest.mark.parametrize("sequence", [1, 2, 3])
async def test_existing_event_is_not_replaced(backend: Backend, sequence: int) -> None:
    writer = await begin(backend, events=3)
    with pytest.raises(SequenceConflict):
        await backend.force_close(*end_of(writer.run, sequence))
    assert await backend.get(writer.run_id) == writer.run
    assert await read_all(backend, writer.run_id) == entries(1, 3)
    await writer.write()


async def test_window_does_not_grow(backend: Backend) -> None:
    writer = await begin(backend, events=2 * MAX_EVENTS)
    last = 3 * MAX_EVENTS
    await backend.force_close(*end_of(writer.run, last))
    oldest = MAX_EVENTS + 2
    kept = sequences(await backend.read(writer.run_id, 0, 100))
    assert kept == list(range(oldest, 2 * MAX_EVENTS + 1))
    assert sequences(await backend.read(writer.run_id, kept[-1], 100)) == [last]


async def test_follower_gets_the_terminal_event_after_the_gap(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    pages = []
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        follow(backend, writer.run_id, 0, idle=TIMEOUT_SECONDS) as found,
    ):
        pages.append(sequences(await anext(found)))
        await backend.force_close(*end_of(writer.run, 7))
        pages += [sequences(page) async for page in found]
    assert pages == [[1, 2, 3], [7]]


async def test_followers_at_any_position_get_the_terminal_event(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    readers = [asyncio.create_task(follow_all(backend, writer.run_id, after)) for after in range(7)]
    await asyncio.sleep(0)
    await backend.force_close(*end_of(writer.run, 7))
    copies = await asyncio.gather(*readers)
    assert [sequences(copy) for copy in copies] == [
        [1, 2, 3, 7], [2, 3, 7], [3, 7], [7], [7], [7], [7],
    ]  # fmt: skip


async def test_watch_is_woken(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    async with backend.watch(writer.run_id) as watch:
        await backend.force_close(*end_of(writer.run, 7))
        assert await watch.wait(TIMEOUT_SECONDS)


async def test_long_gap_is_read_in_constant_time(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    async with follow(backend, writer.run_id, 3, idle=TIMEOUT_SECONDS) as pages:
        reader = asyncio.ensure_future(anext(pages))
        await backend.force_close(*end_of(writer.run, 10**9))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert sequences(await reader) == [10**9]


async def test_other_runs_are_not_affected(backend: Backend) -> None:
    one, other = await begin(backend, events=3), await begin(backend, events=3)
    await backend.force_close(*end_of(one.run, 9))
    await other.write(2)
    assert sequences(await read_all(backend, other.run_id)) == [1, 2, 3, 4, 5]


async def test_force_closed_run_is_listed(backend: Backend) -> None:
    writer = await begin(backend, events=3)
    run, last = end_of(writer.run, 9)
    await backend.force_close(run, last)
    assert (await backend.recent(status="failed", limit=10, cursor=None)).items == [run]


async def test_run_created_again_is_listed(backend: Backend) -> None:
    run, last = end_of(new_run(), 9)
    await backend.force_close(run, last)
    assert (await backend.recent(status=None, limit=10, cursor=None)).items == [run]


async def test_of_a_concurrent_append_and_force_close_one_wins(unbounded: Backend) -> None:
    for _ in range(20):
        writer = await begin(unbounded, events=3)
        run, last = end_of(writer.run, 4)
        results = await asyncio.gather(
            writer.finish(), unbounded.force_close(run, last), return_exceptions=True
        )
        assert [type(result) for result in results].count(RunClosed) == 1, results
        assert sequences(await read_all(unbounded, run.run_id)) == [1, 2, 3, 4]
