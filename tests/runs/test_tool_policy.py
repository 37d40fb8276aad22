"""Which tools a Dockfile allows, and what callers see when an agent tries another."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.dockfile.agent_structs import AgentSpec, IoSchemaSpec
from dockrion.dockfile.expose_structs import ExposeSpec
from dockrion.dockfile.limits_structs import PoliciesSpec, ToolsSpec
from dockrion.dockfile.structs import Dockfile
from dockrion.events import EventFilter
from dockrion.runs.session import RunSession
from dockrion.runs.tool_policy import ToolDenied, ToolPolicy
from tests.agents.tool_graphs import ALLOWED, FORBIDDEN, Toolbox, wants
from tests.conftest import Serve
from tests.support import Served, data
from tests.web.helpers import error_of

NAMES = st.lists(st.text(max_size=5))
POLICY = {"tools": {"allowed": [ALLOWED]}}
AGENT = {"name": "tested", "entrypoint": "tests.runs.test_tool_policy:make", "framework": "langgraph"}


@given(NAMES, st.text(max_size=5))
def test_tools_that_are_not_allowed_by_name_are_denied(allowed: list[str], name: str) -> None:
    tools = ToolPolicy(allowed)
    assert tools.allows(name) is (name in allowed)
    assert all(map(tools.allows, allowed))


@pytest.mark.parametrize(
    ("policies", "allowed"),
    [
        (None, None),
        (PoliciesSpec(), None),
        (PoliciesSpec(tools=ToolsSpec()), []),
        (PoliciesSpec(tools=ToolsSpec(allowed=["look"])), ["look"]),
        (PoliciesSpec(tools=ToolsSpec(allowed=["look"], deny_by_default=False)), None),
    ],
)
def test_a_dockfile_restricts_tools_unless_it_says_otherwise(
    policies: PoliciesSpec | None, allowed: list[str] | None
) -> None:
    dockfile = Dockfile("1.0", AgentSpec("a", handler="a:b"), IoSchemaSpec(), ExposeSpec(), policies=policies)
    assert dockfile.allowed_tools == allowed
    assert ToolPolicy(dockfile.allowed_tools).allows("erase") is (allowed is None)


def test_a_denial_is_a_permission_error_that_names_the_tool() -> None:
    denied = ToolDenied("erase")
    assert isinstance(denied, PermissionError)
    assert (denied.tool, str(denied)) == ("erase", "the tool 'erase' is not allowed by policies.tools")


def test_a_session_records_each_denied_tool_once_up_to_a_bound() -> None:
    session = RunSession("run", EventFilter(), None, None, ToolPolicy([]))
    for name in ["b", "a", "b"]:
        session.deny_tool(name)
    assert session.denied_tools == ["b", "a"]
    for number in range(1000):
        session.deny_tool(str(number))
    assert len(session.denied_tools) == 100


def test_a_context_without_a_policy_allows_every_tool() -> None:
    assert RunSession("run", EventFilter(), None).context.is_tool_allowed("erase")


def make() -> Any:
    from langgraph.graph import START, StateGraph  # noqa: PLC0415  imported by the service, as an agent's is
    from langgraph.prebuilt import ToolNode  # noqa: PLC0415

    from tests.agents.graphs import State  # noqa: PLC0415

    def ask(state: State) -> State:
        return {"messages": [wants(state["word"])]}

    made: Any = StateGraph(State)
    made.add_node("ask", ask)
    made.add_node("tools", ToolNode(Toolbox().both))
    made.add_edge(START, "ask")
    made.add_edge("ask", "tools")
    return made


def erase(_payload: Any) -> Any:
    return Toolbox().make(FORBIDDEN).invoke({"at": 1})


class Eraser:
    """An agent that is not a graph, and calls a tool all the same."""

    invoke = staticmethod(erase)


HANDLER = {"name": "tested", "handler": "tests.runs.test_tool_policy:erase"}
OBJECT = {"name": "tested", "entrypoint": "tests.runs.test_tool_policy:Eraser", "framework": "custom"}


@pytest.mark.parametrize("agent", [HANDLER, OBJECT])
async def test_tools_of_langchain_are_denied_to_every_kind_of_agent(serve: Serve, agent: Any) -> None:
    served = await serve(agent=agent, policies=POLICY)
    async with served.client.post("/invoke", json={}) as answer:
        error = await error_of(answer, 500, "POLICY_VIOLATION")
    assert error["details"]["denied_tools"] == [FORBIDDEN]
    run_id = await served.start()
    assert (await served.finished(run_id))["metadata"]["denied_tools"] == [FORBIDDEN]


async def outputs(served: Served, body: Any) -> list[str]:
    async with served.client.post("/invoke", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return [message["content"] for message in (await answer.json())["output"]["messages"]]


async def test_callers_see_which_tools_were_denied(serve: Serve) -> None:
    served = await serve(agent=AGENT, policies=POLICY)
    assert await outputs(served, {"word": ALLOWED}) == ["", "look 1"]
    async with served.client.post("/invoke", json={"word": FORBIDDEN}) as answer:
        error = await error_of(answer, 500, "POLICY_VIOLATION")
    assert FORBIDDEN in error["error"]
    assert error["details"]["denied_tools"] == [FORBIDDEN]
    async with served.stream({"word": FORBIDDEN}) as reader:
        events = {message.event: data(message) for message in await reader.all()}
    assert events.keys() == {"started", "step", "tool_call", "custom:tool_denied", "tool_result", "error"}
    assert events["tool_result"]["is_error"] is True
    assert events["custom:tool_denied"]["name"] == FORBIDDEN
    assert events["error"]["details"]["denied_tools"] == [FORBIDDEN]
    record = await served.record(reader.run_id)
    assert record["error"]["code"] == "POLICY_VIOLATION"
    assert record["metadata"]["denied_tools"] == [FORBIDDEN]


async def test_without_the_section_every_tool_runs(serve: Serve) -> None:
    served = await serve(agent=AGENT)
    assert await outputs(served, {"word": FORBIDDEN}) == ["", "erase 1"]
