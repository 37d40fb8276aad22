"""Runs of one conversation thread at the same time: they work one after another."""

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from dockrion.agents.graph_threads import GraphThreads
from dockrion.runs.agent import Call
from tests.agents.graphs import State, agent, one_node
from tests.agents.harness import bench
from tests.agents.test_langgraph_threads import SAVERS, SyncSaver, called, thread
from tests.support import wait_until


@SAVERS
async def test_runs_of_one_thread_at_once_lose_nothing(saver: Any) -> None:
    at_work: list[str] = []

    async def work(state: State) -> State:
        at_work.append(state["word"])
        assert len(at_work) == 1, "two at once"
        await asyncio.sleep(0)
        at_work.remove(state["word"])
        return {"seen": [state["word"]]}

    async with bench(
        agent(one_node(_sync(work) if saver is SyncSaver else work, checkpointer=saver()))
    ) as runs:
        words = [f"w{n}" for n in range(8)]
        await asyncio.gather(*(called(runs, Call({"word": word}, thread("t"))) for word in words))
        last = await called(runs, Call({"word": "end"}, thread("t")))
    assert sorted(last.output["seen"]) == sorted([*words, "end"])
    assert not runs.runs.agent._threads._threads  # type: ignore[union-attr]


def _sync(work: Any) -> Any:
    return lambda state: asyncio.run(work(state))


async def test_run_that_waits_for_its_thread_can_be_cancelled_and_other_threads_go_on() -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def work(state: State) -> State:
        if state["word"] == "slow":
            entered.set()
            await go.wait()
        return {"seen": [state["word"]]}

    async with bench(agent(one_node(work, checkpointer=InMemorySaver()))) as runs:
        slow = await runs.runs.start(Call({"word": "slow"}, thread("t")), "slow")
        await entered.wait()
        waiting = await runs.runs.start(Call({"word": "waiting"}, thread("t")), "waiting")
        other = await called(runs, Call({"word": "other"}, thread("u")))
        assert other.output["seen"] == ["other"]
        await runs.runs.cancel(waiting.run_id, "enough")
        assert (await runs.ended(waiting.run_id)).run.status == "cancelled"
        go.set()
        assert (await runs.ended(slow.run_id)).output["seen"] == ["slow"]


async def test_thread_is_forgotten_when_no_run_needs_it() -> None:
    threads = GraphThreads()
    entered: list[int] = []

    async def hold(number: int, gate: asyncio.Event) -> None:
        async with threads.alone_in("t"):
            entered.append(number)
            await gate.wait()

    gates = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(hold(number, gate)) for number, gate in enumerate(gates)]
    await wait_until(lambda: entered == [0])
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    gates[0].set()
    await wait_until(lambda: entered == [0, 2])
    gates[2].set()
    await asyncio.gather(tasks[0], tasks[2])
    assert not threads._threads
