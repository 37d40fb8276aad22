"""Spans of what LangGraph and LangChain do, streamed or not, and of what traces them by itself."""

from typing import Any, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from opentelemetry import trace

from dockrion.agents.langchain import RunnableAgent
from dockrion.agents.langgraph import GraphAgent
from dockrion.runs.agent import Agent
from tests.conftest import Serve
from tests.support import wait_until
from tests.tracing.receiver import Collector
from tests.tracing.spans import INVOKE, parents, tracing


@tool
def search(q: str) -> str:
    """Search."""
    with trace.get_tracer("library").start_as_current_span("query"):
        return q


class State(TypedDict):
    q: str


async def work(state: State, config: RunnableConfig) -> dict[str, Any]:
    return {"q": await search.ainvoke({"q": state["q"]}, config)}


class Instrumentation(BaseCallbackHandler):
    """Makes a span of each run of a chain or node, as instrumentations of LangChain do."""

    def __init__(self) -> None:
        self._spans: dict[Any, trace.Span] = {}

    def on_chain_start(self, *_: Any, run_id: Any, **more: Any) -> None:
        self._spans[run_id] = trace.get_tracer("instrumentation").start_span(f"chain {more['name']}")

    def on_chain_end(self, *_: Any, run_id: Any, **__: Any) -> None:
        self._spans.pop(run_id).end()


def build() -> StateGraph[State]:
    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_edge(START, "work")
    builder.add_edge("work", END)
    return builder


def graph() -> Agent:
    builder = build()
    return GraphAgent(builder.compile().with_config(callbacks=[Instrumentation()]), {}, threads=1)


def chain() -> Agent:
    runnable = RunnableLambda(work).with_config(run_name="work", callbacks=[Instrumentation()])
    return RunnableAgent(runnable, {}, threads=1)


@pytest.mark.parametrize("allowed", ["minimal", "all"])
@pytest.mark.parametrize("endpoint", ["/invoke", "/runs"])
@pytest.mark.parametrize("make", [graph, chain])
async def test_tools_are_spans_whether_or_not_they_are_streamed(
    collector: Collector, serve: Serve, make: Any, endpoint: str, allowed: str
) -> None:
    served = await serve(observability=tracing(collector), streaming={"events": {"allowed": allowed}})
    served.service.runs.agent = make()
    async with served.client.post(endpoint, json={"q": "a"}) as response:
        assert response.status in (200, 202), await response.text()
    await wait_until(lambda: collector.named(INVOKE) and collector.named("chain work"))
    found = parents(collector)
    assert found["execute_tool search"] == found["query"] == found["chain work"] == INVOKE
    if make is graph:
        assert found["step work"] == INVOKE
    assert len(collector.named("execute_tool search")) == 1


async def test_the_thread_of_a_graph_is_its_conversation(collector: Collector, serve: Serve) -> None:
    served = await serve(observability=tracing(collector))
    config = {"configurable": {"thread_id": "mine"}}
    served.service.runs.agent = GraphAgent(build().compile(checkpointer=InMemorySaver()), config, threads=1)
    async with served.client.post("/invoke", json={"q": "a"}) as response:
        assert response.status == 200, await response.text()
    assert (await collector.span(INVOKE)).attributes["gen_ai.conversation.id"] == "mine"
