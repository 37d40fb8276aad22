"""Contexts of A2A: what an agent remembers of the tasks before."""

from pathlib import Path
from typing import Any

from tests.conftest import Serve
from tests.support import Served
from tests.web import test_conversation_owners as conversations
from tests.web.credentials import Headers, api_keys
from tests.web.protocols.a2a_client import A2A, call, message, posted


async def said(served: Served, data: dict[str, Any], headers: Headers | None = None, **ids: str) -> Any:
    """Return the task that a message begins, with the agent's output."""
    body = call("SendMessage", message({"data": data}, **ids))
    task = (await posted(served, body, headers=headers))["result"]["task"]
    *_, artifact = task["artifacts"]
    return task, artifact["parts"][0]["data"]


async def test_context_is_the_thread_of_a_graph(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await conversations.graph(serve, "make_async", expose=A2A, **mode.sections(tmp_path))
    mine, others = mode.key("owner"), mode.key("other")
    first, _ = await said(served, {"word": "a"}, mine)
    context = first["contextId"]
    assert context != first["id"]
    _, output = await said(served, {"word": "b"}, mine, contextId=context)
    assert output["seen"] == ["a", "b"]
    for headers, ids in ((others, {"contextId": context}), (mine, {"contextId": "another"}), (mine, {})):
        _, output = await said(served, {"word": "c"}, headers, **ids)
        assert output["seen"] == ["c"]


async def test_context_is_the_session_of_a_chain(serve: Serve) -> None:
    served = await conversations.graph(serve, "make_chain", "langchain", expose=A2A)
    for expected in (["x"], ["x", "x"]):
        _, output = await said(served, {"input": "x"}, contextId="trip")
        assert output == expected
