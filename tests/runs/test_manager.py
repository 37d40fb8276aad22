"""The run manager: slots, the queue, cancelling, draining, counting."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.backends.owner_messages import RunRef
from dockrion.errors import (
    AgentTimedOut,
    InvalidRequest,
    RunExists,
    RunNotFound,
    ServiceUnavailable,
    TooManyRuns,
)
from dockrion.runs import execution
from tests.agents.harness import Bench, Gate, bench, nothing_unretrieved
from tests.support import TIMEOUT_SECONDS, wait_until


@pytest.fixture(autouse=True)
async def quiet() -> AsyncIterator[None]:
    async with nothing_unretrieved():
        yield


async def test_runs_wait_for_a_slot_in_the_order_of_arrival() -> None:
    gate = Gate()
    async with bench(gate, slots=2) as made:
        run_ids = [await made.start(n) for n in range(6)]
        await wait_until(lambda: len(gate.began) == 2)
        assert [await made.status(run_id) for run_id in run_ids] == ["running"] * 2 + ["accepted"] * 4
        gate.open.set()
        for run_id in run_ids:
            await made.ended(run_id)
    assert gate.began == list(range(6))


async def test_invokes_and_runs_share_slots_and_queue() -> None:
    gate = Gate()
    async with bench(gate, slots=1, queue=2) as made:
        first = await made.start("run")
        await wait_until(lambda: gate.began)
        asking = asyncio.create_task(made.invoke("invoke"))
        await wait_until(lambda: len(made.runs._in_flight._slots._waiting) == 1)
        last = await made.start("last")
        for _ in range(2):
            with pytest.raises(TooManyRuns) as refused:
                await made.start("too many")
            assert "Retry-After" in refused.value.headers
            with pytest.raises(TooManyRuns):
                await made.invoke("too many")
        gate.open.set()
        assert await asking == "invoke"
        assert (await made.ended(first)).output == "run"
        assert (await made.ended(last)).output == "last"
        assert gate.began == ["run", "invoke", "last"]
        assert (await made.run("again")).output == "again"


async def test_the_slot_of_an_invoke_is_free_when_it_returns() -> None:
    async with bench(lambda payload: payload, slots=1, queue=0) as made:
        for n in range(20):
            assert await made.invoke(n) == n


async def test_invoke_that_waits_for_a_slot_too_long_never_reaches_the_agent() -> None:
    gate = Gate()
    async with bench(gate, slots=1) as made:
        run_id = await made.start("run")
        await wait_until(lambda: gate.began)
        with pytest.raises(AgentTimedOut):
            await made.invoke("invoke", limit=0.02)
        assert not made.runs._in_flight._slots._waiting
        gate.open.set()
        await made.ended(run_id)
    assert gate.began == ["run"]


async def test_invoke_whose_caller_left_while_it_waited_frees_its_position_in_the_queue() -> None:
    gate = Gate()
    async with bench(gate, slots=1, queue=1) as made:
        run_id = await made.start("run")
        asking = asyncio.create_task(made.invoke("invoke"))
        await wait_until(lambda: made.runs._in_flight._slots._waiting)
        asking.cancel()
        await asyncio.wait((asking,))
        assert not made.runs._in_flight._slots._waiting
        gate.open.set()
        await made.ended(run_id)


async def test_run_that_is_cancelled_while_it_waits_never_starts() -> None:
    gate = Gate()
    async with bench(gate, slots=1) as made:
        first, second, third = [await made.start(n) for n in range(3)]
        await made.runs.cancel(second, "changed my mind")
        ended = await made.ended(second)
        assert ended.types == ["cancelled"]
        assert ended.terminal["reason"] == "changed my mind"
        assert ended.run.started_at is None
        gate.open.set()
        await made.ended(first)
        await made.ended(third)
    assert gate.began == [0, 2]


async def test_cancel_returns_when_the_run_is_over_and_the_agent_has_stopped() -> None:
    gate = Gate()
    async with bench(gate) as made:
        run_id = await made.start(1)
        await wait_until(lambda: gate.began)
        await made.runs.cancel(run_id, None)
        assert gate.ended == [1]
        assert await made.status(run_id) == "cancelled"
        assert (await made.ended(run_id)).terminal["reason"] is None


async def test_two_callers_who_cancel_the_same_run_both_succeed() -> None:
    async with bench(Gate()) as made:
        run_id = await made.start()
        await asyncio.gather(made.runs.cancel(run_id, "a"), made.runs.cancel(run_id, "b"))
        assert (await made.ended(run_id)).terminal["reason"] in ("a", "b")


async def test_a_reason_that_is_not_valid_unicode_does_not_lose_the_run() -> None:
    async with bench(Gate()) as made:
        run_id = await made.start()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await made.runs.cancel(run_id, "\ud800")
        assert (await made.ended(run_id)).run.status == "cancelled"


async def test_cancel_of_an_unknown_or_a_finished_run_is_refused() -> None:
    async with bench(lambda _payload: 1) as made:
        with pytest.raises(RunNotFound):
            await made.runs.cancel("unknown", None)
        ended = await made.run()
        with pytest.raises(InvalidRequest, match="completed"):
            await made.runs.cancel(ended.run.run_id, None)
        assert await made.ended(ended.run.run_id) == ended


async def test_a_run_id_is_used_once_and_a_refused_one_costs_no_slot() -> None:
    async with bench(lambda _payload: 1, slots=1) as made:
        await made.ended(await made.start(run_id="mine"))
        with pytest.raises(RunExists):
            await made.start(run_id="mine")
        assert made.free_slots == 1
        assert not made.runs._in_flight


async def test_a_run_whose_caller_has_disconnected_is_cancelled() -> None:
    async with bench(Gate()) as made:
        run_id = await made.start()
        made.runs.caller_left(RunRef(run_id, None), cancel=True)
        ended = await made.ended(run_id)
        assert ended.run.status == "cancelled"
        made.runs.caller_left(RunRef(run_id, None), cancel=True)
        made.runs.caller_left(RunRef("unknown", None), cancel=True)
        assert await made.ended(run_id) == ended


async def _refuses(made: Bench) -> None:
    with pytest.raises(ServiceUnavailable):
        await made.start()
    with pytest.raises(ServiceUnavailable):
        await made.invoke()
    assert not made.runs._in_flight


async def test_without_an_agent_new_work_is_refused() -> None:
    async with bench(None) as made:
        await _refuses(made)


async def test_draining_refuses_new_work_and_lets_agents_finish_in_the_grace_period() -> None:
    gate = Gate()
    async with bench(gate) as made:
        run_id = await made.start("run")
        asking = asyncio.create_task(made.invoke("invoke"))
        await wait_until(lambda: len(gate.began) == 2)
        draining = asyncio.create_task(made.runs.drain(10))
        await wait_until(lambda: made.runs.draining)
        with pytest.raises(ServiceUnavailable):
            await made.start()
        with pytest.raises(ServiceUnavailable):
            await made.invoke()
        assert not draining.done()
        gate.open.set()
        await draining
        assert await asking == "invoke"
        assert (await made.ended(run_id)).output == "run"
        await _refuses(made)


async def test_after_the_grace_period_everything_ends_with_shutdown() -> None:
    gate = Gate()
    async with bench(gate, slots=2) as made:
        running = await made.start("run")
        asking = asyncio.create_task(made.invoke("invoke"))
        await wait_until(lambda: len(gate.began) == 2)
        waiting = await made.start("waiting")
        await made.runs.drain(0.02)
        assert await made.status(running) == "failed"
        assert (await made.ended(running)).code == "SHUTDOWN"
        ended = await made.ended(waiting)
        assert ended.code == "SHUTDOWN"
        assert ended.types == ["error"]
        with pytest.raises(ServiceUnavailable):
            await asking
        await wait_until(lambda: sorted(gate.ended) == ["invoke", "run"])
    assert gate.began == ["run", "invoke"]


async def test_drain_waits_for_the_clean_up_of_an_invocation() -> None:
    cleaned: list[str] = []
    working = asyncio.Event()

    async def agent(_payload: Any) -> None:
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(100):
                await asyncio.sleep(0)
            cleaned.append("closed")

    async with bench(agent) as made:
        asking = asyncio.create_task(made.invoke())
        await working.wait()
        await made.runs.drain(0)
        assert cleaned == ["closed"]
        with pytest.raises(ServiceUnavailable):
            await asking


async def test_drain_does_not_wait_for_agents_that_do_not_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "STOP_SECONDS", 0.02)
    release = threading.Event()

    def agent(_payload: Any) -> None:
        release.wait(10)

    async with bench(agent) as made:
        run_id = await made.start()
        await made.emitted(run_id, 1)
        await made.runs.drain(0)
        assert (await made.ended(run_id)).code == "SHUTDOWN"
        release.set()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_500_runs_at_once_each_get_their_own_output_and_events(kind: str) -> None:
    def sync_agent(payload: Any, context: StreamContext) -> Any:
        for n in range(3):
            context.sync_emit_token(f"{payload}.{n}")
        return payload

    async def agent(payload: Any, context: StreamContext) -> Any:
        for n in range(3):
            await context.emit_token(f"{payload}.{n}")
            await asyncio.sleep(0)
        return payload

    async with bench(sync_agent if kind == "sync" else agent, slots=200, queue=300) as made:
        run_ids = await asyncio.gather(*(made.start(n) for n in range(500)))
        for n, run_id in enumerate(run_ids):
            ended = await made.ended(run_id)
            assert ended.output == n
            assert ended.tokens == [f"{n}.0", f"{n}.1", f"{n}.2"]
        assert made.sample("dockrion_runs_total", outcome="completed") == 500
        assert made.sample("dockrion_events_total", type="token") == 1500


async def test_metrics_count_outcomes_events_and_active_runs() -> None:
    release = asyncio.Event()

    async def agent(payload: Any, context: StreamContext) -> None:
        await context.emit("one")
        await context.emit("two")
        await context.emit_token("x")
        if payload == "fail":
            raise ValueError
        if payload == "wait":
            await release.wait()

    async with bench(agent, allowed=["custom"]) as made:
        await made.run()
        await made.run()
        await made.run("fail")
        waiting = [await made.start("wait") for _ in range(3)]
        assert made.sample("dockrion_active_runs") == 3
        await made.runs.cancel(waiting[0], None)
        assert (await made.ended(waiting[0])).run.status == "cancelled"
        await wait_until(lambda: made.sample("dockrion_active_runs") == 2)
        release.set()
        for run_id in waiting[1:]:
            await made.ended(run_id)
        await wait_until(lambda: made.sample("dockrion_active_runs") == 0)
        outcomes = {name: made.sample("dockrion_runs_total", outcome=name) for name in OUTCOMES}
        assert outcomes == {"completed": 4, "failed": 1, "cancelled": 1}
        events = {name: made.sample("dockrion_events_total", type=name) for name in EVENTS}
        assert events == {"started": 6, "custom": 12, "token": 0, "complete": 4, "error": 1, "cancelled": 1}


OUTCOMES = ("completed", "failed", "cancelled")
EVENTS = ("started", "custom", "token", "complete", "error", "cancelled")
