"""Graphs of several agents, of parallel branches, and of tools: who says what, and what tools return."""

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send

from dockrion import ids
from dockrion.runs.agent import Call
from tests.agents.graphs import Model, State, agent, calls_tool, calls_tools, one_node, says, used
from tests.agents.harness import Ended, bench
from tests.agents.test_langgraph_threads import SyncSaver

ASK = {"messages": [{"role": "user", "content": "Go."}]}


async def ran(made: Any, payload: Any = None, *, allowed: Any = None) -> Ended:
    async with bench(agent(made), allowed=allowed) as runs:
        return await runs.run(ASK if payload is None else payload)


def of_type(ended: Ended, *types: str) -> list[dict[str, Any]]:
    return [event for event in ended.own if event["type"] in types]


def conversation(ended: Ended) -> list[tuple[str, str]]:
    """Return who says what, as an interface would show it: the pieces of one message joined."""
    said: dict[str, tuple[str, str]] = {}
    for event in ended.own:
        if event["type"] == "token":
            _, before = said.get(event["message_id"], ("", ""))
            said[event["message_id"]] = event["source"], before + event["content"]
        elif event["type"] == "tool_call":
            said[event["tool_call_id"]] = event["source"], f"calls {event['name']}"
        elif event["type"] == "tool_result":
            said[f"result of {event['tool_call_id']}"] = event["source"], f"gets {event['result']}"
    return list(said.values())


@tool
async def weather(place: str) -> str:
    """Tell the weather."""
    await asyncio.sleep(0.001)
    if place == "Atlantis":
        raise LookupError("no such place")
    return f"rain in {place}"


PLACES = calls_tools(("weather", '{"place": "Rome"}'), ("weather", '{"place": "Atlantis"}'))


def asking(node: Any) -> Any:
    """Return a graph in which a model calls tools and a node executes the calls."""
    model = Model(pieces=[PLACES])

    async def ask(_state: State) -> State:
        return {"messages": [await model.ainvoke("hi")]}

    made: Any = StateGraph(State)
    made.add_node("ask", ask)
    made.add_node("tools", node)
    made.add_edge(START, "ask")
    made.add_edge("ask", "tools")
    return made.compile()


async def test_supervisor_whose_agents_are_tools_reads_as_a_conversation() -> None:
    def named(name: str, text: str) -> BaseTool:
        worker = create_agent(Model(pieces=[says(*text)]), [], name=name)

        @tool(f"ask_{name}")
        async def delegate(task: str) -> str:
            """Let an agent work."""
            state: Any = await worker.ainvoke({"messages": [{"role": "user", "content": task}]})
            return str(state["messages"][-1].text)

        return delegate

    model = Model(
        pieces=[
            calls_tool("ask_researcher", '{"task": "find"}'),
            calls_tool("ask_writer", '{"task": "write"}'),
            says("Done."),
        ]
    )
    made = create_agent(model, [named("researcher", "facts"), named("writer", "prose")], name="supervisor")
    ended = await ran(made)
    calls = of_type(ended, "tool_call")
    assert [(call["arguments"], call["source"]) for call in calls] == [
        ({"task": "find"}, "supervisor"),
        ({"task": "write"}, "supervisor"),
    ]
    texts = {
        source: "".join(e["content"] for e in of_type(ended, "token") if e["source"] == source)
        for source in ("supervisor", "supervisor/researcher", "supervisor/writer")
    }
    assert texts == {
        "supervisor": "Done.",
        "supervisor/researcher": "facts",
        "supervisor/writer": "prose",
    }


async def test_supervisor_that_hands_over_reads_as_a_conversation() -> None:
    @tool
    async def to_researcher() -> Command[Any]:
        """Hand over."""
        said = ToolMessage("handed over", tool_call_id="c1")
        return Command(goto="researcher", graph=Command.PARENT, update={"messages": [said]})

    supervisor = create_agent(
        Model(pieces=[calls_tool("to_researcher", "{}"), says("Done.")]), [to_researcher], name="supervisor"
    )
    made: Any = StateGraph(State)
    made.add_node("supervisor", supervisor)
    made.add_node("researcher", create_agent(Model(pieces=[says("Fac", "ts.")]), [], name="researcher"))
    made.add_edge(START, "supervisor")
    assert conversation(await ran(made.compile())) == [
        ("supervisor", "calls to_researcher"),
        ("supervisor", "gets handed over"),
        ("researcher", "Facts."),
    ]


@pytest.mark.parametrize("handled", [True, False])
async def test_parallel_tool_calls_of_which_one_raises(*, handled: bool) -> None:
    ended = await ran(asking(ToolNode([weather], handle_tool_errors=handled)))
    first, second = of_type(ended, "tool_result")
    assert (first["tool_call_id"], first["result"], first["is_error"]) == ("c1", "rain in Rome", False)
    assert (second["tool_call_id"], second["is_error"]) == ("c2", True)
    assert "no such place" in second["result"]
    assert {result["name"] for result in (first, second)} == {"weather"}
    assert all(1 <= result["duration_ms"] < 10_000 for result in (first, second))
    assert ended.run.status == ("completed" if handled else "failed")
    if handled:
        assert second["result"] == ended.output["messages"][-1]["content"]


async def test_agent_whose_tool_raises_reports_it_before_the_error() -> None:
    made = create_agent(Model(pieces=[PLACES]), [weather])
    ended = await ran(made)
    assert [(event["tool_call_id"], event["is_error"]) for event in of_type(ended, "tool_result")] == [
        ("c1", False),
        ("c2", True),
    ]
    assert ended.error == "LookupError: no such place"


async def test_branches_of_a_map_reduce_are_told_apart() -> None:
    async def summarize(state: State) -> State:
        model = Model(pieces=[says(*state["word"])])
        return {"seen": [str((await model.ainvoke("hi")).text)]}

    made: Any = StateGraph(State)
    made.add_node("split", lambda _state: {})
    made.add_node("summarize", summarize)
    made.add_node("join", lambda state: {"word": "".join(sorted(state["seen"]))})
    made.add_edge(START, "split")
    made.add_conditional_edges("split", lambda _state: [Send("summarize", {"word": w * 9}) for w in "xyz"])
    made.add_edge("summarize", "join")
    ended = await ran(made.compile(), {})
    branches = ["summarize", "summarize:1", "summarize:2"]
    texts = [(source, word * 9) for source, word in zip(branches, "xyz", strict=True)]
    assert sorted(conversation(ended)) == texts
    assert sorted(event["source"] for event in of_type(ended, "step")) == ["join", "split", *branches]
    assert ended.output["word"] == "x" * 9 + "y" * 9 + "z" * 9


async def test_models_that_one_node_calls_at_once_are_told_apart() -> None:
    async def work(_state: State) -> State:
        await asyncio.gather(*(Model(pieces=[says(*word * 9)]).ainvoke("hi") for word in "xyz"))
        return {}

    assert sorted(conversation(await ran(one_node(work), {}))) == [("work", word * 9) for word in "xyz"]


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("allowed", [None, "chat", "minimal"])
async def test_usage_is_counted_once_whatever_passes_the_filter(allowed: Any, *, streams: bool) -> None:
    model = Model(pieces=[[*says("Hello"), used(3, 2, "gpt"), used(0, 4)]], streams=streams)

    async def work(_state: State) -> State:
        await model.ainvoke("hi")
        return {"messages": [await model.ainvoke("hi")]}

    made = one_node(one_node(work))  # the message is repeated by the node around the subgraph
    async with bench(agent(made), allowed=allowed) as runs:
        ended = await runs.run({})
        done, _ = await runs.runs.invoke(Call({}), ids.uuid7(), 60)
    sums = {"gpt": {"input_tokens": 6, "output_tokens": 12, "total_tokens": 18}}
    assert ended.terminal["metadata"]["usage"] == sums
    assert ended.run.metadata["usage"] == sums
    assert done.metadata["usage"] == sums
    assert len(of_type(ended, "usage")) == (2 if allowed is None else 0)


async def test_whole_messages_are_emitted_where_tokens_do_not_pass() -> None:
    model = Model(pieces=[says("Hel", "lo"), calls_tool("weather", '{"place": "Rome"}')])

    async def work(_state: State) -> State:
        return {"messages": [await model.ainvoke("hi"), await model.ainvoke("hi"), AIMessage("By hand.")]}

    ended = await ran(one_node(work), {}, allowed=["message"])
    assert [(event["role"], event["content"]) for event in ended.own] == [
        ("assistant", "Hello"),
        ("assistant", "By hand."),
    ]


async def test_graph_with_a_sync_checkpointer_emits_the_same() -> None:
    @tool("weather")
    def sync_weather(place: str) -> str:
        """Tell the weather."""
        return f"rain in {place}"

    model = Model(pieces=[PLACES[:2], says("It ", "rains.")])
    made = create_agent(model, [sync_weather], name="meteo", checkpointer=SyncSaver())
    assert conversation(await ran(made)) == [
        ("meteo", "calls weather"),
        ("meteo", "gets rain in Rome"),
        ("meteo", "It rains."),
    ]
