"""A graph whose run is begun again on another replica: from its last checkpoint, if that can be reached."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from dockrion import ids
from dockrion.agents import langgraph
from dockrion.agents.loading import load_types
from dockrion.dockfile import Dockfile
from dockrion.dockfile.agent_structs import AgentSpec, ArgumentsSpec, IoSchemaSpec
from dockrion.dockfile.expose_structs import ExposeSpec
from dockrion.dockfile.streaming_structs import StreamingSpec
from dockrion.runs.agent import Call
from tests.agents.graphs import State
from tests.agents.harness import Bench, Ended, bench
from tests.agents.test_langgraph_threads import SyncSaver, thread

INCARNATION, OTHER = ids.new_incarnation(), ids.new_incarnation()
SAVERS = pytest.mark.parametrize("saver", [InMemorySaver, SyncSaver])


class Steps:
    """The steps `one`, `two` of a graph, which note that they are taken, and may lose their worker."""

    def __init__(self, lost_in: str | None = None) -> None:
        self.taken: list[str] = []
        self.lost_in = lost_in

    def graph(self, saver: Any) -> Any:
        made: Any = StateGraph(State)
        for name in ("one", "two"):
            made.add_node(name, self._step(name))
        made.add_edge(START, "one")
        made.add_edge("one", "two")
        return made.compile(checkpointer=saver)

    def _step(self, name: str) -> Callable[[State], State]:
        def step(state: State) -> State:
            if self.lost_in == name:
                raise RuntimeError("lost")
            self.taken.append(name)
            return {"seen": [f"{state['word']} {name}"]}

        return step


async def attempt(graph: Any, call: Call, *, run_id: str = "r", incarnation: str = INCARNATION) -> Ended:
    """Return what an attempt of a run does on a replica of its own."""
    agent = langgraph.create_agent(graph, {}, threads=4)
    async with bench(agent) as runs:
        await runs.runs.start(call, run_id, incarnation)
        return await runs.ended(run_id)


def again(call: Call) -> Call:
    return msgspec.structs.replace(call, attempt=2, previous="worker_lost")


@SAVERS
@pytest.mark.parametrize("config", [None, thread("t")])
async def test_the_next_attempt_repeats_no_step_that_has_a_checkpoint(saver: Any, config: Any) -> None:
    shared, call = saver(), Call({"word": "a"}, config)
    first, second = Steps(lost_in="two"), Steps()
    assert "lost" in (await attempt(first.graph(shared), call)).error
    ended = await attempt(second.graph(shared), again(call))
    assert (first.taken, second.taken) == (["one"], ["two"])
    assert ended.output["seen"] == ["a one", "a two"]
    assert [event["node_name"] for event in ended.events if event["type"] == "step"] == ["two"]


@pytest.mark.parametrize(
    ("saver", "on_worker_lost", "warned"),
    [(InMemorySaver, "retry", True), (InMemorySaver, "fail", False), (SyncSaver, "retry", False)],
)
async def test_checkpoints_that_others_cannot_reach_are_a_problem(
    saver: Any, on_worker_lost: Literal["fail", "retry"], warned: bool
) -> None:
    agent = langgraph.create_agent(Steps().graph(saver()), {}, threads=1)
    spec = Dockfile(
        version="1.0",
        agent=AgentSpec(name="tested", entrypoint="a:b", framework="langgraph"),
        io_schema=IoSchemaSpec(),
        expose=ExposeSpec(),
        streaming=StreamingSpec(on_worker_lost=on_worker_lost),
    )
    problems = (await load_types(agent, spec)).problems
    assert [each.partition(":")[0] for each in problems] == ["streaming.on_worker_lost"] * warned
    await agent.aclose()


async def test_without_a_checkpoint_of_its_own_the_run_starts_over() -> None:
    shared, steps = InMemorySaver(), Steps()
    await attempt(steps.graph(shared), Call({"word": "before"}, thread("t")), run_id="q", incarnation=OTHER)
    conversation = await attempt(steps.graph(shared), again(Call({"word": "a"}, thread("t"))))
    assert conversation.output["seen"] == ["before one", "before two", "a one", "a two"]
    for saver in (InMemorySaver(), None):
        ended = await attempt(Steps().graph(saver), again(Call({"word": "a"})))
        assert ended.output["seen"] == ["a one", "a two"]


async def test_a_run_that_has_the_id_of_an_earlier_one_does_not_continue_that() -> None:
    shared, steps = InMemorySaver(), Steps()
    await attempt(steps.graph(shared), Call({"word": "before"}), incarnation=OTHER)
    ended = await attempt(steps.graph(shared), again(Call({"word": "a"})))
    assert ended.output["seen"][-2:] == ["a one", "a two"]


async def test_a_caller_cannot_pass_off_a_checkpoint_as_the_runs() -> None:
    shared, steps, forged = InMemorySaver(), Steps(), {"metadata": {"dockrion_run": INCARNATION}}
    await attempt(
        steps.graph(shared), Call({"word": "b"}, thread("t", **forged)), run_id="q", incarnation=OTHER
    )
    ended = await attempt(steps.graph(shared), again(Call({"word": "a"}, thread("t"))))
    assert ended.output["seen"][-2:] == ["a one", "a two"]


async def test_a_graph_that_was_over_only_gives_its_output() -> None:
    shared, call = InMemorySaver(), Call({"word": "a"})
    first, second = Steps(), Steps()
    whole = await attempt(first.graph(shared), call)
    ended = await attempt(second.graph(shared), again(call))
    assert second.taken == []
    assert ended.output == whole.output


async def test_a_run_from_an_earlier_checkpoint_continues_where_it_came_to() -> None:
    shared, steps = InMemorySaver(), Steps()
    graph = steps.graph(shared)
    await attempt(graph, Call({"word": "before"}, thread("t")), run_id="q", incarnation=OTHER)
    states = [state async for state in graph.aget_state_history(thread("t"))]
    named = thread("t")
    named["configurable"]["checkpoint_id"] = states[1].config["configurable"]["checkpoint_id"]
    call = Call({"word": "a"}, named)
    assert "lost" in (await attempt(Steps(lost_in="two").graph(shared), call)).error
    last = Steps()
    ended = await attempt(last.graph(shared), again(call))
    assert last.taken == ["two"]
    assert ended.output["seen"] == ["before one", "a one", "a two"]


def asking(saver: Any, lost_in: str | None) -> Any:
    """Return a graph that asks in its first step, and loses its worker in its second."""
    made: Any = StateGraph(State)
    made.add_node("ask", lambda _state: {"seen": [interrupt("sure?")]})
    made.add_node("two", Steps(lost_in).graph(None).nodes["two"].bound)
    made.add_edge(START, "ask")
    made.add_edge("ask", "two")
    return made.compile(checkpointer=saver)


async def test_an_answer_is_not_given_to_the_next_question() -> None:
    shared = InMemorySaver()
    call = Call(None, thread("t"), resume="yes")
    await attempt(asking(shared, None), Call({"word": "a"}, thread("t")), run_id="q", incarnation=OTHER)
    assert "lost" in (await attempt(asking(shared, "two"), call)).error
    ended = await attempt(asking(shared, None), again(call))
    assert ended.output["seen"] == ["yes", "a two"]


async def test_an_answer_that_did_not_arrive_is_given_again() -> None:
    shared = InMemorySaver()
    call = Call(None, thread("t"), resume="yes")
    await attempt(asking(shared, None), Call({"word": "a"}, thread("t")), run_id="q", incarnation=OTHER)
    ended = await attempt(asking(shared, None), again(call))
    assert ended.output["seen"] == ["yes", "a two"]


async def test_a_question_that_was_open_is_asked_again() -> None:
    shared, call = InMemorySaver(), Call({"word": "a"})
    spec = ArgumentsSpec(interrupts="wait")

    async def asks(runs: Bench, call: Call) -> str:
        await runs.runs.start(call, "r", INCARNATION)
        await runs.emitted("r", 2)
        waiting = (await runs.backend.get("r")).waiting_for
        assert waiting is not None
        return waiting.request_id

    async with bench(langgraph.create_agent(asking(shared, None), {}, threads=4, arguments=spec)) as first:
        await asks(first, call)
    async with bench(langgraph.create_agent(asking(shared, None), {}, threads=4, arguments=spec)) as second:
        request_id = await asks(second, again(call))
        run = second.runs.find("r")
        assert run is not None
        assert run.session is not None
        await run.session.answer(request_id, "yes", None)
        assert (await second.ended("r")).output["seen"] == ["yes", "a two"]
