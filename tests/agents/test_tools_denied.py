"""Tools that are not allowed never run, whatever way a graph or a chain calls them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode

from dockrion import ToolDenied, get_current_context
from dockrion.agents import langchain, langgraph, tool_guard
from dockrion.errors import AgentPolicyViolation
from dockrion.runs import tool_policy
from dockrion.runs.tool_policy import ToolPolicy
from tests.agents.graphs import Model, State, calls_tool, one_node, says
from tests.agents.harness import Bench, Ended, bench
from tests.agents.test_langgraph_threads import SyncSaver
from tests.agents.tool_graphs import (
    ALLOWED,
    ASYNC_WAYS,
    FORBIDDEN,
    GIVEN,
    NEEDS_SYNC,
    OF_NO_RUN,
    ONLY_LOOKING,
    SYNC_WAYS,
    Toolbox,
    calling,
    calling_async,
    requests_of,
    wants,
)

SAID = "the tool 'erase' is not allowed by policies.tools"


@asynccontextmanager
async def serving(
    made: Any, kind: Any = langgraph, *, tools: ToolPolicy = ONLY_LOOKING, allowed: Any = None
) -> AsyncIterator[Bench]:
    """Serve what a factory made for a framework or, if that is None, a handler."""
    agent = made if kind is None else kind.create_agent(made, {}, threads=8)
    tool_guard.install()
    tools.enforce()
    async with bench(agent, tools=tools, allowed=allowed) as runs:
        yield runs
    if kind is not None:
        await agent.aclose()
    tools.close()
    assert not tool_policy._in_force


async def ran(
    made: Any, kind: Any = langgraph, payload: Any = None, *, tools: ToolPolicy = ONLY_LOOKING
) -> Ended:
    async with serving(made, kind, tools=tools) as runs:
        return await runs.run({"word": "rain"} if payload is None else payload)


def check_denied(ended: Ended, *, known: bool = True) -> None:
    """Assert that a run failed because of the denied tool, in its events and in its record."""
    assert ended.code == AgentPolicyViolation.code
    assert ended.error == f"ToolDenied: {SAID}"
    denied = {"denied_tools": [FORBIDDEN]} if known else {}
    assert ended.terminal["details"] == {"type": "ToolDenied", **denied}
    assert {name: ended.run.metadata[name] for name in denied} == denied
    assert {event.get("name") for event in ended.own} == ({FORBIDDEN} if known else set())
    assert {event["type"] for event in ended.own} == ({"custom:tool_denied"} if known else set())


@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize("way", SYNC_WAYS)
async def test_sync_node_cannot_call_a_denied_tool_in_any_way(way: str, *, with_config: bool) -> None:
    box = Toolbox()
    made = calling(SYNC_WAYS[way], box.make(FORBIDDEN), with_config=with_config)
    check_denied(await ran(made), known=way not in OF_NO_RUN)
    assert box.done == []


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("way", ASYNC_WAYS)
async def test_async_node_cannot_call_a_denied_tool_in_any_way(way: str, *, asynchronous: bool) -> None:
    box = Toolbox(asynchronous and way not in NEEDS_SYNC)
    check_denied(await ran(calling_async(ASYNC_WAYS[way], box.make(FORBIDDEN))))
    assert box.done == []


@pytest.mark.parametrize("way", SYNC_WAYS)
async def test_allowed_tool_can_be_called_in_every_way(way: str) -> None:
    box = Toolbox()
    ended = await ran(calling(SYNC_WAYS[way], box.make(ALLOWED), with_config=False))
    assert ended.run.status == "completed"
    assert "denied_tools" not in ended.run.metadata
    assert set(box.done) == {ALLOWED}


@pytest.mark.parametrize("way", ASYNC_WAYS)
async def test_allowed_tool_can_be_awaited_in_every_way(way: str) -> None:
    box = Toolbox(way not in NEEDS_SYNC)
    ended = await ran(calling_async(ASYNC_WAYS[way], box.make(ALLOWED)))
    assert ended.run.status == "completed"
    assert set(box.done) == {ALLOWED}


def tool_node(tools: list[BaseTool], *names: str, handles: Any = None, **compiled: Any) -> Any:
    """Return a graph in which a ToolNode calls tools by name."""
    node = ToolNode(tools) if handles is None else ToolNode(tools, handle_tool_errors=handles)
    made: Any = StateGraph(State)
    made.add_node("ask", lambda _state: {"messages": [wants(*names)]})
    made.add_node("tools", node)
    made.add_edge(START, "ask")
    made.add_edge("ask", "tools")
    return made.compile(**compiled)


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_tool_node_ends_the_run(*, asynchronous: bool) -> None:
    box = Toolbox(asynchronous)
    ended = await ran(tool_node(box.both, FORBIDDEN))
    assert (ended.code, ended.error) == (AgentPolicyViolation.code, f"ToolDenied: {SAID}")
    assert requests_of(ended.own) == [(FORBIDDEN, True)]
    assert box.done == []


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_only_the_allowed_ones_of_parallel_calls_run(*, asynchronous: bool) -> None:
    box = Toolbox(asynchronous)
    names = [ALLOWED, FORBIDDEN, ALLOWED, FORBIDDEN]
    ended = await ran(tool_node(box.both, *names, handles=True))
    assert box.done == [ALLOWED, ALLOWED]
    answers = [message["content"] for message in ended.output["messages"][1:]]
    assert [SAID in answer for answer in answers] == [False, True, False, True]
    assert ended.terminal["metadata"]["denied_tools"] == [FORBIDDEN]
    assert ended.run.metadata["denied_tools"] == [FORBIDDEN]
    assert requests_of(ended.own) == [(name, name == FORBIDDEN) for name in names]
    denials = [event for event in ended.own if event["type"] == "custom:tool_denied"]
    assert denials == [{"type": "custom:tool_denied", "name": FORBIDDEN}] * 2


async def test_graph_with_a_sync_checkpointer_cannot_call_a_denied_tool() -> None:
    box = Toolbox()
    ended = await ran(tool_node(box.both, FORBIDDEN, checkpointer=SyncSaver()))
    assert ended.code == AgentPolicyViolation.code
    assert ended.run.metadata["denied_tools"] == [FORBIDDEN]
    assert box.done == []


async def test_subgraph_cannot_call_a_denied_tool() -> None:
    box = Toolbox()
    inner = calling(SYNC_WAYS["invoke"], box.make(FORBIDDEN), with_config=False)
    check_denied(await ran(one_node(one_node(inner))))
    assert box.done == []


async def test_tool_cannot_call_a_denied_tool() -> None:
    box = Toolbox()
    forbidden = box.make(FORBIDDEN)

    @tool(ALLOWED)
    def cunning(at: int) -> str:
        """Let another do it."""
        return str(forbidden.invoke({"at": at}))

    ended = await ran(calling(SYNC_WAYS["invoke"], cunning, with_config=False))
    # A denial is emitted by the tool's thread, the others when the graph's stream gives them.
    assert sorted((event["type"], event["name"]) for event in ended.own) == [
        ("custom:tool_denied", FORBIDDEN),
        ("tool_call", ALLOWED),
        ("tool_result", ALLOWED),
    ]
    assert (ended.own[-1]["is_error"], ended.own[-1]["result"]) == (True, SAID)
    assert box.done == []


@pytest.mark.parametrize("kind", [langgraph, langchain])
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_denied_tool_ends_a_langchain_agent(kind: Any, *, asynchronous: bool) -> None:
    box = Toolbox(asynchronous)
    model = Model(pieces=[calls_tool(FORBIDDEN, '{"at": 1}'), says("Done.")])
    ended = await ran(create_agent(model, box.both), kind, {"messages": []})
    assert (ended.code, ended.error) == (AgentPolicyViolation.code, f"ToolDenied: {SAID}")
    assert box.done == []


@pytest.mark.parametrize("streamed", [True, False])
async def test_denied_tool_ends_a_chain(*, streamed: bool) -> None:
    box = Toolbox()
    chain: Any = RunnableLambda(lambda _: GIVEN) | box.make(FORBIDDEN)
    async with serving(chain, langchain) as runs:
        if streamed:
            check_denied(await runs.run("hi"))
        else:
            with pytest.raises(AgentPolicyViolation) as caught:
                await runs.invoke("hi")
            assert (caught.value.status, caught.value.code) == (500, "POLICY_VIOLATION")
            assert caught.value.details == {"type": "ToolDenied", "denied_tools": [FORBIDDEN]}
    assert box.done == []


async def test_denied_tool_as_the_runnable_cannot_be_called() -> None:
    box = Toolbox()
    check_denied(await ran(box.make(FORBIDDEN), langchain, GIVEN))
    assert box.done == []


async def test_chain_with_a_fallback_continues() -> None:
    box = Toolbox()
    chain = box.make(FORBIDDEN).with_fallbacks([RunnableLambda(lambda _: "kept")])
    ended = await ran(chain, langchain, GIVEN)
    assert ended.output == "kept"
    assert ended.terminal["metadata"]["denied_tools"] == [FORBIDDEN]
    async with serving(chain, langchain) as runs:
        assert await runs.invoke(GIVEN) == "kept"
    assert box.done == []


async def test_record_of_a_cancelled_run_has_the_denied_tools() -> None:
    box = Toolbox()
    forbidden = box.make(FORBIDDEN)

    async def work(_state: State) -> State:
        with pytest.raises(ToolDenied):
            await forbidden.ainvoke(GIVEN)
        await asyncio.Event().wait()
        return {}

    async with serving(one_node(work)) as runs:
        run_id = await runs.start({})
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, "enough")
        ended = await runs.ended(run_id)
    assert ended.run.status == "cancelled"
    assert ended.run.metadata["denied_tools"] == [FORBIDDEN]


async def test_concurrent_runs_record_their_own_denials() -> None:
    box = Toolbox()
    tools = {tool.name: tool for tool in box.both}

    async def work(state: State) -> State:
        try:
            await tools[state["word"]].ainvoke(GIVEN)
        except ToolDenied as denied:
            return {"seen": [denied.tool]}
        return {}

    async with serving(one_node(work)) as runs:
        ended = await asyncio.gather(*(runs.run({"word": name}) for name in (ALLOWED, FORBIDDEN) * 4))
    said = [run.run.metadata.get("denied_tools", []) for run in ended]
    assert said == [[], [FORBIDDEN]] * 4
    assert box.done == [ALLOWED] * 4


async def test_without_a_policy_every_tool_can_be_called() -> None:
    box = Toolbox()
    made = tool_node(box.both, FORBIDDEN, ALLOWED)
    assert (await ran(made, tools=ToolPolicy())).run.status == "completed"
    assert sorted(box.done) == [FORBIDDEN, ALLOWED]


async def test_tool_denied_event_is_filtered() -> None:
    async with serving(tool_node(Toolbox().both, FORBIDDEN), allowed="chat") as runs:
        assert (await runs.run({})).own == []


@pytest.mark.parametrize("way", SYNC_WAYS)
async def test_handler_cannot_call_a_denied_tool_of_langchain(way: str) -> None:
    box = Toolbox()
    forbidden = box.make(FORBIDDEN)

    def handle(_payload: Any) -> None:
        SYNC_WAYS[way](forbidden)

    check_denied(await ran(handle, None), known=way not in OF_NO_RUN)
    assert box.done == []


@pytest.mark.parametrize("way", ASYNC_WAYS.keys() - {"a task of a graph"})
async def test_async_handler_cannot_call_a_denied_tool_of_langchain(way: str) -> None:
    box = Toolbox()
    forbidden = box.make(FORBIDDEN)

    async def handle(_payload: Any) -> None:
        await ASYNC_WAYS[way](forbidden)

    check_denied(await ran(handle, None), known=way != "the loop's executor")
    assert box.done == []


async def test_handler_can_check_tools_itself() -> None:
    def handle(payload: str) -> bool:
        context = get_current_context()
        assert context is not None
        if payload == "raise":
            raise ToolDenied(FORBIDDEN)
        return context.is_tool_allowed(payload)

    async with bench(handle, tools=ONLY_LOOKING) as runs:
        assert (await runs.run(ALLOWED)).output is True
        asked = await runs.run(FORBIDDEN)
        raised = await runs.run("raise")
    assert asked.output is False
    assert "denied_tools" not in asked.run.metadata
    assert (raised.code, raised.error) == (AgentPolicyViolation.code, f"ToolDenied: {SAID}")
