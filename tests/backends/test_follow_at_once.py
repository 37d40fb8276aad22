"""Pages that a waiting reader takes where they are stored, without being woken."""

import asyncio

from dockrion.backends import Backend
from dockrion.backends.follow import Pages, follow
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.pages import IDLE, Page
from tests.backends.conformance import TIMEOUT_SECONDS, Writer, begin, sequences
from tests.support import wait_until


class Reader:
    """Reads a run in a task, and takes at once what it may."""

    def __init__(self, pages: Pages) -> None:
        self.taken: list[int] = []
        self.woken: list[int] = []
        self.idle = 0
        self.takes = True
        self.task = asyncio.create_task(self._read(pages))
        pages.deliver_to(self._take)

    def _take(self, page: Page) -> bool:
        if self.takes:
            self.taken += sequences(page)
        return self.takes

    async def _read(self, pages: Pages) -> None:
        async for page in pages:
            if page is IDLE:
                self.idle += 1
            self.woken += sequences(page)


async def parked(reader: Reader, expected: int) -> None:
    """Wait until a reader has so many events, and waits for more."""
    await wait_until(lambda: len(reader.taken) + len(reader.woken) == expected)
    for _ in range(5):
        await asyncio.sleep(0)


async def ended(reader: Reader, writer: Writer) -> None:
    await writer.finish()
    await asyncio.wait_for(reader.task, TIMEOUT_SECONDS)


async def test_a_waiting_reader_takes_without_waking_and_history_and_the_end_wake_it() -> None:
    backend = MemoryBackend(max_events=100, ttl=60)
    writer = await begin(backend, events=3)
    async with follow(backend, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
        reader = Reader(pages)
        await parked(reader, 3)
        for _ in range(3):
            await writer.write(2)
        assert reader.taken == [4, 5, 6, 7, 8, 9]
        await ended(reader, writer)
        assert (reader.woken, reader.taken) == ([1, 2, 3, 10], [4, 5, 6, 7, 8, 9])
    await backend.aclose()


async def test_every_reader_sees_each_event_once_whether_it_takes_or_wakes(unbounded: Backend) -> None:
    writer = await begin(unbounded)
    async with follow(unbounded, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
        reader = Reader(pages)
        for number in range(60):
            reader.takes = number % 3 > 0
            await writer.write(1 + number % 4)
            if number % 5 == 0:
                await asyncio.sleep(0)
        await ended(reader, writer)
        assert sorted(reader.taken + reader.woken) == list(range(1, writer.run.last_sequence + 1))
        assert reader.woken == sorted(reader.woken)
        assert reader.taken == sorted(reader.taken)


async def test_one_that_fails_to_take_is_woken_and_neither_the_writer_nor_others_notice() -> None:
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
        await parked(readers[1], 0)
        await writer.write(2)
        await parked(readers[0], 2)
        assert (readers[0].woken, readers[1].taken) == ([1, 2], [1, 2])
        for reader in readers:
            reader.task.cancel()
        await asyncio.wait([reader.task for reader in readers])
    await backend.aclose()


async def test_a_reader_that_was_cancelled_takes_no_more() -> None:
    backend = MemoryBackend(max_events=100, ttl=60)
    writer = await begin(backend)
    async with follow(backend, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
        reader = Reader(pages)
        await parked(reader, 0)
        reader.task.cancel()  # it has not noticed yet
        await writer.write()
        assert reader.taken == []
        await asyncio.wait([reader.task])
        await writer.write()
        assert reader.taken == []
    await backend.aclose()


async def test_what_was_taken_postpones_the_sign_of_life() -> None:
    backend = MemoryBackend(max_events=1000, ttl=60)
    writer = await begin(backend)
    idle = 0.05
    now = asyncio.get_running_loop().time
    async with follow(backend, writer.run_id, 0, idle=idle) as pages:
        reader = Reader(pages)
        await parked(reader, 0)
        began, longest, before = now(), 0.0, now()
        while now() - began < 4 * idle:
            await writer.write()
            longest, before = max(longest, now() - before), now()
            await asyncio.sleep(idle / 20)
        if longest < idle / 2:  # a machine that was held up says nothing of signs of life
            assert reader.idle == 0
        assert reader.taken
        await wait_until(lambda: reader.idle >= 2)
        await ended(reader, writer)
    await backend.aclose()
