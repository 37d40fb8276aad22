"""Spans of what LangGraph and LangChain do, streamed or not, and of what traces them by itself."""

from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import httpx
import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableConfig, RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from dockrion import StreamContext
from dockrion.agents.handler import HandlerAgent
from dockrion.agents.langchain import RunnableAgent
from dockrion.agents.langgraph import GraphAgent
from dockrion.runs.agent import Agent
from tests.conftest import Serve
from tests.support import wait_until
from tests.tracing.receiver import Collector
from tests.tracing.spans import INVOKE, parents, tracing


@pytest.fixture
def instrumented() -> Iterator[None]:
    """Have LangChain and httpx instrumented by packages that know nothing of this service."""
    instrumentors = LangChainInstrumentor(), HTTPXClientInstrumentor()
    for each in instrumentors:
        each.instrument()
    yield
    for each in instrumentors:
        each.uninstrument()


@tool
def search(url: str) -> str:
    """Search."""
    with trace.get_tracer("library").start_as_current_span("query"):
        httpx.get(url)
    return "found"


model = FakeListChatModel(responses=["two"])


class State(TypedDict, total=False):
    url: str
    found: str
    counted: Any


async def work(state: State, config: RunnableConfig) -> State:
    async with httpx.AsyncClient() as client:
        await client.head(state["url"])
    return {"found": await search.ainvoke({"url": state["url"]}, config)}


def work_in_a_thread(state: State, config: RunnableConfig) -> State:
    return {"found": search.invoke({"url": state["url"]}, config)}


def count(state: State, config: RunnableConfig) -> State:
    return {"counted": model.invoke(state["url"], config).content}


def build(node: Any = work) -> StateGraph[State]:
    builder = StateGraph(State)
    builder.add_node("work", node)
    builder.add_node("count", count)
    builder.add_edge(START, "work")
    builder.add_edge(START, "count")
    builder.add_edge(["work", "count"], END)
    return builder


class SyncSaver(InMemorySaver):
    """A checkpointer without async methods, so that the whole graph works in threads."""

    aget_tuple = BaseCheckpointSaver.aget_tuple


def graph() -> Agent:
    return GraphAgent(build().compile(), {}, threads=1)


def graph_in_threads() -> Agent:
    return GraphAgent(build(work_in_a_thread).compile(checkpointer=SyncSaver()), {}, threads=1)


def chain() -> Agent:
    runnable: Any = RunnableParallel(work=RunnableLambda(work), count=RunnableLambda(count))
    return RunnableAgent(runnable.with_config(run_name="LangGraph"), {}, threads=1)


def handler_with_a_graph() -> Agent:
    def handle(payload: dict[str, Any], context: StreamContext) -> Any:
        with context.tool("search"):
            return build(work_in_a_thread).compile().invoke(payload)  # type: ignore[call-overload]

    return HandlerAgent(handle)


def lineage(name: str, parents: dict[str, str]) -> Iterator[str]:
    """Yield the names of a span and of those that it is in."""
    while name:
        yield name
        name = parents[name]


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [("/invoke", "all"), ("/runs", "minimal"), ("/runs", "all")],
)
@pytest.mark.parametrize("make", [graph, graph_in_threads, chain, handler_with_a_graph])
@pytest.mark.usefixtures("instrumented")
async def test_tools_and_instrumentations_are_in_the_runs_span_streamed_or_not(
    collector: Collector, serve: Serve, make: Callable[[], Agent], endpoint: str, allowed: str
) -> None:
    served = await serve(observability=tracing(collector), streaming={"events": {"allowed": allowed}})
    served.service.runs.agent = make()
    async with served.client.post(endpoint, json={"url": f"{collector.url}/page"}) as response:
        assert response.status in (200, 202), await response.text()
    await wait_until(lambda: collector.named(INVOKE) and collector.named("LangGraph"))
    found = parents(collector)
    tool_span = "execute_tool search"
    assert len(collector.named(tool_span)) == 1
    assert found[tool_span] == INVOKE
    around = tool_span if make is handler_with_a_graph else INVOKE
    assert (found["query"], found["GET"]) == (around, "query")
    of_langchain = {each.name for each in collector.spans if each.scope == LangChainInstrumentor.__module__}
    assert of_langchain >= {"LangGraph", "search", "FakeListChatModel"}
    assert found["LangGraph"] == around
    if make in (graph, chain):
        assert found["HEAD"] == INVOKE
    for name in of_langchain:
        assert "LangGraph" in list(lineage(name, found))
    if make in (graph, graph_in_threads):
        assert found["step work"] == found["step count"] == INVOKE


async def test_the_thread_of_a_graph_is_its_conversation(collector: Collector, serve: Serve) -> None:
    served = await serve(observability=tracing(collector))
    config = {"configurable": {"thread_id": "mine"}}
    served.service.runs.agent = GraphAgent(build().compile(checkpointer=InMemorySaver()), config, threads=1)
    async with served.client.post("/invoke", json={"url": f"{collector.url}/page"}) as response:
        assert response.status == 200, await response.text()
    assert (await collector.span(INVOKE)).attributes["gen_ai.conversation.id"] == "mine"
