"""What a factory may return for `framework: langgraph`, and what is refused."""

import operator
from functools import partial
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from dockrion.agents import langgraph
from tests.agents.graphs import Model, agent, says
from tests.agents.harness import bench

_ADD_MESSAGES: Any = add_messages


@pytest.mark.parametrize("compiled", [True, False])
async def test_state_without_keys_is_refused_with_the_cure(*, compiled: bool) -> None:
    class Keyless(dict[str, Any]):
        pass

    made: Any = StateGraph(Keyless)
    made.add_node("work", lambda _state: {"word": "lost"})
    made.add_edge(START, "work")
    with pytest.raises(
        TypeError, match=r"Keyless, has no keys.* use a TypedDict: class Keyless\(TypedDict\)"
    ):
        langgraph.create_agent(made.compile() if compiled else made, {}, threads=1)


async def test_state_that_is_one_value_is_served() -> None:
    made: Any = StateGraph(dict)
    made.add_node("work", lambda state: {**state, "word": "done"})
    made.add_edge(START, "work")
    async with bench(agent(made)) as runs:
        assert (await runs.run({"word": "rain"})).output == {"word": "done"}


async def test_object_that_is_no_graph_is_served_as_a_custom_agent(caplog: pytest.LogCaptureFixture) -> None:
    class Own:
        async def ainvoke(self, payload: dict[str, Any]) -> str:
            return f"Hello, {payload['word']}"

    served = langgraph.create_agent(Own(), {}, threads=1)
    async with bench(served) as runs:
        assert (await runs.run({"word": "rain"})).output == "Hello, rain"
    assert "not a graph: served as a custom agent" in caplog.text


async def test_runnable_that_is_no_graph_is_served_as_a_runnable(caplog: pytest.LogCaptureFixture) -> None:
    served = langgraph.create_agent(Model(pieces=[says("Hel", "lo")]), {}, threads=1)
    async with bench(served) as runs:
        assert (await runs.run("hi")).tokens == ["Hel", "lo", ""]
    assert "not a graph: served as a runnable of LangChain" in caplog.text


@pytest.mark.parametrize("made", [None, dict, lambda payload: payload])
async def test_other_objects_are_rejected_with_a_reason(made: Any) -> None:
    with pytest.raises(TypeError, match=r"expected a graph of LangGraph, got .* no method `invoke`"):
        langgraph.create_agent(made, {}, threads=1)


@pytest.mark.parametrize(
    ("reducer", "known"),
    [(add_messages, True), (partial(_ADD_MESSAGES, format="langchain-openai"), True), (operator.add, False)],
    ids=["added", "formatted", "concatenated"],
)
async def test_messages_are_known_by_their_reducer(reducer: Any, known: bool) -> None:
    class State(TypedDict):
        messages: Annotated[list[Any], reducer]

    class Question(TypedDict):
        text: str

    for taken, expected in ((State, known), (Question, False)):
        made: Any = StateGraph(State, input_schema=taken)
        made.add_node("work", lambda _state: {})
        made.add_edge(START, "work")
        async with bench(served := agent(made)):
            assert (served.input_schema is not None) is expected
