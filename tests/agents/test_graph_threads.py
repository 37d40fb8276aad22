"""Runs of one conversation thread at the same time: they work one after another."""

import asyncio
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver

from dockrion.backends.memory import MemoryBackend
from dockrion.runs.agent import Call
from tests.agents.graphs import State, agent, one_node
from tests.agents.harness import bench
from tests.agents.test_langgraph_threads import SAVERS, SyncSaver, called, thread


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
    assert not runs.runs._locks._queues


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


async def test_runs_of_one_thread_on_two_replicas_lose_nothing() -> None:
    saver, backend = InMemorySaver(), MemoryBackend(max_events=1000, ttl=3600)

    async def work(state: State) -> State:
        await asyncio.sleep(0)
        return {"seen": [state["word"]]}

    words = [f"w{n}" for n in range(6)]
    async with (
        bench(agent(one_node(work, checkpointer=saver)), backend=backend) as one,
        bench(agent(one_node(work, checkpointer=saver)), backend=backend) as other,
    ):
        calls = [
            called(one if n % 2 else other, Call({"word": word}, thread("t"))) for n, word in enumerate(words)
        ]
        await asyncio.gather(*calls)
        last = await called(one, Call({"word": "end"}, thread("t")))
    assert sorted(last.output["seen"]) == sorted([*words, "end"])
