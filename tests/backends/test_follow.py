"""`follow`: history, live events, idle times, the run's end, and readers that leave."""

import asyncio
from contextlib import suppress

import pytest

from dockrion.backends import Backend
from dockrion.backends.follow import follow
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.pages import IDLE, PAGE_EVENTS, Page
from dockrion.errors import RunNotFound, TooManySubscribers
from tests.backends.conformance import TIMEOUT_SECONDS, advanced, begin, entries, follow_all, sequences
from tests.backends.service import NEVER


async def test_history_precedes_live_events(unbounded: Backend) -> None:
    writer = await begin(unbounded, events=3)
    async with follow(unbounded, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
        assert sequences(await anext(pages)) == [1, 2, 3]
        await writer.write(2)
        assert sequences(await anext(pages)) == [4, 5]
        await writer.finish()
        last = await anext(pages)
        assert sequences(last) == [6]
        assert last.closed
        assert [page async for page in pages] == []


async def test_events_between_entering_and_the_first_page_are_not_lost(unbounded: Backend) -> None:
    writer = await begin(unbounded, events=2)
    async with follow(unbounded, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
        await writer.write()
        assert sequences(await anext(pages)) == [1, 2, 3]


@pytest.mark.parametrize("after", [3, 4, 500])
async def test_finished_run_without_further_events_ends_at_once(unbounded: Backend, after: int) -> None:
    writer = await begin(unbounded, events=2)
    await writer.finish()
    async with asyncio.timeout(TIMEOUT_SECONDS), follow(unbounded, writer.run_id, after, idle=NEVER) as pages:
        assert [page async for page in pages] == []


async def test_long_history_comes_in_pages(unbounded: Backend) -> None:
    writer = await begin(unbounded, events=2 * PAGE_EVENTS + 1)
    await writer.finish()
    async with follow(unbounded, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
        found = [page async for page in pages]
    assert [len(page.entries) for page in found] == [PAGE_EVENTS, PAGE_EVENTS, 2]
    assert [page.closed for page in found] == [False, False, True]


async def test_only_idle_is_an_empty_page(unbounded: Backend) -> None:
    writer = await begin(unbounded, events=1)
    seen: list[Page] = []

    async def read() -> None:
        async with follow(unbounded, writer.run_id, 0, idle=0.002) as pages:
            seen.extend([page async for page in pages])

    reader = asyncio.create_task(read())
    for _ in range(20):
        await asyncio.sleep(0.003)
        await writer.write()
    await writer.finish()
    await reader
    assert all(page is IDLE or page.entries for page in seen)
    assert [n for page in seen for n in sequences(page)] == list(range(1, 23))


async def test_idle_is_repeated_while_nothing_happens(backend: Backend) -> None:
    writer = await begin(backend)
    async with follow(backend, writer.run_id, 0, idle=0.01) as pages:
        for _ in range(5):
            assert await anext(pages) is IDLE
        await writer.write()
        assert sequences(await anext(pages)) == [1]


async def test_idle_is_yielded_after_its_seconds(backend: Backend) -> None:
    writer = await begin(backend, events=1)
    now = asyncio.get_running_loop().time
    async with follow(backend, writer.run_id, 0, idle=0.05) as pages:
        await anext(pages)
        for _ in range(2):
            before = now()
            assert await anext(pages) is IDLE
            assert 0.045 <= now() - before < TIMEOUT_SECONDS


async def test_event_postpones_idle(backend: Backend) -> None:
    writer = await begin(backend)
    loop = asyncio.get_running_loop()
    async with follow(backend, writer.run_id, 0, idle=0.1) as pages:
        reading = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0.06)  # most of the idle time is over when the event comes
        await writer.write()
        if await reading is IDLE:  # the machine was busy
            await anext(pages)
        before = loop.time()
        assert await anext(pages) is IDLE
        assert loop.time() - before >= 0.09


async def test_wake_ups_without_events_do_not_postpone_idle(unbounded: Backend) -> None:
    writer = await begin(unbounded)
    written_enough = asyncio.Event()

    async def write() -> None:
        while not written_enough.is_set():
            await writer.write()
            await asyncio.sleep(0)

    async with follow(unbounded, writer.run_id, 10**12, idle=0.05) as pages:
        writing = asyncio.create_task(write())
        async with asyncio.timeout(TIMEOUT_SECONDS):
            for _ in range(3):
                assert await anext(pages) is IDLE
        written_enough.set()
        await writing


async def test_position_beyond_the_end_gets_the_events_after_it(unbounded: Backend) -> None:
    writer = await begin(unbounded, events=2)
    async with follow(unbounded, writer.run_id, 4, idle=TIMEOUT_SECONDS) as pages:
        await writer.write(2)
        reading = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0)
        await writer.write(2)
        assert sequences(await reading) == [5, 6]


async def test_reader_beyond_the_end_ends_with_the_run(unbounded: Backend) -> None:
    writer = await begin(unbounded, events=2)
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        follow(unbounded, writer.run_id, 50, idle=TIMEOUT_SECONDS) as pages,
    ):
        reading = asyncio.create_task(anext(pages, None))
        await asyncio.sleep(0)
        await writer.finish()
        assert await reading is None


async def test_unknown_run_is_refused_on_entering(backend: Backend) -> None:
    with pytest.raises(RunNotFound):
        async with follow(backend, "unknown", 0, idle=1):
            pass


async def test_reader_over_the_limit_is_refused_on_entering(backend: Backend) -> None:
    writer = await begin(backend)
    async with follow(backend, writer.run_id, 0, idle=1, limit=1):
        with pytest.raises(TooManySubscribers):
            async with follow(backend, writer.run_id, 0, idle=1, limit=1):
                pass


async def test_reader_of_a_lost_run_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockrion.backends.follow._RECREATED_SECONDS", 0.05)
    backend = MemoryBackend(max_events=10, ttl=60)
    writer = await begin(backend, events=2)
    async with asyncio.timeout(TIMEOUT_SECONDS), follow(backend, writer.run_id, 0, idle=0.01) as pages:
        assert sequences(await anext(pages)) == [1, 2]
        del backend._logs[writer.run_id]
        with pytest.raises(RunNotFound):
            assert [page async for page in pages if page is not IDLE] == []


async def test_reader_of_a_lost_run_gets_the_terminal_event_if_it_is_created_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dockrion.backends.follow._RECREATED_SECONDS", NEVER)
    backend = MemoryBackend(max_events=10, ttl=60)
    writer = await begin(backend, events=2)
    async with asyncio.timeout(TIMEOUT_SECONDS), follow(backend, writer.run_id, 0, idle=0.01) as pages:
        assert sequences(await anext(pages)) == [1, 2]
        del backend._logs[writer.run_id]
        assert await anext(pages) is IDLE
        await backend.force_close(advanced(writer.run, 7, "failed"), *entries(7, 7, "error"))
        assert [sequences(page) async for page in pages if page is not IDLE] == [[7]]


async def test_reader_slower_than_the_window_continues_at_its_oldest_event(backend: Backend) -> None:
    writer = await begin(backend, events=5)
    async with follow(backend, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
        assert sequences(await anext(pages)) == [1, 2, 3, 4, 5]
        await writer.write(50)
        await writer.finish()
        assert sequences(await anext(pages)) == list(range(37, 57))


@pytest.mark.parametrize("turns", range(12))
async def test_reader_cancelled_at_any_moment_can_resume(unbounded: Backend, turns: int) -> None:
    writer = await begin(unbounded)
    got: list[int] = []

    async def read() -> None:
        async with follow(
            unbounded, writer.run_id, got[-1] if got else 0, idle=TIMEOUT_SECONDS, limit=1
        ) as pages:
            async for page in pages:
                got.extend(sequences(page))
                await asyncio.sleep(0)  # the write to the client

    for _ in range(30):
        reader = asyncio.create_task(read())
        for turn in range(turns):
            if turn % 3 == 1:
                await writer.write()
            await asyncio.sleep(0)
        reader.cancel()
        with suppress(asyncio.CancelledError):
            await reader
    await writer.finish()
    await read()
    assert got == list(range(1, writer.run.last_sequence + 1))


async def test_reader_that_leaves_early_no_longer_counts(unbounded: Backend) -> None:
    writer = await begin(unbounded, events=3)
    for _ in range(3):
        async with follow(unbounded, writer.run_id, 0, idle=1, limit=1) as pages:
            async for _page in pages:
                break


async def test_reader_that_never_reads_no_longer_counts(unbounded: Backend) -> None:
    writer = await begin(unbounded, events=3)
    for _ in range(3):
        async with follow(unbounded, writer.run_id, 0, idle=1, limit=1):
            pass
    await writer.finish()
    assert len(await follow_all(unbounded, writer.run_id)) == 4
