"""The memory backend's limit in bytes: what is removed above it, in which order, and what says so."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockrion.backends.fanout import Watch
from dockrion.backends.follow import follow
from dockrion.backends.memory import MemoryBackend
from dockrion.errors import RunNotFound
from dockrion.events import Entry
from tests.backends.conformance import Writer, advanced, begin, follow_all, new_run, read_all, sequences
from tests.backends.test_memory import Clock

LIMIT = 1_000_000
MESSAGE = "limits.max_stored_bytes is reached; the oldest runs and events are removed"


class Evicted:
    """Counts what the limit has removed."""

    def __init__(self) -> None:
        self.runs = self.events = 0

    def __call__(self, runs: int, events: int) -> None:
        self.runs += runs
        self.events += events


@asynccontextmanager
async def limited(max_bytes: int = LIMIT, evicted: Evicted | None = None) -> AsyncIterator[MemoryBackend]:
    backend = MemoryBackend(
        max_events=10_000, ttl=3600, max_bytes=max_bytes, on_evicted=evicted or Evicted(), clock=Clock()
    )
    yield backend
    assert backend.stored_bytes == sum(log.weight for log in backend._logs.values())
    await backend.aclose()


class LargeWriter(Writer):
    """The writer of a run with large events."""

    async def write_bytes(self, size: int, number: int = 1) -> None:
        """Append events with so many bytes each, in one batch."""
        first = self.run.last_sequence + 1
        self.run = advanced(self.run, first + number - 1)
        batch = [Entry(n, "token", b"x" * size, 1.0) for n in range(first, first + number)]
        await self.backend.append(self.run, batch)


async def begun(backend: MemoryBackend, size: int = 0) -> LargeWriter:
    writer = LargeWriter(backend, (await begin(backend)).run)
    if size:
        await writer.write_bytes(size)
    return writer


async def finished(backend: MemoryBackend, size: int) -> LargeWriter:
    writer = await begun(backend, size)
    await writer.finish()
    return writer


def stored(backend: MemoryBackend, *writers: Writer) -> list[bool]:
    return [writer.run_id in backend._logs for writer in writers]


async def test_runs_that_finished_first_are_removed_first() -> None:
    async with limited(evicted=(evicted := Evicted())) as backend:
        slow = await begun(backend, 10_000)
        runs = [await finished(backend, 300_000) for _ in range(3)]
        await slow.finish()
        await begun(backend, 200_000)
        assert stored(backend, *runs, slow) == [False, True, True, True]
        await begun(backend, 300_000)
        assert stored(backend, *runs, slow) == [False, False, True, True]
        with pytest.raises(RunNotFound):
            await backend.get(runs[0].run_id)
        listing = await backend.recent(status="completed", limit=10, cursor=None)
        assert [run.run_id for run in listing.items] == [runs[2].run_id, slow.run_id]
        assert (evicted.runs, evicted.events) == (2, 0)


async def test_inputs_count() -> None:
    async with limited(evicted=(evicted := Evicted())) as backend:
        for _ in range(5):
            run = new_run(body=b"x" * 300_000)
            await backend.create(run)
            await LargeWriter(backend, run).finish()
        assert 900_000 < backend.stored_bytes < LIMIT
        assert evicted.runs == 2


async def test_unfinished_runs_outlive_all_finished_ones() -> None:
    async with limited() as backend:
        live = [await begun(backend, 1_000) for _ in range(50)]
        for _ in range(100):
            await finished(backend, 100_000)
        assert all(stored(backend, *live))
        assert [sequences(await read_all(backend, writer.run_id)) for writer in live] == [[1]] * 50
        assert backend.stored_bytes <= LIMIT


async def test_largest_unfinished_runs_lose_their_oldest_events() -> None:
    async with limited(evicted=(evicted := Evicted())) as backend:
        small = await begun(backend)
        await small.write_bytes(1_000, number=20)
        large, larger = await begun(backend), await begun(backend)
        for _ in range(100):
            await large.write_bytes(10_000)
            await larger.write_bytes(20_000)
            assert backend.stored_bytes <= LIMIT
        assert sequences(await read_all(backend, small.run_id)) == list(range(1, 21))
        for writer in (large, larger):
            kept = sequences(await read_all(backend, writer.run_id))
            assert 10 < len(kept) < 60
            assert kept == list(range(101 - len(kept), 101))
        assert (evicted.runs, evicted.events > 100) == (0, True)


async def test_reader_of_dropped_events_continues_with_the_oldest_that_is_left() -> None:
    async with limited() as backend:
        writer = await begun(backend, 10_000)
        async with follow(backend, writer.run_id, 0, idle=10) as pages:
            assert sequences(await anext(pages)) == [1]
            for _ in range(200):
                await writer.write_bytes(10_000)
            page = await anext(pages)
            assert page.entries[0].sequence > 2
        await writer.finish()
        assert (await follow_all(backend, writer.run_id))[-1].type == "complete"


async def test_newest_event_of_each_unfinished_run_stays() -> None:
    async with limited(max_bytes=100_000) as backend:
        writers = [await begun(backend, 50_000) for _ in range(5)]
        await writers[0].write_bytes(70_000)
        assert [sequences(await read_all(backend, writer.run_id)) for writer in writers] == [
            [2],
            *[[1]] * 4,
        ]


async def test_terminal_event_of_a_run_that_is_being_read_stays() -> None:
    async with limited(max_bytes=100_000) as backend:
        writer = await begun(backend)
        async with backend.watch(writer.run_id):
            await writer.write_bytes(60_000)
            await writer.write_bytes(60_000)
            await writer.finish()
            await begun(backend, 90_000)
            assert [entry.type for entry in await read_all(backend, writer.run_id)] == ["complete"]
            assert (await backend.get(writer.run_id)).finished
        assert stored(backend, writer) == [False]


async def test_run_that_is_being_read_is_removed_after_its_last_reader() -> None:
    async with limited() as backend:
        oldest, other = await begun(backend, 100_000), await begun(backend, 100_000)
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(backend.watch(oldest.run_id))
            await oldest.finish()
            await other.finish()
            await begun(backend, 900_000)
            assert stored(backend, oldest, other) == [True, False]
        assert stored(backend, oldest) == [False]


async def test_run_larger_than_the_limit_is_read_to_its_end() -> None:
    async with limited(max_bytes=100_000) as backend:
        writer = await begun(backend)
        reader: asyncio.Task[list[Entry]] = asyncio.create_task(follow_all(backend, writer.run_id))
        for _ in range(20):
            await writer.write_bytes(20_000)
            await asyncio.sleep(0)
        await writer.finish()
        assert (await reader)[-1].type == "complete"
        assert (await backend.get((await begun(backend)).run_id)).status == "accepted"


async def test_outputs_errors_and_metadata_count() -> None:
    async with limited() as backend:
        for changes in (
            {"output": msgspec.Raw(b'"%s"' % (b"x" * 400_000))},
            {"error": {"error": "m", "code": "C", "details": "x" * 400_000}},
            {"metadata": {"large": "x" * 400_000}},
        ):
            before = backend.stored_bytes
            run = new_run()
            await backend.create(run)
            run = msgspec.structs.replace(advanced(run, 1, "completed"), **changes)
            await backend.append(run, [Entry(1, "complete", b"{}", 1.0)])
            assert await backend.get(run.run_id) == run
            assert 400_000 < backend.stored_bytes - before < 410_000 or backend.stored_bytes < LIMIT


async def test_id_of_a_removed_run_is_free_again() -> None:
    async with limited() as backend:
        removed = await finished(backend, 100_000)
        await begun(backend, 950_000)
        again = await begin(backend, removed.run_id)
        assert sequences(await read_all(backend, again.run_id)) == []


async def test_one_line_a_minute_says_how_much_was_removed(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    backend = MemoryBackend(max_events=10_000, ttl=3600, max_bytes=LIMIT, clock=clock)
    for _ in range(1_000):
        await finished(backend, 10_000)
    assert [record.message for record in caplog.records] == [MESSAGE]
    assert caplog.records[0].levelno == logging.WARNING
    assert caplog.records[0].__dict__["fields"] == {"removed_runs": 1, "dropped_events": 0}
    clock.now += 61
    await finished(backend, 10_000)
    assert [record.message for record in caplog.records] == [MESSAGE] * 2
    assert 900 < caplog.records[1].__dict__["fields"]["removed_runs"] < 1_000
    await backend.aclose()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "write", "finish", "watch", "close", "read"]),
        st.integers(0, 9),
        st.sampled_from([10, 1_000, 30_000, 200_000]),
    ),
    max_size=60,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
async def test_account_is_right_after_any_operations(steps: list[tuple[str, int, int]]) -> None:
    evicted = Evicted()
    async with limited(evicted=evicted) as backend, AsyncExitStack() as stack:
        writers = [await begun(backend)]
        watches: list[tuple[AsyncExitStack, Watch]] = []
        for step, which, size in steps:
            writer = writers[which % len(writers)]
            if step == "create":
                writers.append(await begun(backend, size))
            elif step == "write" and not writer.run.finished:
                await writer.write_bytes(size, number=1 + which)
            elif step == "finish" and not writer.run.finished:
                await writer.finish()
            elif step == "watch" and writer.run_id in backend._logs:
                own = await stack.enter_async_context(AsyncExitStack())
                watches.append((own, await own.enter_async_context(backend.watch(writer.run_id))))
            elif step == "close" and watches:
                await watches.pop(which % len(watches))[0].aclose()
            elif step == "read" and writer.run_id in backend._logs:
                found = sequences(await read_all(backend, writer.run_id))
                assert found == list(range(found[0], writer.run.last_sequence + 1)) if found else True
            logs = backend._logs.values()
            assert backend.stored_bytes == sum(log.weight for log in logs)
            if backend.stored_bytes > LIMIT:
                assert not any(log.run.finished and not log.watches for log in logs)
            if backend.stored_bytes > LIMIT + LIMIT // 32:  # nothing is left to be removed
                assert all(log._events._count <= 1 for log in logs)
            assert all(writer.run_id in backend._logs for writer in writers if not writer.run.finished)


async def test_run_that_was_removed_keeps_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with limited(max_bytes=10_000) as backend:
        for _ in range(1_000):
            await finished(backend, 20_000)
            assert len(backend._logs) <= 1
            assert len(backend._index._all.ids) < 100
        assert backend.stored_bytes <= 10_000
    assert len(caplog.records) == 1
