"""Watches, subscriber limits, and requests to cancel."""

import asyncio

import pytest

from dockrion.backends import Backend
from dockrion.backends.fanout import Watch
from dockrion.errors import RunNotFound, TooManySubscribers
from tests.backends.conformance import (
    TIMEOUT_SECONDS,
    advanced,
    begin,
    cancel_requests,
    entries,
    not_over_deployments,
    sequences,
)

SOON = 0.05  # seconds to wait for a wake-up that must not come


async def quiet(watch: Watch) -> None:
    """Wait until nothing wakes it: a backend that has just started may wake it once without need."""
    while await watch.wait(SOON):
        pass


async def test_watch_is_woken_by_every_later_append(backend: Backend) -> None:
    writer = await begin(backend)
    async with backend.watch(writer.run_id) as watch:
        for _ in range(5):
            await writer.write()
            assert await watch.wait(TIMEOUT_SECONDS)


async def test_watch_is_woken_by_the_terminal_event(backend: Backend) -> None:
    writer = await begin(backend)
    async with backend.watch(writer.run_id) as watch:
        await writer.finish()
        assert await watch.wait(TIMEOUT_SECONDS)


async def test_append_wakes_a_wait_in_progress(backend: Backend) -> None:
    writer = await begin(backend)
    async with backend.watch(writer.run_id) as watch:
        waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
        await asyncio.sleep(0)
        await writer.write()
        assert await waiting


async def test_append_wakes_all_watches_of_the_run(backend: Backend) -> None:
    writer = await begin(backend)
    async with backend.watch(writer.run_id) as one, backend.watch(writer.run_id) as other:
        await writer.write()
        assert await one.wait(TIMEOUT_SECONDS)
        assert await other.wait(TIMEOUT_SECONDS)


async def test_watch_is_not_woken_by_earlier_appends(unbounded: Backend) -> None:
    writer = await begin(unbounded, events=3)
    async with unbounded.watch(writer.run_id) as watch:
        # A backend may wake once too often; reading then shows nothing new.
        while await watch.wait(SOON):
            assert sequences(await unbounded.read(writer.run_id, 3, 10)) == []


async def test_watch_is_not_woken_by_another_run(backend: Backend) -> None:
    writer, other = await begin(backend), await begin(backend)
    async with backend.watch(writer.run_id) as watch:
        await quiet(watch)
        await other.write()
        assert not await watch.wait(SOON)


async def test_wait_without_an_append_times_out(backend: Backend) -> None:
    writer = await begin(backend)
    async with backend.watch(writer.run_id) as watch:
        await quiet(watch)
        before = asyncio.get_running_loop().time()
        assert not await watch.wait(SOON)
        assert asyncio.get_running_loop().time() - before >= SOON * 0.9


async def test_wake_ups_coalesce() -> None:
    watch = Watch(lambda _after: None)
    for _ in range(1_000):
        watch.wake()
    assert await watch.wait(TIMEOUT_SECONDS)
    assert not await watch.wait(0)


async def test_cancelled_wait_loses_no_wake_up(backend: Backend) -> None:
    writer = await begin(backend)
    async with backend.watch(writer.run_id) as watch:
        waiting = asyncio.create_task(watch.wait(TIMEOUT_SECONDS))
        await asyncio.sleep(0)
        await writer.write()
        waiting.cancel()
        (result,) = await asyncio.gather(waiting, return_exceptions=True)
        assert result is True or await watch.wait(TIMEOUT_SECONDS)


@not_over_deployments("unbounded")
async def test_arming_before_reading_loses_nothing(unbounded: Backend) -> None:
    writer = await begin(unbounded)
    last = 300

    async def read() -> list[int]:
        got: list[int] = []
        async with unbounded.watch(writer.run_id) as watch:
            while len(got) < last:
                page = await unbounded.read(writer.run_id, len(got), 10)
                got.extend(sequences(page))
                if not page.entries:
                    assert await watch.wait(TIMEOUT_SECONDS), f"no wake-up after {len(got)}"
        return got

    readers = [asyncio.create_task(read()) for _ in range(20)]
    for number in range(last):
        await writer.write()
        if number % 3 == 0:
            await asyncio.sleep(0)
    assert await asyncio.gather(*readers) == [list(range(1, last + 1))] * 20


async def test_watch_over_the_limit_is_refused(backend: Backend) -> None:
    writer = await begin(backend)
    async with backend.watch(writer.run_id, limit=2), backend.watch(writer.run_id, limit=2):
        with pytest.raises(TooManySubscribers) as refused:
            async with backend.watch(writer.run_id, limit=2):
                pass
    assert "Retry-After" in refused.value.headers


async def test_unlimited_watches_are_neither_counted_nor_refused(backend: Backend) -> None:
    writer = await begin(backend)
    async with (
        backend.watch(writer.run_id),
        backend.watch(writer.run_id),
        backend.watch(writer.run_id, limit=1),
        backend.watch(writer.run_id),
    ):
        await writer.write()


async def test_limit_applies_per_run(backend: Backend) -> None:
    one, other = await begin(backend), await begin(backend)
    async with backend.watch(one.run_id, limit=1), backend.watch(other.run_id, limit=1):
        pass


async def test_closed_watch_no_longer_counts(backend: Backend) -> None:
    writer = await begin(backend)
    for _ in range(3):
        async with backend.watch(writer.run_id, limit=1):
            pass


async def test_refused_watch_does_not_count(backend: Backend) -> None:
    writer = await begin(backend)
    async with backend.watch(writer.run_id, limit=2):
        for _ in range(3):
            with pytest.raises(TooManySubscribers):
                async with backend.watch(writer.run_id, limit=1):
                    pass
        async with backend.watch(writer.run_id, limit=2):
            pass


async def test_watch_closed_by_an_exception_no_longer_counts(backend: Backend) -> None:
    writer = await begin(backend)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with backend.watch(writer.run_id, limit=1):
                _ = 1 // 0


async def test_watch_of_a_cancelled_reader_no_longer_counts(backend: Backend) -> None:
    writer = await begin(backend)

    async def watch(entered: asyncio.Event) -> None:
        async with backend.watch(writer.run_id, limit=1) as watch:
            entered.set()
            while await watch.wait(TIMEOUT_SECONDS):  # a backend may wake it once too often
                pass

    for _ in range(3):
        entered = asyncio.Event()
        task = asyncio.create_task(watch(entered))
        await asyncio.wait_for(entered.wait(), TIMEOUT_SECONDS)
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)


async def test_finished_run_can_be_watched(backend: Backend) -> None:
    writer = await begin(backend)
    await writer.finish()
    async with backend.watch(writer.run_id, limit=1):
        assert (await backend.read(writer.run_id, 0, 10)).closed


async def test_cancel_request_arrives_with_its_reason(backend: Backend) -> None:
    writer = await begin(backend)
    async with cancel_requests(backend) as received:
        await backend.request_cancel(writer.run_id, "because \N{GREEK SMALL LETTER BETA}")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await received.get() == (writer.run_id, "because \N{GREEK SMALL LETTER BETA}")


async def test_cancel_request_without_a_reason_arrives_as_none(backend: Backend) -> None:
    writer = await begin(backend)
    async with cancel_requests(backend) as received:
        await backend.request_cancel(writer.run_id, None)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await received.get() == (writer.run_id, None)


async def test_empty_cancel_reason_is_not_none(backend: Backend) -> None:
    writer = await begin(backend)
    async with cancel_requests(backend) as received:
        await backend.request_cancel(writer.run_id, "")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await received.get() == (writer.run_id, "")


async def test_cancel_requests_arrive_in_order(backend: Backend) -> None:
    runs = [(await begin(backend)).run_id for _ in range(5)]
    async with cancel_requests(backend) as received:
        for run_id in runs:
            await backend.request_cancel(run_id, run_id)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert [await received.get() for _ in runs] == [(run_id, run_id) for run_id in runs]


async def test_cancel_request_does_not_change_the_run(backend: Backend) -> None:
    writer = await begin(backend, events=1)
    await backend.request_cancel(writer.run_id, "r")
    assert await backend.get(writer.run_id) == writer.run
    assert sequences(await backend.read(writer.run_id, 0, 10)) == [1]


async def test_refused_cancel_request_is_not_delivered(backend: Backend) -> None:
    writer = await begin(backend)
    async with cancel_requests(backend) as received:
        with pytest.raises(RunNotFound):
            await backend.request_cancel("unknown", "r")
        await backend.request_cancel(writer.run_id, "s")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await received.get() == (writer.run_id, "s")


async def test_correct_append_succeeds_after_a_refused_one(backend: Backend) -> None:
    writer = await begin(backend, events=1)
    async with backend.watch(writer.run_id) as watch:
        with pytest.raises(Exception, match=writer.run_id):
            await backend.append(advanced(writer.run, 9), entries(9, 9))
        await writer.write()
        assert await watch.wait(TIMEOUT_SECONDS)
        assert sequences(await backend.read(writer.run_id, 1, 10)) == [2]
