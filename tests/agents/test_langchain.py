"""LangChain runnables as agents."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
)
from langchain_core.tools import tool

from dockrion.agents import langchain, tool_guard
from dockrion.agents.chat_messages import MessageTranslator
from dockrion.agents.langgraph import GraphAgent
from dockrion.agents.tool_calls import ToolCallTranslator
from dockrion.events import EventFilter
from dockrion.runs.agent import Call
from dockrion.runs.session import RunSession
from tests.agents.graphs import Model, calls_tool, one_node, says
from tests.agents.harness import Ended, bench


def agent(made: Any, **config: Any) -> Any:
    return langchain.create_agent(made, config, threads=8)


async def ran(made: Any, payload: Any, *, allowed: Any = None) -> Ended:
    async with bench(agent(made), allowed=allowed) as runs:
        return await runs.run(payload)


async def test_text_of_a_chain_s_model_is_streamed_once() -> None:
    chain = ChatPromptTemplate.from_template("{word}") | Model(pieces=[says("Hel", "lo")]) | StrOutputParser()
    ended = await ran(chain, {"word": "rain"})
    assert ended.tokens == ["Hel", "lo", ""]
    assert ended.output == "Hello"
    assert [own["node_name"] for own in ended.own if own["type"] == "step"] == ["Model"]


@pytest.mark.parametrize(
    "payload", ["hi", {"input": "hi"}, {"messages": [{"role": "user", "content": "hi"}]}]
)
async def test_model_alone_takes_text_and_messages(payload: Any) -> None:
    model = Model(pieces=[says("Hel", "lo")])
    ended = await ran(model.with_config(run_name="mine"), payload)
    assert ended.tokens == ["Hel", "lo", ""]
    assert ended.output["content"] == "Hello"
    async with bench(agent(model)) as runs:
        assert (await runs.invoke(payload))["content"] == "Hello"


async def test_model_without_streaming_makes_one_token() -> None:
    ended = await ran(Model(pieces=[says("Hello")], streams=False), "hi")
    assert "".join(ended.tokens) == "Hello"


async def test_model_without_messages_streams_its_text() -> None:
    ended = await ran(FakeListLLM(responses=["Hello"]), "hi")
    assert "".join(ended.tokens) == "Hello"
    assert ended.output == "Hello"


async def test_models_are_streamed_while_tools_are_guarded() -> None:
    tool_guard.install()
    ended = await ran(FakeListLLM(responses=["Hello"]), "hi")
    assert "".join(ended.tokens) == "Hello"


async def test_message_with_a_tool_call_makes_no_token() -> None:
    ended = await ran(Model(pieces=[calls_tool("look", '{"at": 1}')]), "hi")
    assert ended.tokens == []
    assert ended.output["tool_calls"][0]["args"] == {"at": 1}


async def test_tools_and_named_parts_make_steps() -> None:
    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    def pair(_payload: Any) -> dict[str, int]:
        return {"a": 1, "b": 2}

    steps = [own for own in (await ran(RunnableLambda(pair) | add, {})).own if own["type"] == "step"]
    assert [step["node_name"] for step in steps] == ["pair", "add"]
    assert steps[1]["input_keys"] == ["a", "b"]
    assert all(step["duration_ms"] >= 0 for step in steps)


async def test_dispatched_custom_events_are_forwarded() -> None:
    async def work(_payload: Any) -> str:
        await adispatch_custom_event("mood", {"happy": True})
        await adispatch_custom_event("mood", {"id": 1})
        await adispatch_custom_event("no name", 1)
        await adispatch_custom_event("any", {"type": "progress", "step": "a", "progress": 1})
        return "done"

    ended = await ran(RunnableLambda(work), {})
    assert [own for own in ended.own if own["type"] != "token"] == [
        {"type": "custom:mood", "happy": True},
        {"type": "custom:mood", "data": {"id": 1}},
        {"type": "custom:stream", "data": 1},
        {"type": "progress", "step": "a", "progress": 1.0, "message": None},
    ]
    assert ended.output == "done"


async def test_text_of_a_chain_without_a_model_makes_tokens() -> None:
    def pieces(given: Iterator[Any]) -> Iterator[str]:
        for _ in given:
            yield from ("Hel", "lo")

    async def async_pieces(given: Any) -> Any:
        async for _ in given:
            yield "Hel"
            yield "lo"

    ended = await ran(RunnableGenerator(pieces, async_pieces), "hi")
    assert ended.tokens == ["Hel", "lo"]
    assert ended.output == "Hello"


async def test_parallel_parts_have_one_output() -> None:
    both: Any = RunnableParallel(one=lambda _payload: 1, two=lambda _payload: {"a": 2})
    assert (await ran(both, {})).output == {"one": 1, "two": {"a": 2}}


async def test_runnable_is_invoked_when_no_event_passes_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Runnable, "astream_events")
    assert (await ran(RunnableLambda(lambda _payload: "done"), {}, allowed="minimal")).output == "done"


async def test_exception_of_a_runnable_is_an_error() -> None:
    def work(_payload: Any) -> None:
        raise LookupError("no such word")

    assert (await ran(RunnableLambda(work), {})).error == "LookupError: no such word"


async def test_configs_reach_the_runnable() -> None:
    def work(_payload: Any, config: RunnableConfig) -> Any:
        return {name: config["configurable"][name] for name in ("a", "b")}

    async with bench(agent(RunnableLambda(work), configurable={"a": 1, "b": 1})) as runs:
        run = await runs.runs.start(Call({}, {"configurable": {"b": 2}}), "r")
        assert (await runs.ended(run.run_id)).output == {"a": 1, "b": 2}


async def test_graph_is_served_as_a_graph() -> None:
    made = agent(one_node(lambda _state: {}))
    assert isinstance(made, GraphAgent)
    await made.aclose()


@pytest.mark.parametrize("made", [None, dict, lambda payload: payload])
async def test_other_objects_are_rejected_with_a_hint(made: Any) -> None:
    with pytest.raises(TypeError, match="langgraph takes graphs"):
        langchain.create_agent(made, {}, threads=1)


SESSION = RunSession("run", EventFilter(), None)
PIECES = st.one_of(
    st.text(max_size=4),
    st.lists(
        st.one_of(
            st.text(max_size=3), st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=3))
        )
    ),
)


def safe_str(piece: Any) -> str:
    blocks = [piece] if isinstance(piece, str) else piece
    return "".join(block if isinstance(block, str) else block["text"] for block in blocks)


@settings(max_examples=50)
@given(pieces=st.lists(PIECES, max_size=8), told_why=st.booleans())
def test_tokens_are_the_text_for_any_split(pieces: list[Any], *, told_why: bool) -> None:
    tokens = MessageTranslator(SESSION, EventFilter("chat"), ToolCallTranslator(SESSION))
    reason = {"finish_reason": "stop"} if told_why else {}
    chunks = [AIMessageChunk(content=piece, id="m") for piece in pieces]
    chunks += [
        AIMessageChunk(content="", id="m", response_metadata=reason),
        AIMessageChunk(content="", id="m", chunk_position="last"),
    ]
    said = [token for chunk in chunks for token in tokens.translate(chunk, "m")]
    assert "".join(token["content"] for token in said) == "".join(map(safe_str, pieces))
    assert [token["finish_reason"] for token in said if token["finish_reason"]] == ["stop"]
    assert "m" not in tokens
