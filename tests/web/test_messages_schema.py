"""The schema of graphs and models whose input is a conversation, and whether requests can name a thread."""

from typing import Any

import pytest

from tests.conftest import Serve

GRAPH = {"name": "tested", "entrypoint": "tests.agents.graphs:make_chat", "framework": "langgraph"}
CONFIGURABLE = {"allow_request_config": True}
OWN: dict[str, Any] = {"type": "object", "properties": {"messages": {"type": "array", "items": {}}}}


async def schema(serve: Serve, **sections: Any) -> dict[str, Any]:
    served = await serve(agent=GRAPH, **sections)
    async with served.client.get("/schema") as response:
        return dict(await response.json())


async def test_schema_has_the_messages_and_the_threads_of_a_graph(serve: Serve) -> None:
    shown = await schema(serve, arguments=CONFIGURABLE)
    assert shown["input_schema"]["properties"]["messages"]["items"]["properties"].keys() == {
        "role",
        "content",
    }
    assert shown["threads"] is True


async def test_schema_of_the_dockfile_takes_precedence_and_threads_need_a_config_of_requests(
    serve: Serve,
) -> None:
    shown = await schema(serve, io_schema={"input": OWN})
    assert shown["input_schema"] == OWN
    assert shown["threads"] is False


async def test_chat_model_takes_messages_and_whatever_else_it_takes(serve: Serve) -> None:
    model = GRAPH | {"entrypoint": "tests.agents.graphs:make_model", "framework": "langchain"}
    served = await serve(agent=model)
    async with served.client.get("/schema") as response:
        assert "messages" in (await response.json())["input_schema"]["properties"]
    for body in ({"messages": [{"role": "user", "content": "Rain?"}]}, {"input": "Rain?"}, "Rain?"):
        async with served.client.post("/invoke", json=body) as response:
            assert (await response.json())["output"]["content"] == "It rains."


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "Rain?"}],
        [{"type": "human", "content": [{"type": "text", "text": "Rain?"}]}],
        [["user", "Rain?"]],
        {"role": "user", "content": "Rain?"},
        "Rain?",
    ],
    ids=["roles", "types", "pairs", "one-message", "text"],
)
async def test_every_form_of_messages_is_accepted(serve: Serve, messages: Any) -> None:
    served = await serve(agent=GRAPH)
    async with served.client.post("/invoke", json={"messages": messages}) as response:
        assert response.status == 200, await response.text()
        assert (await response.json())["output"]["messages"][-1]["content"] == "1: Rain?"
