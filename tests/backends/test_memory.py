"""The memory backend alone: expiry, shared pages, and that memory stays flat."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from dockrion.backends.follow import follow
from dockrion.backends.memory import MemoryBackend
from dockrion.errors import RunNotFound
from tests.backends.conformance import Writer, advanced, begin, entries, follow_all, sequences
from tests.support import wait_until

TTL = 0.01  # real seconds between checks for expiry; the clock they read is moved by the tests


class Clock:
    """A clock that stands still until a test moves it, and counts its reads."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def backend(clock: Clock) -> AsyncIterator[MemoryBackend]:
    backend = MemoryBackend(max_events=1_000, ttl=TTL, clock=clock)
    yield backend
    await backend.aclose()


async def wait_for_check(clock: Clock) -> None:
    """Wait until the backend has checked for expired runs."""
    before = clock.reads
    await wait_until(lambda: clock.reads >= before + 4)


def assert_empty(backend: MemoryBackend) -> None:
    assert not backend._logs
    assert not any(backend._retention._finished.values())
    assert backend._retention._expiry_timer is None


async def test_finished_run_is_stored_for_its_time_to_live(backend: MemoryBackend, clock: Clock) -> None:
    writer = await begin(backend)
    await writer.finish()
    clock.now += TTL * 0.99
    await wait_for_check(clock)
    assert (await backend.get(writer.run_id)).finished
    assert sequences(await backend.read(writer.run_id, 0, 10)) == [1]


async def test_finished_run_is_removed_after_its_time_to_live(backend: MemoryBackend, clock: Clock) -> None:
    writer = await begin(backend)
    await writer.finish()
    clock.now += TTL
    await wait_until(lambda: not backend._logs)
    with pytest.raises(RunNotFound):
        await backend.get(writer.run_id)
    with pytest.raises(RunNotFound):
        await backend.read(writer.run_id, 0, 10)
    assert (await backend.recent(status=None, limit=10, cursor=None)).items == []
    assert_empty(backend)


async def test_time_to_live_begins_when_the_run_ends(backend: MemoryBackend, clock: Clock) -> None:
    early, late = await begin(backend), await begin(backend)
    await early.finish()
    clock.now += TTL / 2
    await late.finish()
    clock.now += TTL / 2
    await wait_until(lambda: early.run_id not in backend._logs)
    await wait_for_check(clock)
    assert late.run_id in backend._logs
    clock.now += TTL / 2
    await wait_until(lambda: not backend._logs)
    assert_empty(backend)


async def test_live_run_never_expires(backend: MemoryBackend, clock: Clock) -> None:
    live, finished = await begin(backend, events=3), await begin(backend)
    await finished.finish()
    clock.now += 1_000_000
    await wait_until(lambda: finished.run_id not in backend._logs)
    assert sequences(await backend.read(live.run_id, 0, 10)) == [1, 2, 3]
    await live.finish()
    assert (await backend.get(live.run_id)).finished


async def test_watched_run_is_stored_until_the_last_watch_closes(
    backend: MemoryBackend, clock: Clock
) -> None:
    writer = await begin(backend, events=2)
    async with backend.watch(writer.run_id):
        async with backend.watch(writer.run_id, limit=1):
            await writer.finish()
            clock.now += TTL
            await wait_until(lambda: not any(backend._retention._finished.values()))
            assert sequences(await backend.read(writer.run_id, 0, 10)) == [1, 2, 3]
        assert (await backend.get(writer.run_id)).finished
    with pytest.raises(RunNotFound):
        await backend.get(writer.run_id)
    assert_empty(backend)


async def test_run_whose_watch_closed_early_still_expires(backend: MemoryBackend, clock: Clock) -> None:
    writer = await begin(backend)
    async with backend.watch(writer.run_id):
        await writer.finish()
    assert writer.run_id in backend._logs
    clock.now += TTL
    await wait_until(lambda: not backend._logs)
    assert_empty(backend)


async def test_expired_id_can_be_reused(backend: MemoryBackend, clock: Clock) -> None:
    writer = await begin(backend, events=5)
    await writer.finish()
    clock.now += TTL
    await wait_until(lambda: not backend._logs)
    again = await begin(backend, writer.run_id)
    assert sequences(await backend.read(again.run_id, 0, 10)) == []
    clock.now += 10 * TTL
    await again.write()
    assert sequences(await backend.read(again.run_id, 0, 10)) == [1]


async def test_index_drops_removed_runs(backend: MemoryBackend, clock: Clock) -> None:
    oldest = await begin(backend, owner="ann")
    for _ in range(1_000):
        await (await begin(backend)).finish()
    newest = await begin(backend, owner="ann")
    clock.now += TTL
    await wait_until(lambda: len(backend._logs) == 2)
    assert len(backend._index._all.ids) < 100
    assert (await backend.recent(status=None, limit=5, cursor=None)).items == [newest.run, oldest.run]


async def test_close_releases_everything(backend: MemoryBackend) -> None:
    finished = await begin(backend, events=5)
    await finished.finish()
    await begin(backend, events=5)
    await backend.aclose()
    assert not backend._logs
    assert not any(backend._retention._finished.values())
    assert backend._retention._expiry_timer is None or backend._retention._expiry_timer.cancelled()


async def test_hundreds_of_runs_leave_memory_flat(clock: Clock) -> None:
    backend = MemoryBackend(max_events=100, ttl=TTL, clock=clock)

    async def serve(runs: int) -> int:
        """Write, read, finish and expire runs; return the allocated bytes afterwards."""
        for number in range(runs):
            writer = await begin(backend, events=50)
            await writer.write(100)
            async with follow(backend, writer.run_id, 0, idle=1, limit=5) as pages:
                await anext(pages)
            await writer.finish("completed" if number % 2 else "cancelled")
            await follow_all(backend, writer.run_id)
            if number % 100 == 99:
                clock.now += TTL
                await wait_until(lambda: not backend._logs)
        assert_empty(backend)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = await serve(100)
        after = await serve(500)
    finally:
        tracemalloc.stop()
        await backend.aclose()
    assert after - before < 5_000  # less than 10 bytes a run


async def test_long_run_holds_only_its_window(clock: Clock) -> None:
    backend = MemoryBackend(max_events=100, ttl=TTL, clock=clock)
    writer = await begin(backend)

    async def write(events: int) -> int:
        for _ in range(events // 10):
            await writer.write(10)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = await write(2_000)
        after = await write(20_000)
    finally:
        tracemalloc.stop()
        await backend.aclose()
    assert after - before < 100_000  # the slack over the window, not 20,000 events


async def test_readers_at_the_same_position_share_one_page(backend: MemoryBackend) -> None:
    writer = await begin(backend, events=3)
    async with backend.watch(writer.run_id):
        page = await backend.read(writer.run_id, 1, 512)
        assert await backend.read(writer.run_id, 1, 512) is page
        assert await backend.read(writer.run_id, 2, 512) is not page


async def test_append_ends_the_sharing_of_a_page(backend: MemoryBackend) -> None:
    writer = await begin(backend, events=3)
    async with backend.watch(writer.run_id):
        page = await backend.read(writer.run_id, 0, 512)
        await writer.write()
        fresh = await backend.read(writer.run_id, 0, 512)
        assert fresh is not page
        assert sequences(fresh) == [1, 2, 3, 4]


async def test_end_of_the_run_ends_the_sharing_of_a_page(backend: MemoryBackend) -> None:
    writer = await begin(backend, events=3)
    async with backend.watch(writer.run_id):
        assert not (await backend.read(writer.run_id, 3, 512)).closed
        await writer.finish()
        assert (await backend.read(writer.run_id, 3, 512)).closed


async def test_another_limit_is_another_page(backend: MemoryBackend) -> None:
    writer = await begin(backend, events=3)
    async with backend.watch(writer.run_id):
        assert sequences(await backend.read(writer.run_id, 0, 2)) == [1, 2]
        assert sequences(await backend.read(writer.run_id, 0, 512)) == [1, 2, 3]


async def test_followers_share_encoded_pages(backend: MemoryBackend) -> None:
    writer = await begin(backend, events=3)
    calls = 0

    def encode(_: object) -> bytes:
        nonlocal calls
        calls += 1
        return b"x"

    async def read(joined: asyncio.Barrier) -> None:
        async with follow(backend, writer.run_id, 3, idle=10) as pages:
            await joined.wait()
            async for page in pages:
                page.encoded(encode)

    joined = asyncio.Barrier(11)
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(read(joined))
        await joined.wait()
        await writer.finish()
    assert calls == 1


async def test_no_page_is_held_after_the_last_watch_closes(backend: MemoryBackend) -> None:
    writer = await begin(backend, events=3)
    async with backend.watch(writer.run_id), backend.watch(writer.run_id):
        await backend.read(writer.run_id, 0, 512)
    assert backend._logs[writer.run_id]._page is None
    await backend.read(writer.run_id, 0, 512)
    assert backend._logs[writer.run_id]._page is None


async def test_appended_list_may_be_reused_by_the_writer(backend: MemoryBackend) -> None:
    writer = await begin(backend)
    batch = entries(1, 3)
    await backend.append(advanced(writer.run, 3), batch)
    batch.clear()
    assert sequences(await backend.read(writer.run_id, 0, 10)) == [1, 2, 3]


async def test_window_of_a_finished_run_holds_no_slack() -> None:
    backend = MemoryBackend(max_events=10, ttl=60)
    writer = await begin(backend)
    await writer.write(100)
    first = (await backend.read(writer.run_id, 0, 1)).entries[0]
    await Writer(backend, writer.run).finish()
    assert first.sequence == 91
    assert backend._logs[writer.run_id]._events._count == 10
    await backend.aclose()
