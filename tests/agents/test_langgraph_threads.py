"""Conversation threads, interrupts, configs and cancellation of graphs, and their sync nodes."""

import asyncio
import logging
import operator
import threading
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from dockrion import get_current_context, ids
from dockrion.runs.agent import Call
from tests.agents.graphs import Model, State, agent, one_node, says
from tests.agents.harness import Bench, Ended, bench, spin
from tests.support import wait_until


class SyncSaver(BaseCheckpointSaver[Any]):
    """A checkpointer without async methods, like that of SQLite."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = InMemorySaver()

    def get_tuple(self, config: Any) -> Any:
        return self._kept.get_tuple(config)

    def list(self, *given: Any, **options: Any) -> Iterator[Any]:
        return self._kept.list(*given, **options)

    def put(self, *given: Any, **options: Any) -> Any:
        return self._kept.put(*given, **options)

    def put_writes(self, *given: Any, **options: Any) -> None:
        self._kept.put_writes(*given, **options)

    def get_next_version(self, current: Any, channel: Any) -> Any:
        return self._kept.get_next_version(current, channel)


SAVERS = pytest.mark.parametrize("saver", [InMemorySaver, SyncSaver])


def thread(name: str, **config: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}, **config}


async def called(runs: Bench, call: Call) -> Ended:
    run = await runs.runs.start(call, ids.uuid7())
    return await runs.ended(run.run_id)


def listening(_state: State) -> State:
    context = get_current_context()
    assert context is not None
    context.sync_emit("heard")
    return {"seen": [_state["word"]]}


@SAVERS
async def test_thread_continues_and_other_threads_start_empty(saver: Any) -> None:
    async with bench(agent(one_node(listening, checkpointer=saver()))) as runs:
        await called(runs, Call({"word": "a"}, thread("t")))
        again = await called(runs, Call({"word": "b"}, thread("t")))
        other = await called(runs, Call({"word": "c"}))
    assert again.output["seen"] == ["a", "b"]
    assert other.output["seen"] == ["c"]
    assert [event["type"] for event in again.own] == ["custom:heard", "step"]


@SAVERS
async def test_interrupt_completes_the_run_and_can_be_resumed(saver: Any) -> None:
    def ask(_state: State) -> State:
        return {"seen": [interrupt({"question": "sure?"})]}

    async with bench(agent(one_node(ask, checkpointer=saver()))) as runs:
        asked = await called(runs, Call({"word": "a"}, thread("t")))
        resumed = await called(runs, Call(None, thread("t"), resume="yes"))
        nothing = await called(runs, Call(None, thread("t"), resume="yes"))
    assert asked.run.status == "completed"
    metadata = asked.terminal["metadata"]
    assert metadata["interrupted"] is True
    assert metadata["thread_id"] == "t"
    assert [each["value"] for each in metadata["interrupts"]] == [{"question": "sure?"}]
    assert asked.output == {"messages": [], "word": "a", "seen": []} | asked.output
    assert resumed.output["seen"] == ["yes"]
    assert "interrupted" not in resumed.terminal["metadata"]
    assert "nothing to resume" in nothing.error


async def test_interrupts_of_parallel_nodes_are_all_reported() -> None:
    made: Any = StateGraph(State)
    for name in "ab":
        made.add_node(name, lambda _state, name=name: {"seen": [interrupt(name)]})
        made.add_edge(START, name)
    async with bench(agent(made.compile(checkpointer=InMemorySaver()))) as runs:
        asked = await called(runs, Call({"word": "w"}))
    metadata = asked.terminal["metadata"]
    assert sorted(each["value"] for each in metadata["interrupts"]) == ["a", "b"]
    assert metadata["thread_id"] == asked.run.run_id


async def test_configs_of_dockfile_and_caller_reach_the_graph() -> None:
    seen: list[RunnableConfig] = []

    def work(_state: State, config: RunnableConfig) -> State:
        seen.append(config)
        return {}

    async with bench(agent(one_node(work), configurable={"a": 1, "b": 1}, recursion_limit=7)) as runs:
        await called(runs, Call({"word": "w"}, {"configurable": {"b": 2}}))
        await called(runs, Call({"word": "w"}, {"recursion_limit": 5}))
    assert [(each["configurable"]["a"], each["configurable"]["b"]) for each in seen] == [(1, 2), (1, 1)]
    assert [each["recursion_limit"] for each in seen] == [7, 5]


async def test_recursion_limit_ends_an_endless_graph() -> None:
    made: Any = StateGraph(State)
    made.add_node("work", lambda _state: {"seen": ["again"]})
    made.add_edge(START, "work")
    made.add_edge("work", "work")
    async with bench(agent(made.compile(), recursion_limit=4)) as runs:
        assert "GraphRecursionError" in (await runs.run({"word": "w"})).error


async def test_context_is_not_stored_in_checkpoints() -> None:
    saver = InMemorySaver()
    async with bench(agent(one_node(listening, checkpointer=saver))) as runs:
        await called(runs, Call({"word": "a"}, thread("t")))
    kept = [repr((each.checkpoint, each.metadata, each.config)) for each in saver.list(None)]
    assert kept
    assert not any("stream_context" in each or "StreamContext" in each for each in kept)


async def test_cancel_during_a_token_stream_stops_the_model() -> None:
    class Endless(Model):
        def _stream(self, *given: Any, **options: Any) -> Any:
            while True:
                yield from super()._stream(*given, **options)

    model = Endless(pieces=[says("more")[:1]])
    ended_threads = threading.Event()

    async def work(_state: State) -> State:
        try:
            await model.ainvoke("hi")
        finally:
            ended_threads.set()
        return {}

    async with bench(agent(one_node(work))) as runs:
        run_id = await runs.start({"word": "w"})
        await runs.emitted(run_id, 5)
        await runs.runs.cancel(run_id, "enough")
        ended = await runs.ended(run_id)
    assert ended.run.status == "cancelled"
    assert ended_threads.is_set()


async def test_cancel_waits_for_the_threads_of_parallel_nodes() -> None:
    stopped: list[str] = []
    made: Any = StateGraph(State)
    for name in "abc":

        def work(_state: State, name: str = name) -> State:
            context = get_current_context()
            assert context is not None
            context.sync_emit("began")
            spin(context)
            stopped.append(name)
            return {}

        made.add_node(name, work)
        made.add_edge(START, name)
    async with bench(agent(made.compile())) as runs:
        run_id = await runs.start({"word": "w"})
        await runs.emitted(run_id, 4)
        await runs.runs.cancel(run_id, None)
        assert sorted(stopped) == ["a", "b", "c"]


async def test_blocking_nodes_of_many_runs_run_concurrently() -> None:
    together = threading.Barrier(20, timeout=10)

    def work(_state: State) -> State:
        together.wait()
        return {}

    async with bench(agent(one_node(work))) as runs:
        started = [await runs.start({"word": "w"}) for _ in range(20)]
        for run_id in started:
            assert (await runs.ended(run_id)).run.status == "completed"


async def test_sync_node_does_not_block_the_event_loop() -> None:
    began, go = threading.Event(), threading.Event()

    def work(_state: State) -> State:
        began.set()
        assert go.wait(10)
        return {}

    async with bench(agent(one_node(work))) as runs:
        run_id = await runs.start({"word": "w"})
        await wait_until(began.is_set)
        await asyncio.sleep(0)
        go.set()
        assert (await runs.ended(run_id)).run.status == "completed"


async def test_compiling_a_graph_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Own(TypedDict):
        seen: Annotated[list[str], operator.add]

    made: Any = StateGraph(Own)
    made.add_node("work", lambda _state: {"seen": ["x"]})
    made.add_edge(START, "work")
    with caplog.at_level(logging.INFO):
        compiled = agent(made)
    assert "graph compiled" in caplog.text
    await compiled.aclose()


async def test_two_hundred_runs_leave_no_thread_work_behind() -> None:
    made = agent(one_node(listening))
    async with bench(made) as runs:
        for _ in range(10):
            started = [await runs.start({"word": "w"}) for _ in range(20)]
            for run_id in started:
                await runs.ended(run_id)
    assert made._executor._work_queue.empty()
