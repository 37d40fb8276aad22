"""Graphs and models for the tests of LangGraph and LangChain agents."""

import operator
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from dockrion.agents import langgraph
from dockrion.agents.langgraph import GraphAgent


class Model(BaseChatModel):
    """Streams the given chunks, one list per call."""

    pieces: list[list[AIMessageChunk]]
    streams: bool = True
    calls: int = 0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, *_given: Any, **_options: Any) -> "Model":
        return self

    def _next(self) -> list[AIMessageChunk]:
        self.calls += 1
        return self.pieces[(self.calls - 1) % len(self.pieces)]

    def _generate(self, *_given: Any, **_options: Any) -> ChatResult:
        first, *others = self._next()
        whole = first
        for each in others:
            whole += each
        message = AIMessage(
            content=whole.content,
            tool_calls=whole.tool_calls,
            response_metadata=whole.response_metadata,
            usage_metadata=whole.usage_metadata,
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, *_given: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        run_manager = options.get("run_manager")
        for message in self._next():
            chunk = ChatGenerationChunk(message=message.model_copy())
            if run_manager is not None:
                run_manager.on_llm_new_token(str(message.text), chunk=chunk)
            yield chunk

    def _should_stream(self, **kwargs: Any) -> bool:
        return self.streams and super()._should_stream(**kwargs)


def says(*pieces: Any, reason: str = "stop") -> list[AIMessageChunk]:
    """Return the chunks of a message with some text."""
    chunks = [AIMessageChunk(content=piece) for piece in pieces]
    return [*chunks, AIMessageChunk(content="", response_metadata={"finish_reason": reason})]


def calls_tool(name: str, arguments: str) -> list[AIMessageChunk]:
    """Return the chunks of a message that calls a tool."""
    return calls_tools((name, arguments))


def calls_tools(*calls: tuple[str, str]) -> list[AIMessageChunk]:
    """Return the chunks of a message that calls tools, `c1`, `c2`, …; their arguments come in halves."""
    chunks = []
    for index, (name, arguments) in enumerate(calls):
        half = len(arguments) // 2
        first = ToolCallChunk(name=name, args=arguments[:half], id=f"c{index + 1}", index=index)
        second = ToolCallChunk(name=None, args=arguments[half:], id=None, index=index)
        chunks += [AIMessageChunk(content="", tool_call_chunks=[half]) for half in (first, second)]
    return [*chunks, AIMessageChunk(content="", response_metadata={"finish_reason": "tool_calls"})]


def thinks(text: str) -> AIMessageChunk:
    """Return a chunk of reasoning."""
    return AIMessageChunk(content=[{"type": "reasoning", "reasoning": text}])


def used(input_tokens: int, output_tokens: int, model: str | None = None, **details: Any) -> AIMessageChunk:
    """Return a chunk that tells how many tokens the message took."""
    usage: Any = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        **details,
    }
    return AIMessageChunk(
        content="", usage_metadata=usage, response_metadata={"model_name": model} if model else {}
    )


def with_id(message_id: str, chunks: list[AIMessageChunk]) -> list[AIMessageChunk]:
    """Return the chunks with a message id that the provider gives."""
    return [chunk.model_copy(update={"id": message_id}) for chunk in chunks]


class State(TypedDict, total=False):
    """The state of the graphs."""

    messages: Annotated[list[Any], operator.add]
    word: str
    seen: Annotated[list[str], operator.add]


def one_node(node: Any, **compiled: Any) -> Any:
    """Return a graph of one node, `work`."""
    made: Any = StateGraph(State)
    made.add_node("work", node)
    made.add_edge(START, "work")
    return made.compile(**compiled)


def agent(made: Any, **config: Any) -> GraphAgent:
    served = langgraph.create_agent(made, config, threads=8)
    assert isinstance(served, GraphAgent)
    return served


def make_chat() -> Any:
    """Return a graph that answers how many messages of the user its thread has."""

    def count(state: MessagesState) -> dict[str, Any]:
        asked = [str(message.text) for message in state["messages"] if message.type == "human"]
        return {"messages": [AIMessage(f"{len(asked)}: {asked[-1]}")]}

    made: Any = StateGraph(MessagesState)
    made.add_node("count", count)
    made.add_edge(START, "count")
    return made.compile(checkpointer=InMemorySaver())


def make_model() -> Model:
    return Model(pieces=[says("It rains.")])
