"""Emitting from an agent that is being stopped, and after the end of its run."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dockrion import RunCancelled, StreamContext, get_current_context
from dockrion.runs.session import current_session
from tests.agents.harness import Bench, bench, cancelled, spin
from tests.support import wait_until


def emit_yielded(_context: StreamContext) -> None:
    """Emit as the service does for an event that a generator yields."""
    session = current_session()
    assert session is not None
    session.sync_emit_event({"type": "token", "content": "late"})


TWINS: list[Callable[[StreamContext], None]] = [
    lambda context: context.sync_emit_token("late"),
    lambda context: context.sync_emit_progress("late", 1),
    lambda context: context.sync_emit_step("late"),
    lambda context: context.sync_checkpoint("late", 1),
    lambda context: context.sync_emit("late"),
    lambda context: context.sync_emit_heartbeat(),
    emit_yielded,
    lambda context: context.raise_if_cancelled(),
]


@pytest.mark.parametrize("allowed", ["all", "minimal"])
async def test_every_emit_in_a_thread_raises_once_the_run_is_stopped(allowed: str) -> None:
    raised: list[bool] = []
    working = threading.Event()

    def agent(_payload: Any, context: StreamContext) -> None:
        working.set()
        spin(context)
        for emit in TWINS:
            with pytest.raises(RunCancelled):
                emit(context)
            raised.append(context.cancelled)

    ended = await cancelled(agent, after=1, allowed=allowed)
    assert raised == [True] * len(TWINS)
    assert ended.types == ["started", "cancelled"]
    assert ended.terminal["reason"] == "enough"


async def test_a_sync_handler_that_emits_in_a_loop_is_stopped_by_its_next_emit() -> None:
    ends: list[str] = []

    def agent(_payload: Any, context: StreamContext) -> None:
        try:
            while True:
                context.sync_emit_token("x")
        finally:
            ends.append("stopped")

    ended = await cancelled(agent, after=1000)
    assert ends == ["stopped"]
    assert ended.types[-1] == "cancelled"


async def test_except_exception_does_not_swallow_the_cancel() -> None:
    swallowed: list[Exception] = []

    def agent(_payload: Any, context: StreamContext) -> None:
        while not swallowed:
            try:
                context.sync_emit_token("x")
            except Exception as error:
                swallowed.append(error)

    ended = await cancelled(agent)
    assert not swallowed
    assert ended.run.status == "cancelled"


async def test_a_thread_that_async_code_waits_for_is_stopped_by_its_next_emit() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        def work() -> None:
            while True:
                context.sync_emit_token("x")

        await asyncio.to_thread(work)

    assert (await cancelled(agent)).run.status == "cancelled"


async def test_async_emit_on_a_foreign_loop_raises_once_the_run_is_stopped() -> None:
    ends: list[str] = []

    def agent(_payload: Any, context: StreamContext) -> None:
        async def main() -> None:
            try:
                while True:
                    await context.emit_token("x")
            except RunCancelled:
                ends.append("stopped")
                raise

        asyncio.run(main())

    ended = await cancelled(agent, after=1000)
    assert ends == ["stopped"]
    assert ended.types[-1] == "cancelled"


async def test_async_code_may_emit_while_it_cleans_up_and_the_terminal_event_comes_after() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            await context.emit_token("working")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert context.cancelled
            await context.emit_token("except")
            await asyncio.sleep(0)
            raise
        finally:
            context.sync_emit_token("finally, sync")
            await asyncio.sleep(0)
            await context.emit_token("finally")

    ended = await cancelled(agent)
    assert ended.tokens == ["working", "except", "finally, sync", "finally"]
    assert ended.types[-1] == "cancelled"


async def test_async_clean_up_may_emit_under_invoke_too_and_runs_to_its_end() -> None:
    cleaned: list[str] = []
    working = asyncio.Event()

    async def agent(_payload: Any, context: StreamContext) -> None:
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            await context.emit_progress("closing", 1)
            context.sync_emit_token("bye")
            cleaned.append("closed")

    async with bench(agent) as made:
        asking = asyncio.create_task(made.invoke())
        await working.wait()
        asking.cancel()
        await asyncio.wait((asking,))
        await wait_until(lambda: made.free_slots == 100)
    assert cleaned == ["closed"]


async def test_async_code_is_cancelled_even_while_it_waits_for_room() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        while True:
            await context.emit_token("x")

    assert (await cancelled(agent, after=1000)).run.status == "cancelled"


async def test_raise_if_cancelled_raises_in_async_code_as_well() -> None:
    seen: list[str] = []

    async def agent(_payload: Any, context: StreamContext) -> None:
        context.raise_if_cancelled()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(RunCancelled, match=context.run_id):
                context.raise_if_cancelled()
            seen.append("raised")
            raise

    await cancelled(agent, after=1)
    assert seen == ["raised"]


async def _left_behind(made: Bench, agent_done: Callable[[], bool]) -> Any:
    ended = await made.run()
    await wait_until(agent_done)
    return ended


async def test_events_of_a_task_are_dropped_after_the_run_completed() -> None:
    tasks: list[asyncio.Task[None]] = []
    over = asyncio.Event()

    async def late(context: StreamContext) -> None:
        await over.wait()
        await context.emit_token("late")
        context.sync_emit("late")
        await context.checkpoint("late", {})

    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.emit_token("in time")
        tasks.append(asyncio.create_task(late(context)))

    async with bench(agent) as made:
        before = await made.run()
        over.set()
        await tasks[0]
        after = await made.ended(before.run.run_id)
    assert after == before
    assert after.tokens == ["in time"]


async def test_events_of_a_thread_are_dropped_after_the_run_completed() -> None:
    threads: list[threading.Thread] = []
    over = threading.Event()

    def late(context: StreamContext) -> None:
        over.wait(10)
        for _ in range(1000):
            context.sync_emit_token("late")
        asyncio.run(context.emit_token("late"))

    def agent(_payload: Any, context: StreamContext) -> None:
        context.sync_emit_token("in time")
        threads.append(threading.Thread(target=late, args=(context,)))
        threads[0].start()

    async with bench(agent) as made:
        before = await made.run()
        over.set()
        await wait_until(lambda: not threads[0].is_alive())
        after = await made.ended(before.run.run_id)
    assert after == before
    assert after.tokens == ["in time"]


async def test_threads_that_emit_across_the_end_never_get_past_the_terminal_event() -> None:
    threads: list[threading.Thread] = []

    def chatter(context: StreamContext) -> None:
        for _ in range(2000):
            context.sync_emit_token("x")

    def agent(_payload: Any, context: StreamContext) -> None:
        for _ in range(2):
            threads.append(threading.Thread(target=chatter, args=(context,)))
            threads[-1].start()

    async with bench(agent) as made:
        for _ in range(10):
            assert (await made.run()).types[-1] == "complete"
            await wait_until(lambda: not any(thread.is_alive() for thread in threads))


async def test_a_plain_thread_of_a_stopped_run_raises_where_it_emits() -> None:
    errors: list[BaseException] = []

    def chatter(context: StreamContext) -> None:
        try:
            while True:
                context.sync_emit_token("x")
        except RunCancelled as error:
            errors.append(error)

    def agent(_payload: Any, context: StreamContext) -> None:
        thread = threading.Thread(target=chatter, args=(context,))
        thread.start()
        thread.join()

    await cancelled(agent)
    assert [str(error) for error in errors] == [str(errors[0])]
    assert "stopped" in str(errors[0])


async def test_the_current_context_is_cancelled_in_threads_too() -> None:
    seen: list[bool] = []

    async def agent(_payload: Any) -> None:
        def work() -> None:
            context = get_current_context()
            assert context is not None
            context.sync_emit_token("working")
            spin(context)
            seen.append(context.cancelled)

        await asyncio.to_thread(work)

    await cancelled(agent)
    await wait_until(lambda: seen == [True])
