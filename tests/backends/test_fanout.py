"""Fan-out: the watch and its timer, and what is delivered to waiting readers without waking them."""

import asyncio

import pytest

from dockrion.backends import Backend
from dockrion.backends.fanout import Watch
from dockrion.backends.follow import Pages, follow
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.pages import IDLE, Page
from tests.backends.conformance import TIMEOUT_SECONDS, Writer, begin, entries, sequences
from tests.support import wait_until


def timers() -> int:
    loop = asyncio.get_running_loop()
    return sum(not each.cancelled() for each in loop._scheduled)  # type: ignore[attr-defined]


async def test_many_waits_share_one_timer_which_close_cancels() -> None:
    before, watch = timers(), Watch(lambda _after: None)
    for _ in range(100):
        waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
        await asyncio.sleep(0)
        watch.wake()
        assert await waiting
        assert timers() == before + 1
    watch.close()
    assert timers() == before


async def test_shorter_wait_after_a_longer_one_ends_in_time() -> None:
    watch = Watch(lambda _after: None)
    waiting = asyncio.create_task(watch.wait(6 * TIMEOUT_SECONDS))
    await asyncio.sleep(0)
    watch.wake()
    await waiting
    async with asyncio.timeout(TIMEOUT_SECONDS):
        assert not await watch.wait(0.01)
    watch.close()


async def test_timer_that_fires_too_early_is_set_anew() -> None:
    watch, now = Watch(lambda _after: None), asyncio.get_running_loop().time
    waiting = asyncio.create_task(watch.wait(0.02))
    await asyncio.sleep(0)
    watch.wake()
    await waiting
    began = now()
    assert not await watch.wait(0.1)
    assert now() - began >= 0.09
    watch.close()


async def test_delivery_replaces_a_wake_up_only_while_the_task_waits() -> None:
    offered: list[int] = []

    def peek(after: int) -> Page:
        return Page(entries(after + 1, after + 2))

    def deliver(page: Page) -> bool:
        offered.extend(sequences(page))
        return len(offered) < 6

    watch = Watch(peek)
    watch.idle, watch.deliver = TIMEOUT_SECONDS, deliver
    watch.wake()
    assert await watch.wait(TIMEOUT_SECONDS)
    assert offered == []
    waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
    await asyncio.sleep(0)
    watch.wake()
    watch.wake()
    await asyncio.sleep(0)
    assert not waiting.done()
    assert watch.position == 4
    watch.wake()
    await wait_until(waiting.done)
    assert waiting.result()
    assert offered == [1, 2, 3, 4, 5, 6]
    assert watch.position == 4  # the task reads what was not delivered
    watch.close()


@pytest.mark.parametrize(
    "page",
    [
        None,
        Page([]),
        Page(entries(1, 33)),
        Page(entries(1, 2), more=True),
        Page(entries(1, 1, "complete"), closed=True),
    ],
    ids=["needs I/O", "empty", "burst", "more", "end of the run"],
)
async def test_task_is_woken_for_what_it_has_to_read_itself(page: Page | None) -> None:
    offered: list[Page] = []

    def deliver(page: Page) -> bool:
        offered.append(page)
        return True

    watch = Watch(lambda _after: page)
    watch.idle, watch.deliver = TIMEOUT_SECONDS, deliver
    waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
    await asyncio.sleep(0)
    watch.wake()
    assert await waiting
    assert (offered, watch.position) == ([], 0)
    watch.close()


class Reader:
    """Reads a run in a task, and accepts deliveries while `accepts` is true."""

    def __init__(self, pages: Pages) -> None:
        self.delivered: list[int] = []
        self.pulled: list[int] = []
        self.idle = 0
        self.accepts = True
        self.task = asyncio.create_task(self._read(pages))
        pages.deliver_to(self._deliver)

    def _deliver(self, page: Page) -> bool:
        if self.accepts:
            self.delivered += sequences(page)
        return self.accepts

    async def _read(self, pages: Pages) -> None:
        async for page in pages:
            if page is IDLE:
                self.idle += 1
            self.pulled += sequences(page)


async def wait_for_events(reader: Reader, expected: int) -> None:
    """Wait until a reader has so many events and waits for more."""
    await wait_until(lambda: len(reader.delivered) + len(reader.pulled) == expected)
    for _ in range(5):
        await asyncio.sleep(0)


async def ended(reader: Reader, writer: Writer) -> None:
    await writer.finish()
    await asyncio.wait_for(reader.task, TIMEOUT_SECONDS)


async def test_live_events_are_delivered_and_history_and_the_end_are_pulled() -> None:
    backend = MemoryBackend(max_events=100, ttl=60)
    writer = await begin(backend, events=3)
    async with follow(backend, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
        reader = Reader(pages)
        await wait_for_events(reader, 3)
        for _ in range(3):
            await writer.write(2)
        assert reader.delivered == [4, 5, 6, 7, 8, 9]
        await ended(reader, writer)
        assert (reader.pulled, reader.delivered) == ([1, 2, 3, 10], [4, 5, 6, 7, 8, 9])
    await backend.aclose()


async def test_each_event_is_either_delivered_or_pulled(unbounded: Backend) -> None:
    writer = await begin(unbounded)
    async with follow(unbounded, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
        reader = Reader(pages)
        for number in range(60):
            reader.accepts = number % 3 > 0
            await writer.write(1 + number % 4)
            if number % 5 == 0:
                await asyncio.sleep(0)
        await ended(reader, writer)
        assert sorted(reader.delivered + reader.pulled) == list(range(1, writer.run.last_sequence + 1))
        assert reader.pulled == sorted(reader.pulled)
        assert reader.delivered == sorted(reader.delivered)


async def test_failed_delivery_wakes_the_reader_and_affects_nobody_else() -> None:
    backend = MemoryBackend(max_events=100, ttl=60)
    writer = await begin(backend)
    async with (
        follow(backend, writer.run_id, 0, idle=TIMEOUT_SECONDS) as broken,
        follow(backend, writer.run_id, 0, idle=TIMEOUT_SECONDS) as sound,
    ):
        readers = Reader(broken), Reader(sound)

        def fail(_page: Page) -> bool:
            raise RuntimeError

        broken.deliver_to(fail)
        await wait_for_events(readers[1], 0)
        await writer.write(2)
        await wait_for_events(readers[0], 2)
        assert (readers[0].pulled, readers[1].delivered) == ([1, 2], [1, 2])
        for reader in readers:
            reader.task.cancel()
        await asyncio.wait([reader.task for reader in readers])
    await backend.aclose()


async def test_nothing_is_delivered_to_a_cancelled_reader() -> None:
    backend = MemoryBackend(max_events=100, ttl=60)
    writer = await begin(backend)
    async with follow(backend, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
        reader = Reader(pages)
        await wait_for_events(reader, 0)
        reader.task.cancel()  # its task has not run yet
        await writer.write()
        assert reader.delivered == []
        await asyncio.wait([reader.task])
        await writer.write()
        assert reader.delivered == []
    await backend.aclose()


async def test_delivery_postpones_idle() -> None:
    backend = MemoryBackend(max_events=1000, ttl=60)
    writer = await begin(backend)
    idle = 0.05
    now = asyncio.get_running_loop().time
    async with follow(backend, writer.run_id, 0, idle=idle) as pages:
        began = before = now()
        longest = 0.0
        reader = Reader(pages)
        await wait_for_events(reader, 0)
        while now() - began < 4 * idle:
            await writer.write()
            longest, before = max(longest, now() - before), now()
            await asyncio.sleep(idle / 20)
        if longest < idle / 2:  # else the machine was too busy to tell
            assert reader.idle == 0
        assert reader.delivered
        await wait_until(lambda: reader.idle >= 2)
        await ended(reader, writer)
    await backend.aclose()
