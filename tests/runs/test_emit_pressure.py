"""Agents that emit as fast as they can: no other task starves, and memory is bounded."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from dockrion import RunCancelled, StreamContext
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import Run
from dockrion.events import Entry
from dockrion.runs import event_buffer, execution
from tests.agents.harness import bench
from tests.support import wait_until

MANY = 20_000
OFTEN = 20


class SlowBackend(MemoryBackend):
    """Stores nothing while its gate is closed."""

    def __init__(self) -> None:
        super().__init__(max_events=200_000, ttl=3600)
        self.gate = asyncio.Event()
        self.batches: list[int] = []

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        self.batches.append(len(entries))
        await self.gate.wait()
        await super().append(run, entries)


@asynccontextmanager
async def ticker() -> AsyncIterator[list[int]]:
    """Count how often another task gets its turn."""
    ticks = [0]

    async def tick() -> None:
        while True:
            await asyncio.sleep(0)
            ticks[0] += 1

    task = asyncio.create_task(tick())
    try:
        yield ticks
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_a_tight_async_loop_does_not_starve_others() -> None:
    async def agent(_payload: Any, context: StreamContext) -> int:
        before = ticks[0]
        for n in range(MANY):
            await context.emit_token(str(n))
        return ticks[0] - before

    async with bench(agent) as made, ticker() as ticks:
        ended = await made.run()
    assert ended.tokens == [str(n) for n in range(MANY)]
    assert ended.output >= OFTEN


async def test_a_tight_async_loop_of_filtered_events_does_not_starve_others() -> None:
    async def agent(_payload: Any, context: StreamContext) -> int:
        before = ticks[0]
        for n in range(MANY):
            await context.emit_token(str(n))
        return ticks[0] - before

    async with bench(agent, allowed="minimal") as made, ticker() as ticks:
        assert (await made.run()).output >= OFTEN


async def test_a_tight_async_loop_under_invoke_does_not_starve_others() -> None:
    async def agent(_payload: Any, context: StreamContext) -> int:
        before = ticks[0]
        for n in range(MANY):
            await context.emit_token(str(n))
        return ticks[0] - before

    async with bench(agent) as made, ticker() as ticks:
        assert await made.invoke() >= OFTEN


async def test_a_tight_async_generator_does_not_starve_others() -> None:
    async def agent(_payload: Any) -> Any:
        before = ticks[0]
        for _ in range(MANY):
            yield "x"
        yield {"ticks": ticks[0] - before}

    async with bench(agent) as made, ticker() as ticks:
        assert (await made.run()).output["ticks"] >= OFTEN
        assert (await made.invoke())["ticks"] >= OFTEN


async def test_a_tight_loop_that_continues_after_its_run_does_not_starve_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "STOP_SECONDS", 0.02)
    late: list[int] = []

    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_token("x")
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:  # swallowed: the run ends without it
                continue
        before = ticks[0]
        for _ in range(MANY):
            with suppress(RunCancelled):
                await context.emit_token("late")
        late.append(ticks[0] - before)

    over = asyncio.Event()
    async with bench(agent) as made, ticker() as ticks:
        run_id = await made.start()
        await made.emitted(run_id, 2)
        await made.runs.cancel(run_id, "enough")
        over.set()
        await wait_until(lambda: late)
        assert (await made.ended(run_id)).tokens == ["x"]
    assert late[0] >= OFTEN


async def test_a_full_buffer_makes_async_code_wait() -> None:
    emitted = [0]

    async def agent(_payload: Any, context: StreamContext) -> None:
        for _ in range(MANY):
            await context.emit_token("x")
            emitted[0] += 1

    backend = SlowBackend()
    async with bench(agent, backend=backend) as made:
        run_id = await made.start()
        await wait_until(lambda: emitted[0] >= event_buffer.BUFFER_EVENTS - 1)
        async with ticker() as ticks:
            await wait_until(lambda: ticks[0] > 100)  # it had every chance to go on
        assert emitted[0] <= 2 * event_buffer.BUFFER_EVENTS
        backend.gate.set()
        assert len((await made.ended(run_id)).tokens) == MANY
    assert max(backend.batches) <= event_buffer.BUFFER_EVENTS + 1


@pytest.mark.parametrize("foreign_loop", [False, True])
async def test_a_full_buffer_makes_a_thread_wait(foreign_loop: bool) -> None:
    emitted = [0]

    def agent(_payload: Any, context: StreamContext) -> None:
        def emit_all() -> None:
            for _ in range(5000):
                context.sync_emit_token("x")
                emitted[0] += 1

        async def async_emit_all() -> None:
            for _ in range(5000):
                await context.emit_token("x")
                emitted[0] += 1

        if foreign_loop:
            asyncio.run(async_emit_all())
        else:
            emit_all()

    backend = SlowBackend()
    async with bench(agent, backend=backend) as made:
        run_id = await made.start()
        await wait_until(lambda: emitted[0] >= event_buffer.BUFFER_EVENTS - 1)
        async with ticker() as ticks:
            await wait_until(lambda: ticks[0] > 100)
        assert emitted[0] <= 2 * event_buffer.BUFFER_EVENTS
        backend.gate.set()
        assert len((await made.ended(run_id)).tokens) == 5000


async def test_many_threads_that_wait_for_room_all_continue() -> None:
    def agent(_payload: Any, context: StreamContext) -> None:
        def emit_all() -> None:
            for _ in range(1000):
                context.sync_emit_token("x")

        threads = [threading.Thread(target=emit_all) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    async with bench(agent) as made:
        assert len((await made.run()).tokens) == 8000


async def test_sync_emits_on_the_loop_are_bounded_and_what_is_refused_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_buffer, "UNYIELDING_EVENTS", 1000)

    async def agent(_payload: Any, context: StreamContext) -> int:
        refused = 0
        for n in range(3000):
            try:
                context.sync_emit_token(str(n))
            except BufferError:
                refused += 1
        return refused

    async with bench(agent) as made:
        ended = await made.run()
    assert ended.output > 0
    assert len(ended.tokens) + ended.output == 3000
    assert len(ended.tokens) <= 1001


async def test_sync_emits_on_the_loop_continue_after_the_loop_got_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_buffer, "UNYIELDING_EVENTS", 1000)

    async def agent(_payload: Any, context: StreamContext) -> None:
        for n in range(3000):
            context.sync_emit_token(str(n))
            if n % 200 == 0:
                await asyncio.sleep(0)

    async with bench(agent) as made:
        assert len((await made.run()).tokens) == 3000


@pytest.mark.parametrize("foreign_loop", [False, True])
async def test_a_thread_that_waits_for_room_continues_when_its_run_is_stopped(
    monkeypatch: pytest.MonkeyPatch, *, foreign_loop: bool
) -> None:
    monkeypatch.setattr(execution, "STOP_SECONDS", 60)
    ends: list[str] = []

    def agent(_payload: Any, context: StreamContext) -> None:
        async def emit_all() -> None:
            while True:
                await context.emit_token("x")

        try:
            if foreign_loop:
                asyncio.run(emit_all())
            while True:
                context.sync_emit_token("x")
        finally:
            ends.append("stopped")

    backend = SlowBackend()
    async with bench(agent, backend=backend) as made:
        run_id = await made.start()
        await wait_until(lambda: backend.batches)
        try:
            async with ticker() as ticks:
                await wait_until(lambda: ticks[0] > 1000)
            made.runs.caller_left(RunRef(run_id, None), cancel=True)
            await wait_until(lambda: ends)
        finally:
            backend.gate.set()
        assert (await made.ended(run_id)).types[-1] == "cancelled"
