"""How a question ends without an answer: by its time limit, the run's, a cancel, a shutdown."""

import asyncio
from typing import Any

import pytest

from dockrion import InputTimeout, RunCancelled, StreamContext
from dockrion.backends.run_log import Run
from dockrion.errors import QuestionNotOpen
from dockrion.runs.question import MAX_TIMEOUT, Question
from dockrion.runs.session import current_session
from tests.agents.harness import bench, cancelled, nothing_unretrieved, ran
from tests.loop_clock import advance
from tests.runs.asking import (
    Ask,
    answer,
    everywhere,
    session_of,
    waiting,
)
from tests.support import TIMEOUT_SECONDS


@everywhere
async def test_no_answer_in_time_raises_and_is_not_waited_for(ask: Ask) -> None:
    waits: list[Run] = []

    async def agent(_payload: Any, context: StreamContext) -> Any:
        with pytest.raises(InputTimeout, match="within 5 s"):
            await ask(context, "Now?", timeout=5)
        await context.emit_token("late")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (run := await made.backend.get(context.run_id)).waiting_for is not None:
                await asyncio.sleep(0.001)
        waits.append(run)
        return await ask(context, "Then?")

    async with bench(agent) as made, nothing_unretrieved():
        run_id = await made.start()
        question = await waiting(made, run_id, "Now?")
        await advance(5)
        await waiting(made, run_id, "Then?")
        with pytest.raises(QuestionNotOpen):
            await session_of(made, run_id).answer(question.request_id, 1, None)
        await answer(made, run_id, 2)
        ended = await made.ended(run_id)
    assert ended.output == 2
    assert [run.status for run in waits] == ["running"]


async def test_an_answer_in_time_of_some_is_no_answer_to_the_others() -> None:
    async def agent(_payload: Any) -> Any:
        session = current_session()
        assert session is not None
        questions = [Question("a"), Question("b", timeout=5), Question("c", timeout=5)]
        with pytest.raises(InputTimeout):
            await session.ask_all(questions)
        assert not session.asking.questions

    async with bench(agent) as made, nothing_unretrieved():
        run_id = await made.start()
        await answer(made, run_id, "x", "a")
        await advance(5)
        assert (await made.ended(run_id)).run.status == "completed"


@everywhere
async def test_a_cancel_ends_the_wait(ask: Ask) -> None:
    ended_with: list[BaseException] = []

    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            await ask(context, "Go on?")
        except BaseException as error:
            ended_with.append(error)
            raise

    ended = await cancelled(agent)
    assert ended.types == ["started", "input_requested", "cancelled"]
    assert [isinstance(error, asyncio.CancelledError) for error in ended_with] == [True]
    assert ended.run.waiting_for is None


async def test_a_cancelled_sync_handler_gets_the_exception_of_a_stopped_run() -> None:
    ended_with: list[BaseException] = []

    def agent(_payload: Any, context: StreamContext) -> None:
        try:
            context.sync_ask("Go on?")
        except BaseException as error:
            ended_with.append(error)
            raise

    assert (await cancelled(agent)).run.status == "cancelled"
    assert [type(error) for error in ended_with] == [RunCancelled]


async def test_an_agent_may_clean_up_after_a_cancel_but_not_ask() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            await context.ask("Go on?")
        finally:
            await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await context.ask("Really?")
            await context.emit_token("cleaned up")

    ended = await cancelled(agent)
    assert ended.tokens == ["cleaned up"]
    assert ended.types.count("input_requested") == 1


async def test_a_shutdown_ends_the_wait() -> None:
    def agent(_payload: Any, context: StreamContext) -> None:
        context.sync_ask("Go on?")

    async with bench(agent) as made:
        run_id = await made.start()
        question = await waiting(made, run_id)
        session = session_of(made, run_id)
        await made.runs.drain(0)
        ended = await made.ended(run_id)
        assert ended.code == "SHUTDOWN"
        assert ended.run.waiting_for is None
        with pytest.raises(QuestionNotOpen):
            await session.answer(question.request_id, 1, None)


async def test_a_task_that_an_agent_left_behind_waits_for_no_answer() -> None:
    left: list[asyncio.Task[Any]] = []

    async def agent(_payload: Any, context: StreamContext) -> str:
        left.append(asyncio.create_task(context.ask("Anybody?")))
        await asyncio.sleep(0)
        return "done"

    ended = await ran(agent)
    assert ended.output == "done"
    await asyncio.wait(left, timeout=TIMEOUT_SECONDS)
    assert left[0].cancelled()


async def test_a_run_over_its_time_is_stopped_while_it_waits() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.ask("Quick?")

    ended = await ran(agent, duration=0.05)
    assert ended.code == "TIMEOUT_ERROR"
    assert ended.run.waiting_for is None


async def test_waiting_longer_than_the_run_may_take_is_cut() -> None:
    async def agent(_payload: Any, context: StreamContext) -> None:
        await context.ask("Slow?", timeout=MAX_TIMEOUT)

    async with bench(agent, duration=30) as made:
        run_id = await made.start()
        question = await waiting(made, run_id)
        run = await made.backend.get(run_id)
        assert run.started_at is not None
        assert 0 <= (question.expires_at - run.started_at).total_seconds() < 30.5
        await answer(made, run_id, 1)
        await made.ended(run_id)


async def test_waiting_does_not_count_where_the_dockfile_says_so() -> None:
    went_on = asyncio.Event()

    async def agent(_payload: Any, context: StreamContext) -> Any:
        await context.ask("Slow?", timeout=MAX_TIMEOUT)
        went_on.set()
        await asyncio.Event().wait()

    async with bench(agent, duration=5, waiting_counts=False) as made:
        run_id = await made.start()
        await waiting(made, run_id)
        await advance(6)
        assert await made.status(run_id) == "running"
        await answer(made, run_id, 1)
        await went_on.wait()
        assert await made.status(run_id) == "running"
        await advance(5)
        ended = await made.ended(run_id)
    assert ended.code == "TIMEOUT_ERROR"
    assert "input_received" in ended.types


async def test_a_wait_that_does_not_count_has_the_limit_of_the_run() -> None:
    async def agent(_payload: Any, context: StreamContext) -> str:
        with pytest.raises(InputTimeout):
            await context.ask("Slow?")
        return "went on"

    async with bench(agent, duration=5, waiting_counts=False) as made:
        run_id = await made.start()
        await waiting(made, run_id)
        await advance(5)
        assert (await made.ended(run_id)).output == "went on"


async def test_asking_in_the_first_turn_of_a_quick_run_leaves_no_timer_behind() -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        return await context.ask("?", timeout=TIMEOUT_SECONDS)

    async with bench(agent) as made:
        run_id = await made.start()
        question = await waiting(made, run_id)
        asked = session_of(made, run_id).asking.questions
        assert asked is not None
        timer = asked._open[question.request_id].timer
        assert timer is not None
        await answer(made, run_id, 1)
        await made.ended(run_id)
        assert timer.cancelled()
        assert not asked._open
