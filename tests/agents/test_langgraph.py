"""LangGraph graphs as agents: how the parts of a stream become events."""

import dataclasses
import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph

from dockrion import StreamContext, get_current_context
from dockrion.agents import langgraph
from dockrion.dockfile.agent_structs import ArgumentsSpec
from tests.agents.graphs import Model, State, agent, calls_tool, one_node, says
from tests.agents.harness import Ended, bench


async def ran(made: Any, payload: Any = None, *, allowed: Any = None) -> Ended:
    async with bench(agent(made), allowed=allowed) as runs:
        return await runs.run({"word": "rain"} if payload is None else payload)


def tokens(ended: Ended) -> list[tuple[str, str | None]]:
    return [(own["content"], own["finish_reason"]) for own in ended.own if own["type"] == "token"]


def steps(ended: Ended) -> list[str]:
    return [own["node_name"] for own in ended.own if own["type"] == "step"]


async def test_model_text_becomes_tokens_with_a_final_reason() -> None:
    model = Model(pieces=[says("Hel", "lo", reason="length")])

    async def work(_state: State) -> State:
        return {"messages": [await model.ainvoke("hi")]}

    ended = await ran(one_node(work))
    assert tokens(ended) == [("Hel", None), ("lo", None), ("", "length")]
    assert ended.output["messages"][0]["content"] == "Hello"


async def test_content_blocks_become_their_text() -> None:
    blocks: list[Any] = [
        [{"type": "text", "text": "Hel"}],
        [{"type": "reasoning", "reasoning": "hm"}],
        [{"type": "text", "text": "l"}, {"type": "text", "text": "o"}],
    ]
    model = Model(pieces=[says(*blocks)])

    async def work(_state: State) -> State:
        await model.ainvoke("hi")
        return {}

    assert "".join((await ran(one_node(work))).tokens) == "Hello"


async def test_model_without_streaming_makes_one_token() -> None:
    model = Model(pieces=[says("Hello")], streams=False)

    async def work(_state: State) -> State:
        return {"messages": [await model.ainvoke("hi")]}

    assert tokens(await ran(one_node(work))) == [("Hello", "stop")]


async def test_messages_that_a_node_passes_on_make_no_tokens() -> None:
    def work(_state: State) -> State:
        return {"messages": [HumanMessage(content="a"), AIMessage(content="hand-made")]}

    assert (await ran(one_node(work))).tokens == []


async def test_agent_with_a_tool_streams_only_its_text() -> None:
    @tool
    def weather(place: str) -> str:
        """Tell the weather."""
        return f"rain in {place}"

    model = Model(pieces=[calls_tool("weather", '{"place": "Rome"}'), says("It ", "rains.")])
    ended = await ran(create_agent(model, [weather]), {"messages": [{"role": "user", "content": "Rome?"}]})
    assert tokens(ended) == [("It ", None), ("rains.", None), ("", "stop")]
    assert steps(ended) == ["model", "tools", "model"]
    assert [message["type"] for message in ended.output["messages"]] == ["human", "ai", "tool", "ai"]
    assert ended.output["messages"][2]["content"] == "rain in Rome"


async def test_subgraphs_make_tokens_and_steps() -> None:
    model = Model(pieces=[says("a"), says("b")])

    async def work(_state: State) -> State:
        await model.ainvoke("hi")
        return {"seen": ["work"]}

    inner = one_node(work)
    outer: Any = StateGraph(State)
    outer.add_node("inner", one_node(inner))
    outer.add_node("after", work)
    outer.add_edge(START, "inner")
    outer.add_edge("inner", "after")
    ended = await ran(outer.compile())
    assert "".join(ended.tokens) == "ab"
    assert steps(ended) == ["work", "work", "inner", "after"]


async def test_parallel_branches_lose_no_token() -> None:
    branches = {name: Model(pieces=[says(*name * 20)]) for name in "xyz"}
    made: Any = StateGraph(State)
    for name, model in branches.items():

        async def work(_state: State, model: Model = model, name: str = name) -> State:
            await model.ainvoke("hi")
            return {"seen": [name]}

        made.add_node(name, work)
        made.add_edge(START, name)
    ended = await ran(made.compile())
    assert sorted("".join(ended.tokens)) == sorted("xyz" * 20)
    assert sorted(steps(ended)) == ["x", "y", "z"]


async def test_step_has_the_keys_a_node_read_and_wrote() -> None:
    def work(_state: State) -> State:
        return {"seen": ["a"], "word": "b"}

    [step] = (await ran(one_node(work))).own
    assert step["node_name"] == "work"
    assert step["duration_ms"] >= 0
    assert "word" in step["input_keys"]
    assert sorted(step["output_keys"]) == ["seen", "word"]


async def test_keys_of_a_dataclass_state_are_its_fields() -> None:
    @dataclasses.dataclass
    class Own:
        word: str = ""

    made: Any = StateGraph(Own)
    made.add_node("work", lambda state: {"word": state.word * 2})
    made.add_edge(START, "work")
    ended = await ran(made.compile())
    assert ended.own[0]["input_keys"] == ["word"]
    assert ended.output == {"word": "rainrain"}


async def test_stream_writer_makes_events_or_custom_events() -> None:
    def work(_state: State) -> State:
        write = get_stream_writer()
        write({"type": "progress", "step": "a", "progress": 0.5})
        write({"type": "custom:mood", "happy": True})
        write({"type": "complete", "output": 1})
        write([1, HumanMessage(content="x")])
        return {}

    own = [event for event in (await ran(one_node(work))).own if event["type"] != "step"]
    assert [event["type"] for event in own] == ["progress", "custom:mood", "custom:stream", "custom:stream"]
    assert own[1]["happy"] is True
    assert own[2]["data"] == {"type": "complete", "output": 1}
    assert own[3]["data"][1]["content"] == "x"


async def test_malformed_event_fails_the_run_and_names_the_field() -> None:
    def work(_state: State) -> State:
        get_stream_writer()({"type": "progress", "step": 1, "progress": 0.5})
        return {}

    ended = await ran(one_node(work))
    assert ended.code == "AGENT_EXECUTION_ERROR"
    assert "step" in ended.error


@pytest.mark.parametrize("sync", [True, False])
async def test_context_is_available_everywhere_in_a_node(*, sync: bool) -> None:
    def work(_state: State, config: RunnableConfig) -> State:
        context = get_current_context()
        assert context is config["configurable"]["stream_context"]
        assert isinstance(context, StreamContext)
        context.sync_emit("spoke", where=threading.current_thread() is threading.main_thread())
        return {}

    async def async_work(state: State, config: RunnableConfig) -> State:
        return work(state, config)

    spoke = (await ran(one_node(work if sync else async_work))).own[0]
    assert (spoke["type"], spoke["where"]) == ("custom:spoke", not sync)


async def test_exception_of_a_node_is_an_error() -> None:
    def work(_state: State) -> State:
        raise LookupError("no such word")

    ended = await ran(one_node(work))
    assert ended.error == "LookupError: no such word"
    assert steps(ended) == []


async def test_entrypoint_function_is_a_graph() -> None:
    @entrypoint()
    async def work(payload: dict[str, Any]) -> str:
        return f"Hello, {payload['word']}"

    ended = await ran(work)
    assert ended.output == "Hello, rain"
    assert steps(ended) == ["work"]


@pytest.mark.parametrize(
    ("allowed", "modes"),
    [
        ("minimal", ["values"]),
        ("chat", ["values", "messages", "custom"]),
        (["step"], ["values", "tasks", "custom"]),
        (["custom:mood"], ["values", "custom"]),
        (["tool_result"], ["values", "messages", "tasks", "tools", "custom"]),
        (["usage"], ["values", "messages", "custom"]),
        (None, ["values", "messages", "tasks", "tools", "custom"]),
    ],
)
async def test_only_the_stream_modes_that_the_filter_needs_are_requested(
    allowed: Any, modes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    made = one_node(lambda _state: {})
    stream = made.astream

    def spy(*given: Any, **options: Any) -> Any:
        asked.append(options["stream_mode"])
        return stream(*given, **options)

    monkeypatch.setattr(made, "astream", spy)
    await ran(made, allowed=allowed)
    assert asked == [modes]


async def test_invocation_requests_the_state_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    made = one_node(lambda _state: {"word": "done"})
    stream = made.astream

    def spy(*given: Any, **options: Any) -> Any:
        asked.append(options["stream_mode"])
        return stream(*given, **options)

    monkeypatch.setattr(made, "astream", spy)
    async with bench(agent(made)) as runs:
        assert (await runs.invoke({"word": "rain"}))["word"] == "done"
    assert asked == [["values"]]


async def test_uncompiled_graph_is_compiled() -> None:
    made: Any = StateGraph(State)
    made.add_node("work", lambda _state: {"word": "done"})
    made.add_edge(START, "work")
    assert (await ran(made)).output["word"] == "done"


async def test_states_become_events_where_they_are_asked_for() -> None:
    inner = one_node(lambda state: {"word": state["word"] * 2})
    arguments = ArgumentsSpec(stream_values=True)
    served = langgraph.create_agent(one_node(inner), {}, threads=8, arguments=arguments)
    async with bench(served, allowed=["custom:values"]) as runs:
        ended = await runs.run({"word": "ab"})
    assert [(own.get("source"), own["data"]["word"]) for own in ended.own] == [
        (None, "ab"),
        ("work", "ab"),
        ("work", "abab"),
        (None, "abab"),
    ]
