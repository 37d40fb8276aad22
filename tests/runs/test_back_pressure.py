"""Agents wait while the event buffer is full, and not without end."""

import asyncio
import threading
from functools import partial

import pytest

from dockrion.runs.event_buffer import (
    BUFFER_BYTES,
    BUFFER_EVENTS,
    UNYIELDING_BYTES,
    UNYIELDING_EVENTS,
)
from tests.backends.publishing import (
    BufferBench,
    contents,
    fill,
    hold,
    in_a_thread,
    join_threads,
    waiting_threads,
)
from tests.support import TIMEOUT_SECONDS, wait_until


async def test_a_full_buffer_makes_async_code_wait_until_there_is_room(bench: BufferBench) -> None:
    await fill(bench)
    waiting = asyncio.create_task(bench.buffer.wait_for_room())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    bench.backend.gate.set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await waiting
    assert not bench.buffer.full


async def test_everyone_who_waits_for_room_is_released(bench: BufferBench) -> None:
    await fill(bench)
    waiting = [asyncio.create_task(bench.buffer.wait_for_room()) for _ in range(10)]
    released = [threading.Event() for _ in range(5)]

    def block(event: threading.Event) -> None:
        bench.blocking("blocking")
        event.set()

    threads = [in_a_thread(partial(block, event)) for event in released]
    await wait_until(lambda: waiting_threads(bench) == len(threads))
    assert not any(event.is_set() for event in released)
    assert not any(task.done() for task in waiting)
    bench.backend.gate.set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*waiting)
    await join_threads(*threads)


async def test_a_cancelled_waiter_does_not_block_the_others(bench: BufferBench) -> None:
    await fill(bench)
    waiting = [asyncio.create_task(bench.buffer.wait_for_room()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    bench.backend.gate.set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, type(None), type(None)]


async def test_nobody_waits_while_there_is_room(bench: BufferBench) -> None:
    await hold(bench)
    for number in range(BUFFER_EVENTS - 2):
        bench.token(str(number))
    assert not bench.buffer.full
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await bench.buffer.wait_for_room()
        await join_threads(in_a_thread(partial(bench.blocking, "blocking")))


async def test_closing_releases_everyone_who_waits(bench: BufferBench) -> None:
    await fill(bench)
    waiting = asyncio.create_task(bench.buffer.wait_for_room())
    thread = in_a_thread(partial(bench.blocking, "blocking"))
    await wait_until(lambda: waiting_threads(bench))
    await asyncio.sleep(0)
    bench.buffer.close()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await waiting
    await join_threads(thread)


async def test_the_terminal_event_releases_threads_that_wait(bench: BufferBench) -> None:
    await fill(bench)
    thread = in_a_thread(partial(bench.blocking, "blocking"))
    await wait_until(lambda: waiting_threads(bench))
    bench.finish()
    await join_threads(thread)


async def test_the_terminal_event_releases_async_code_that_waits(bench: BufferBench) -> None:
    await fill(bench)
    waiting = asyncio.create_task(bench.buffer.wait_for_room())
    await asyncio.sleep(0)
    bench.finish()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await waiting


async def test_another_event_loop_can_emit_and_wait_for_room(bench: BufferBench) -> None:
    await fill(bench)
    done, there = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        there.set()
        await bench.buffer.wait_for_room()
        bench.token("from elsewhere")
        done.set()

    thread = in_a_thread(lambda: asyncio.run(elsewhere()))
    await wait_until(there.is_set)
    await wait_until(
        lambda: len(asyncio.all_tasks()) == 3
    )  # this test, the writer, and the wait from elsewhere
    assert not done.is_set()
    bench.backend.gate.set()
    await join_threads(thread)
    assert contents(await bench.end())[-1] == "from elsewhere"


async def test_sync_code_on_the_loop_does_not_wait_for_room(bench: BufferBench) -> None:
    await fill(bench)
    bench.blocking("over")
    bench.backend.gate.set()
    assert contents(await bench.end())[-1] == "over"


async def test_sync_code_on_the_loop_cannot_fill_the_memory(bench: BufferBench) -> None:
    def emit_without_end() -> None:
        for _ in range(2 * UNYIELDING_EVENTS):
            bench.blocking("x")

    with pytest.raises(BufferError, match="await"):
        emit_without_end()
    assert len(await bench.end()) == UNYIELDING_EVENTS + 1


async def test_agents_wait_while_many_bytes_are_buffered(bench: BufferBench) -> None:
    await hold(bench)
    bench.token("x" * BUFFER_BYTES)
    assert bench.buffer.full
    thread = in_a_thread(partial(bench.blocking, "blocking"))
    await wait_until(lambda: waiting_threads(bench))
    bench.backend.gate.set()
    await join_threads(thread)
    assert contents(await bench.end())[-1] == "blocking"


async def test_sync_code_on_the_loop_cannot_fill_the_memory_with_few_events(bench: BufferBench) -> None:
    size = 2**19
    most = UNYIELDING_BYTES // size

    def emit_without_end() -> None:
        for _ in range(2 * most):
            bench.blocking("x" * size)

    with pytest.raises(BufferError, match="await"):
        emit_without_end()
    assert most - 1 <= len(await bench.end()) <= most + 1


async def test_a_stop_releases_waiting_threads_and_other_loops(bench: BufferBench) -> None:
    await fill(bench)
    blocked = in_a_thread(partial(bench.blocking, "blocking"))
    elsewhere = in_a_thread(lambda: asyncio.run(bench.buffer.wait_for_room()))
    await wait_until(lambda: waiting_threads(bench))
    await wait_until(lambda: len(asyncio.all_tasks()) == 3)
    bench.buffer.stop()
    await join_threads(blocked, elsewhere)
    assert bench.buffer.full
