"""A LangGraph graph with a model node and a plain node. The model is a fake; replace it with yours."""

from typing import Any, TypedDict

from langchain_core.language_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph

model = FakeListChatModel(responses=["It falls, it runs, it is gone."])


class State(TypedDict, total=False):
    word: str
    lines: list[str]
    text: str


async def write(state: State) -> State:
    message = await model.ainvoke(f"Write about {state['word']}.")
    return {"text": str(message.text)}


def count(state: State) -> State:
    """Sync nodes run in a thread, so they may block."""
    get_stream_writer()({"type": "progress", "step": "count", "progress": 1.0})
    return {"lines": state["text"].split(", ")}


def make() -> CompiledStateGraph[Any, Any, Any, Any]:
    graph = StateGraph(State)
    graph.add_node("write", write)
    graph.add_node("count", count)
    graph.add_edge(START, "write")
    graph.add_edge("write", "count")
    return graph.compile(checkpointer=InMemorySaver())
