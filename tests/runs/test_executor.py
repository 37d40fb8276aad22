"""Runs that fail in every way: each has an end, and none affects another."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from dockrion import RunCancelled, StreamContext
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import Run
from dockrion.errors import AgentFailed, AgentTimedOut, ServiceUnavailable
from dockrion.events import Entry
from dockrion.runs import execution
from tests.agents.harness import Gate, bench
from tests.support import wait_until


class Away(MemoryBackend):
    """A backend that can be away, or fail once with an unexpected exception."""

    def __init__(self) -> None:
        super().__init__(max_events=1000, ttl=3600)
        self.away = False
        self.refused = 0
        self.fails = False
        self.creates = asyncio.Event()
        self.creates.set()

    async def create(self, run: Run, job: bytes | None = None) -> None:
        await self.creates.wait()
        await super().create(run, job)

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        if self.away:
            self.refused += 1
            raise ServiceUnavailable("away")
        if self.fails:
            self.fails = False
            await asyncio.sleep(0.01)
            raise ValueError("unexpected")
        await super().append(run, entries)


class StubbornFuture(asyncio.Future[None]):
    def cancel(self, msg: Any = None) -> bool:
        raise RuntimeError(f"cannot be cancelled: {msg}")


class Stubborn:
    """An agent that raises where it is cancelled."""

    def __init__(self) -> None:
        self.waits_for = StubbornFuture()

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        await context.emit_token("x")
        await self.waits_for


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "STOP_SECONDS", 0.05)


def ignore_complaints() -> None:
    """Let agents raise in the loop's callbacks."""
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)


@pytest.mark.usefixtures("impatient")
async def test_an_agent_that_cannot_be_cancelled_affects_no_other_run() -> None:
    ignore_complaints()
    stubborn, gate = Stubborn(), Gate()

    async def agent(payload: Any, context: StreamContext) -> Any:
        return await (stubborn(payload, context) if payload == "stubborn" else gate(payload))

    async with bench(agent) as made:
        first = await made.start("stubborn")
        await made.emitted(first, 2)
        second = await made.start("other")
        await made.emitted(second, 1)
        await made.runs.cancel(first, "enough")
        await made.runs.cancel(second, "enough")
        assert [(await made.ended(each)).run.status for each in (first, second)] == ["cancelled"] * 2
        stubborn.waits_for.set_result(None)


@pytest.mark.usefixtures("impatient")
async def test_a_shutdown_ends_all_runs_though_one_cannot_be_cancelled() -> None:
    ignore_complaints()
    stubborn = [Stubborn() for _ in range(3)]

    async def agent(payload: int, context: StreamContext) -> None:
        await stubborn[payload](payload, context)

    async with bench(agent) as made:
        runs = [await made.start(number) for number in range(3)]
        for run_id in runs:
            await made.emitted(run_id, 2)
        await made.runs.drain(0)
        assert [(await made.ended(run_id)).code for run_id in runs] == ["SHUTDOWN"] * 3
        for each in stubborn:
            each.waits_for.set_result(None)


async def test_an_agent_that_cancels_itself_has_failed() -> None:
    async def agent(_payload: Any) -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return 1

    async with bench(agent) as made:
        assert (await made.run()).error == "CancelledError"
        with pytest.raises(AgentFailed):
            await made.invoke()


async def test_time_in_which_the_storage_is_away_does_not_count_as_the_agent_s() -> None:
    backend = Away()

    async def agent(_payload: Any, context: StreamContext) -> None:
        await asyncio.sleep(0)
        backend.away = True
        await context.emit_token("x")

    async with bench(agent, backend=backend) as made:
        run_id = await made.start()
        active = made.runs.find(run_id)
        assert active is not None
        await wait_until(lambda: active.execution is not None and active.execution.over)
        over = datetime.now(UTC)
        refused = backend.refused
        await wait_until(lambda: backend.refused > refused + 1)
        backend.away = False
        ended = await made.ended(run_id)
    assert ended.run.started_at is not None
    assert ended.run.completed_at is not None
    assert ended.run.completed_at <= over
    assert ended.terminal["latency_seconds"] <= (over - ended.run.started_at).total_seconds()


@pytest.mark.usefixtures("impatient")
async def test_events_of_an_abandoned_agent_are_dropped_also_while_the_storage_is_away() -> None:
    backend, release, refused = Away(), asyncio.Event(), asyncio.Event()

    async def agent(_payload: Any, context: StreamContext) -> None:
        await asyncio.sleep(0)
        backend.away = True
        await context.emit_token("heard")
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        with pytest.raises(RunCancelled):
            await context.emit_token("never")
        refused.set()

    async with bench(agent, backend=backend) as made:
        run_id = await made.start()
        await wait_until(lambda: backend.away)
        active = made.runs.find(run_id)
        assert active is not None
        assert active.execution is not None
        made.runs.caller_left(RunRef(run_id, None), cancel=True)
        await wait_until(lambda: active.execution is not None and active.execution.over)
        release.set()
        await refused.wait()
        backend.away = False
        assert (await made.ended(run_id)).types == ["started", "token", "cancelled"]


async def test_an_output_survives_a_defect_of_the_service() -> None:
    backend = Away()

    async def agent(_payload: Any, context: StreamContext) -> str:
        await asyncio.sleep(0)
        backend.fails = True
        await context.emit_token("x")
        return "done"

    async with bench(agent, backend=backend) as made:
        ended = await made.run()
    assert ended.output == "done"
    assert ended.tokens == ["x"]


@pytest.mark.usefixtures("impatient")
async def test_an_agent_that_does_not_stop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()

    async def agent(_payload: Any) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with bench(agent) as made:
        with pytest.raises(AgentTimedOut):
            await made.invoke(limit=0.01)
        await wait_until(lambda: "agent does not stop" in caplog.messages)
        release.set()


async def test_a_process_that_ends_while_a_run_is_created_leaves_nothing() -> None:
    backend = Away()
    backend.creates.clear()
    async with bench(lambda _payload: None, backend=backend) as made:
        starting = asyncio.create_task(made.start())
        await wait_until(lambda: made.runs._run_tasks)
        for task in made.runs._run_tasks:
            task.cancel()
        await asyncio.wait((starting,))
        assert starting.cancelled()
