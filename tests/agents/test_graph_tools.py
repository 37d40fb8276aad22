"""Tools in graphs, however their calls come about, and whatever they return or raise."""

from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.prebuilt import ToolNode, ToolRuntime
from langgraph.types import Command

from tests.agents.graphs import State, agent, one_node
from tests.agents.harness import bench
from tests.agents.test_graph_conversations import asking, of_type, ran, weather


async def test_tools_that_a_node_of_plain_code_executes_for_a_model_are_reported_once() -> None:
    async def execute(state: State) -> State:
        answers = []
        for call in state["messages"][-1].tool_calls:
            try:
                result = await weather.ainvoke(call["args"])  # the usual way to write it by hand
            except LookupError as error:
                result = f"failed: {error}"
            answers.append(ToolMessage(result, tool_call_id=call["id"]))
        return {"messages": answers}

    ended = await ran(asking(execute))
    assert [event["tool_call_id"] for event in of_type(ended, "tool_call")] == ["c1", "c2"]
    results = [(event["tool_call_id"], event["result"]) for event in of_type(ended, "tool_result")]
    assert results == [("c1", "rain in Rome"), ("c2", "failed: no such place")]


async def test_tool_that_no_model_requested_is_reported_with_its_node() -> None:
    async def work(_state: State) -> State:
        await weather.ainvoke({"place": "Rome"})
        with pytest.raises(LookupError):
            await weather.ainvoke({"place": "Atlantis"})
        return {}

    ended = await ran(one_node(work), {})
    [call, result, other, failure] = of_type(ended, "tool_call", "tool_result")
    assert (call["name"], call["arguments"], call["source"]) == ("weather", {"place": "Rome"}, "work")
    assert (result["tool_call_id"], result["result"]) == (call["tool_call_id"], "rain in Rome")
    assert (failure["tool_call_id"], failure["is_error"]) == (other["tool_call_id"], True)
    assert failure["result"] == "no such place"


async def test_output_that_a_tool_streams_becomes_a_custom_event() -> None:
    @tool("weather")
    async def forecast(place: str, runtime: ToolRuntime) -> str:
        """Tell the weather."""
        runtime.emit_output_delta(f"looking at {place}")
        return "rain"

    [delta, *_] = of_type(await ran(asking(ToolNode([forecast]))), "custom:tool_output")
    assert (delta["tool_call_id"], delta["data"]) == ("c1", "looking at Rome")


async def test_tool_that_is_tried_again_has_one_result() -> None:
    tries: list[str] = []

    @tool("weather")
    async def flaky(place: str) -> str:
        """Tell the weather."""
        tries.append(place)
        if len(tries) == 1:
            raise LookupError("busy")
        return "rain"

    async def execute(state: State) -> State:
        retried = flaky.with_retry(wait_exponential_jitter=False)
        call = state["messages"][-1].tool_calls[0]
        return {"messages": [ToolMessage(await retried.ainvoke(call["args"]), tool_call_id=call["id"])]}

    ended = await ran(asking(execute))
    [result] = of_type(ended, "tool_result")
    assert (result["result"], result["is_error"], len(tries)) == ("rain", False, 2)


class Opaque:
    """A value without a JSON form."""


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        ({"rain": True, "update": 1}, {"rain": True, "update": 1}),
        (["rain", 3], ["rain", 3]),
        (Opaque(), "<Opaque>"),
        ("x" * 11 * 2**20, "<str>"),
    ],
    ids=["mapping", "list", "no JSON", "large"],
)
async def test_value_that_a_tool_returns_is_its_result(returned: Any, shown: Any) -> None:
    @tool
    async def look() -> Any:
        """Look."""
        return returned

    async def work(_state: State) -> State:
        await look.ainvoke({})
        return {}

    ended = await ran(one_node(work), {})
    assert [event["result"] for event in of_type(ended, "tool_result")] == [shown]
    assert ended.run.status == "completed"


async def test_command_that_a_tool_returns_is_reported_with_its_message() -> None:
    earlier = [ToolMessage("earlier", tool_call_id=call_id, id=f"e{call_id}") for call_id in ("c1", "c2")]

    @tool("weather")
    async def remember(place: str, runtime: ToolRuntime) -> Command[Any]:
        """Remember."""
        said = ToolMessage(f"noted {place}", tool_call_id=runtime.tool_call_id)
        return Command(update={"messages": [*earlier, said], "word": place})

    results = of_type(await ran(asking(ToolNode([remember])), {"messages": earlier}), "tool_result")
    assert {(event["tool_call_id"], event["result"]) for event in results} == {
        ("c1", "noted Rome"),
        ("c2", "noted Atlantis"),
    }


async def test_secrets_and_paths_in_the_exception_of_a_tool_are_masked() -> None:
    @tool
    async def look() -> None:
        """Look."""
        raise LookupError("hunter2-hunter2 is not in /srv/keys")

    async def work(_state: State) -> State:
        with pytest.raises(LookupError):
            await look.ainvoke({})
        return {}

    async with bench(agent(one_node(work)), secrets=("hunter2-hunter2",)) as runs:
        [result] = of_type(await runs.run({}), "tool_result")
    assert result["result"] == "*** is not in <path>"
