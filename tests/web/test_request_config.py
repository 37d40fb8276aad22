"""`_config` in the body: settings for one run."""

from typing import Any

import pytest

from dockrion.runs.agent import Agent, Call, InProcess
from dockrion.runs.session import RunSession
from tests.conftest import Serve
from tests.support import Served
from tests.web.helpers import error_of

THREAD = {"configurable": {"thread_id": "t"}}


class Echo(InProcess):
    """Returns the call it got."""

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:  # noqa: ARG002
        resumed = {} if not isinstance(call.resume, str) else {"resume": call.resume}
        return {"payload": call.payload, "config": call.config, **resumed}


async def served_graph(serve: Serve, *, allowed: bool = True, **sections: Any) -> Served:
    agent = {"name": "tested", "entrypoint": "tests.web.test_request_config:make", "framework": "langgraph"}
    served = await serve(agent=agent, arguments={"allow_request_config": allowed}, **sections)
    loaded = served.service.runs.agent
    assert loaded is not None
    await loaded.aclose()
    echo: Agent = Echo()
    served.service.runs.agent = echo
    return served


def make() -> Any:
    from tests.agents.graphs import one_node  # noqa: PLC0415  imported by the service, as an agent's module is

    return one_node(lambda _state: {})


async def invoked(served: Served, body: Any) -> Any:
    async with served.client.post("/invoke", json=body) as response:
        assert response.status == 200, await response.text()
        return (await response.json())["output"]


async def test_config_reaches_the_agent_and_is_removed_from_the_payload(serve: Serve) -> None:
    schema = {"input": {"properties": {"word": {"type": "string"}}, "additionalProperties": False}}
    served = await served_graph(serve, io_schema=schema)
    output = await invoked(served, {"word": "rain", "_config": THREAD})
    assert output == {"payload": {"word": "rain"}, "config": THREAD}
    run_id = await served.start({"word": "rain", "_config": {"recursion_limit": 3}})
    assert (await served.finished(run_id))["output"]["config"] == {"recursion_limit": 3}
    assert (await invoked(served, {"word": "rain"}))["config"] is None


async def test_resume_is_not_a_payload(serve: Serve) -> None:
    schema = {"input": {"required": ["word"], "properties": {"word": {}}}}
    served = await served_graph(serve, io_schema=schema)
    assert (await invoked(served, {"resume": "yes", "_config": THREAD}))["resume"] == "yes"
    async with served.client.post("/invoke", json={"resume": "yes"}) as response:
        await error_of(response, 400, "VALIDATION_ERROR")


async def test_input_property_called_resume_is_a_payload(serve: Serve) -> None:
    served = await served_graph(serve, io_schema={"input": {"properties": {"resume": {"type": "string"}}}})
    output = await invoked(served, {"resume": "mine", "_config": THREAD})
    assert output == {"payload": {"resume": "mine"}, "config": THREAD}


@pytest.mark.parametrize(
    ("config", "where"),
    [
        (1, "object"),
        (None, "object"),
        ({"recursion_limit": -1}, "recursion_limit"),
        ({"callbacks": []}, "callbacks"),
        ({"configurable": {"stream_context": 1}}, "stream_context"),
        ({"configurable": {"__pregel_read": 1}}, "__pregel_read"),
    ],
)
async def test_malformed_config_is_refused(serve: Serve, config: Any, where: str) -> None:
    served = await served_graph(serve)
    async with served.client.post("/invoke", json={"_config": config}) as response:
        assert where in (await error_of(response, 400, "VALIDATION_ERROR"))["error"]


async def test_config_is_refused_where_not_allowed(serve: Serve) -> None:
    served = await served_graph(serve, allowed=False)
    async with served.client.post("/runs", json={"_config": THREAD}) as response:
        assert "allow_request_config" in (await error_of(response, 400, "VALIDATION_ERROR"))["error"]


async def test_other_agents_get_config_as_an_ordinary_field(serve: Serve) -> None:
    served = await serve(lambda payload: payload)
    assert await invoked(served, {"_config": 1}) == {"_config": 1}
