"""Graphs whose interrupts ask a person: `arguments.interrupts: wait`."""

from inspect import signature
from typing import Any

import msgspec
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from dockrion import ids
from dockrion.agents import langgraph
from dockrion.agents.langgraph import interrupt_question
from dockrion.dockfile.agent_structs import ArgumentsSpec
from dockrion.errors import InvalidRequest
from dockrion.runs.agent import Call
from tests.agents.graphs import Model, State, calls_tool, one_node, says
from tests.agents.harness import Bench, bench
from tests.agents.test_langgraph_threads import SAVERS, called, thread
from tests.runs.asking import answer, session_of, waiting

WAIT = ArgumentsSpec(interrupts="wait")


def waiting_agent(made: Any) -> Any:
    return langgraph.create_agent(made, {}, threads=8, arguments=WAIT)


def two_questions(saver: Any) -> Any:
    """Return a graph that asks in two nodes at once, and in one of them twice."""
    made: Any = StateGraph(State)
    made.add_node("a", lambda _state: {"seen": [f"a: {interrupt('a?')}"]})
    made.add_node("b", lambda _state: {"seen": [f"b: {interrupt('b?')} {interrupt('b again?')}"]})
    made.add_edge(START, "a")
    made.add_edge(START, "b")
    return made.compile(checkpointer=saver)


async def open_questions(made: Bench, run_id: str, count: int) -> dict[str, str]:
    """Return the ids of the questions that a run has asked, by prompt."""
    await made.emitted(run_id, count)
    entries = (await made.backend.read(run_id, 0, 100)).entries
    events = [msgspec.json.decode(entry.data) for entry in entries if entry.type == "input_requested"]
    return {event["prompt"]: event["request_id"] for event in events}


@SAVERS
async def test_interrupts_of_parallel_nodes_are_answered_in_the_other_order(saver: Any) -> None:
    async with bench(
        waiting_agent(two_questions(saver())), allowed=["input_requested", "input_received"]
    ) as made:
        run_id = await made.start({"word": "w"})
        asked = await open_questions(made, run_id, 3)
        session = session_of(made, run_id)
        await session.answer(asked["b?"], "yes", None)
        await session.answer(asked["a?"], "no", None)
        await answer(made, run_id, "sure", "b again?")
        ended = await made.ended(run_id)
    assert sorted(ended.output["seen"]) == ["a: no", "b: yes sure"]
    assert [event["type"] for event in ended.own] == ["input_requested"] * 2 + ["input_received"] * 2 + [
        "input_requested",
        "input_received",
    ]
    assert "interrupted" not in ended.terminal["metadata"]


@pytest.mark.skipif(
    "response_schema" not in signature(interrupt).parameters, reason="this langgraph has no such parameter"
)
async def test_answer_is_checked_against_the_schema_of_the_interrupt() -> None:
    def ask(_state: State) -> State:
        return {"seen": [interrupt("How many?", response_schema={"type": "integer"})]}

    async with bench(waiting_agent(one_node(ask, checkpointer=InMemorySaver()))) as made:
        run_id = await made.start({"word": "w"})
        assert (await waiting(made, run_id)).schema == {"type": "integer"}
        with pytest.raises(InvalidRequest):
            await answer(made, run_id, "many")
        await answer(made, run_id, 3)
        assert (await made.ended(run_id)).output["seen"] == [3]


async def test_run_that_waits_can_be_cancelled_and_its_thread_goes_on() -> None:
    def ask(state: State) -> State:
        return {"seen": [interrupt("Sure?") if state["word"] == "ask" else "unasked"]}

    async with bench(waiting_agent(one_node(ask, checkpointer=InMemorySaver()))) as made:
        run = await made.runs.start(Call({"word": "ask"}, thread("t")), ids.uuid7())
        await waiting(made, run.run_id)
        await made.runs.cancel(run.run_id, "enough")
        assert (await made.ended(run.run_id)).run.status == "cancelled"
        assert (await called(made, Call({"word": "go"}, thread("t")))).output["seen"] == ["unasked"]


async def test_invocation_ends_at_the_interrupt_since_nobody_could_answer() -> None:
    async with bench(waiting_agent(two_questions(InMemorySaver()))) as made:
        done, _ = await made.runs.invoke(Call({"word": "w"}), ids.uuid7(), 60)
    assert done.metadata["interrupted"] is True


async def test_tool_that_a_person_approves_has_one_call_and_one_result() -> None:
    @tool
    def send(text: str) -> str:
        """Send a mail."""
        return f"sent {text}"

    served = create_agent(
        Model(pieces=[calls_tool("send", '{"text": "hi"}'), says("Done.")]),
        [send],
        middleware=[HumanInTheLoopMiddleware(interrupt_on={"send": True})],
        checkpointer=InMemorySaver(),
    )
    async with bench(waiting_agent(served)) as made:
        run_id = await made.start({"messages": [{"role": "user", "content": "Send it."}]})
        assert "send" in (await waiting(made, run_id)).prompt
        await answer(made, run_id, {"decisions": [{"type": "approve"}]})
        ended = await made.ended(run_id)
    tools = [event for event in ended.own if event["type"].startswith("tool_")]
    assert [(event["type"], event["tool_call_id"]) for event in tools] == [
        ("tool_call", "c1"),
        ("tool_result", "c1"),
    ]
    assert tools[1]["result"] == "sent hi"
    assert "".join(ended.tokens) == "Done."


async def test_graph_without_a_checkpointer_is_refused_with_the_cure() -> None:
    with pytest.raises(TypeError, match=r"interrupts: wait requires a checkpointer.*compile\(checkpointer="):
        waiting_agent(one_node(lambda _state: {}))


@pytest.mark.parametrize(
    ("value", "prompt", "schema"),
    [
        ("Sure?", "Sure?", None),
        ({"prompt": "Sure?"}, "Sure?", None),
        ({"prompt": "Sure?", "schema": {"type": "boolean"}}, "Sure?", {"type": "boolean"}),
        ({"prompt": "Sure?", "draft": "Hi"}, '{"prompt":"Sure?","draft":"Hi"}', None),
        ({"prompt": {"a": 1}}, '{"a":1}', None),
        (["Sure?"], '["Sure?"]', None),
    ],
)
def test_value_of_an_interrupt_is_the_prompt(value: Any, prompt: str, schema: Any) -> None:
    class Own:
        pass

    made: Any = Own()
    made.value = value
    asked = interrupt_question(made)
    assert (asked.prompt, asked.schema) == (prompt, schema)
