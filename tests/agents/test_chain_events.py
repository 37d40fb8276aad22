"""LangChain runnables: tool calls, reasoning, usage, and which part of a chain says what."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool

from dockrion import ids
from dockrion.runs.agent import Call
from tests.agents.graphs import Model, calls_tools, says, thinks, used, with_id
from tests.agents.harness import Ended, bench
from tests.agents.test_langchain import agent, ran


def of_type(ended: Ended, *types: str) -> list[dict[str, Any]]:
    return [event for event in ended.own if event["type"] in types]


@tool
def add(a: int, b: int) -> int:
    """Add."""
    if b == 0:
        raise ValueError("nothing to add")
    return a + b


CALLS = calls_tools(("add", '{"a": 1, "b": 2}'), ("add", '{"a": 1, "b": 0}'), ("add", "1 + 2"))


async def test_what_a_model_says_becomes_events_with_its_message_id() -> None:
    pieces = with_id("m1", [thinks("Hm."), *says("Hi."), *CALLS, used(3, 4, "gpt")])
    ended = await ran(Model(pieces=[pieces]).with_config(run_name="mine"), "hi")
    assert {event["message_id"] for event in of_type(ended, "token", "reasoning", "tool_call")} == {"m1"}
    assert [event["content"] for event in of_type(ended, "reasoning")] == ["Hm."]
    assert [event["arguments"] for event in of_type(ended, "tool_call")] == [
        {"a": 1, "b": 2},
        {"a": 1, "b": 0},
        "1 + 2",
    ]
    [invalid] = of_type(ended, "tool_result")
    assert (invalid["tool_call_id"], invalid["is_error"]) == ("c3", True)
    [usage] = of_type(ended, "usage")
    assert (usage["model"], usage["input_tokens"], usage["output_tokens"]) == ("gpt", 3, 4)


async def test_tools_that_a_chain_executes_for_a_model_have_the_ids_of_its_calls() -> None:
    async def execute(message: AIMessage) -> list[str]:
        first, second = message.tool_calls
        results = [str(await add.ainvoke(first["args"]))]  # without the id
        try:
            await add.ainvoke(second)
        except ValueError as error:
            results.append(str(error))
        return results

    ended = await ran(Model(pieces=[CALLS[:4]]) | RunnableLambda(execute), "hi")
    assert ended.output == ["3", "nothing to add"]
    assert [event["tool_call_id"] for event in of_type(ended, "tool_call")] == ["c1", "c2"]
    first, second = of_type(ended, "tool_result")
    assert (first["tool_call_id"], first["result"], first["is_error"]) == ("c1", 3, False)
    assert (second["tool_call_id"], second["result"], second["is_error"]) == ("c2", "nothing to add", True)
    assert all(result["name"] == "add" and result["duration_ms"] >= 0 for result in (first, second))


async def test_tool_that_no_model_requested_is_reported() -> None:
    ended = await ran(RunnableLambda(lambda _: {"a": 1, "b": 2}) | add, "hi")
    [call, result] = of_type(ended, "tool_call", "tool_result")
    assert (call["name"], call["arguments"]) == ("add", {"a": 1, "b": 2})
    assert (result["tool_call_id"], result["result"]) == (call["tool_call_id"], 3)


async def test_parts_of_a_parallel_chain_are_told_apart() -> None:
    def writer(text: str) -> Any:
        return Model(pieces=[says(*text)]) | StrOutputParser()

    def inner(_payload: Any) -> Any:
        return writer("deep")

    both = RunnableParallel(joke=writer("ha"), poem=writer("oh"), other=RunnableLambda(inner))
    ended = await ran(both, "hi")
    texts: dict[str, str] = {}
    for event in of_type(ended, "token"):
        texts[event["source"]] = texts.get(event["source"], "") + event["content"]
    assert texts == {"joke": "ha", "poem": "oh", "other": "deep"}


@pytest.mark.parametrize("allowed", [None, "chat", "minimal"])
async def test_usage_is_counted_once_whatever_passes_the_filter(allowed: Any) -> None:
    chain = Model(pieces=[[*says("Hello"), used(3, 2, "gpt"), used(0, 4)]]) | StrOutputParser()
    async with bench(agent(chain), allowed=allowed) as runs:
        ended = await runs.run("hi")
        done, _ = await runs.runs.invoke(Call("hi"), ids.uuid7(), 60)
    sums = {"gpt": {"input_tokens": 3, "output_tokens": 6, "total_tokens": 9}}
    assert (ended.terminal["metadata"]["usage"], done.metadata["usage"]) == (sums, sums)


async def test_chain_of_today_has_the_same_events_but_for_message_ids() -> None:
    chain = RunnableLambda(str.upper) | Model(pieces=[says("Hi")]) | StrOutputParser()
    tokens = (await ran(chain, "hi", allowed="chat")).own
    message_ids = {event.pop("message_id") for event in tokens}
    assert len(message_ids) == 1
    assert tokens == [
        {"type": "token", "content": "Hi", "finish_reason": None},
        {"type": "token", "content": "", "finish_reason": "stop"},
    ]
