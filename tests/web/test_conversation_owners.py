"""Conversations of graphs and chains belong to the caller who had them, however others name them."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt

from tests.agents.graphs import State, one_node
from tests.agents.test_langgraph_threads import SyncSaver
from tests.auth.issuers import issue_token
from tests.conftest import Serve
from tests.support import Served
from tests.web.credentials import Headers, api_keys, bearer, public_key
from tests.web.test_ownership import key


def ask(state: State, config: RunnableConfig) -> State:
    stored_as = config["configurable"]["thread_id"]
    if state["word"] == "ask":
        return {"seen": [state["word"], interrupt(stored_as)]}
    return {"seen": [state["word"]]}


def make_async() -> Any:
    return one_node(ask, checkpointer=InMemorySaver())


def make_sync() -> Any:
    return one_node(ask, checkpointer=SyncSaver())


def make_chain() -> Any:
    """Keep histories by the session's id, as LangChain's `RunnableWithMessageHistory` does."""
    histories: dict[str, list[str]] = {}

    def answer(payload: Any, config: RunnableConfig) -> list[str]:
        history = histories.setdefault(config["configurable"]["session_id"], [])
        history.append(payload["input"])
        return list(history)

    return RunnableLambda(answer)


async def graph(serve: Serve, maker: str, framework: str = "langgraph", **sections: Any) -> Served:
    agent = {"name": "tested", "entrypoint": f"{__name__}:{maker}", "framework": framework}
    arguments = {"allow_request_config": True, **sections.pop("arguments", {})}
    return await serve(agent=agent, arguments=arguments, **sections)


@pytest.fixture(params=["make_async", "make_sync"])
async def served(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Served:
    """Serve a graph to callers with keys."""
    async with api_keys() as mode:
        return await graph(serve, request.param, **mode.sections(tmp_path))


async def ended(served: Served, headers: Headers, body: Any, run_id: str | None = None) -> dict[str, Any]:
    """Start a run, and return its record when it is over."""
    params = {} if run_id is None else {"run_id": run_id}
    async with served.client.post("/runs", json=body, headers=headers, params=params) as response:
        assert response.status == 202, await response.text()
        run_id = (await response.json())["run_id"]
    async with served.client.get(f"/runs/{run_id}/events", headers=headers) as response:
        await response.read()
    async with served.client.get(f"/runs/{run_id}", headers=headers) as response:
        return dict(await response.json())


def of_thread(thread_id: Any, **fields: Any) -> dict[str, Any]:
    return {**fields, "_config": {"configurable": {"thread_id": thread_id}}}


async def seen(served: Served, headers: Headers, body: Any) -> list[str]:
    return list((await ended(served, headers, body))["output"]["seen"])


async def test_thread_continues_for_its_caller_only(served: Served) -> None:
    for word, expected in (("a", ["a"]), ("b", ["a", "b"])):
        assert await seen(served, key("owner"), of_thread("t", word=word)) == expected
    names = ["t", "owner@t", "owner", "owner%40t", "../owner@t", "@owner@t"]
    assert [await seen(served, key("other"), of_thread(name, word="c")) for name in names] == [["c"]] * len(
        names
    )
    assert await seen(served, key("owner"), of_thread("t", word="d")) == ["a", "b", "d"]


async def test_interrupted_thread_is_resumed_by_its_caller_only(served: Served) -> None:
    asked = await ended(served, key("owner"), of_thread("t", word="ask"))
    assert (asked["metadata"]["interrupted"], asked["metadata"]["thread_id"]) == (True, "t")
    stolen = await ended(served, key("other"), of_thread("t", resume="no"))
    assert "nothing to resume" in stolen["error"]["error"]
    resumed = await ended(served, key("owner"), of_thread("t", resume="yes"))
    assert resumed["output"]["seen"] == ["ask", "yes"]


async def test_thread_named_after_its_run_belongs_to_the_run_s_caller(served: Served) -> None:
    asked = await ended(served, key("owner"), {"word": "ask"}, run_id="my-run")
    assert asked["metadata"]["thread_id"] == "my-run"
    stolen = await ended(served, key("other"), of_thread("my-run", resume="no"))
    assert "nothing to resume" in stolen["error"]["error"]
    resumed = await ended(served, key("owner"), of_thread("my-run", resume="yes"))
    assert resumed["output"]["seen"] == ["ask", "yes"]


async def test_thread_of_the_dockfile_is_each_caller_s_own(serve: Serve, tmp_path: Path) -> None:
    arguments = {"config": {"configurable": {"thread_id": "fixed"}}}
    async with api_keys() as mode:
        served = await graph(serve, "make_async", arguments=arguments, **mode.sections(tmp_path))
    assert await seen(served, key("owner"), {"word": "a"}) == ["a"]
    assert await seen(served, key("other"), {"word": "b"}) == ["b"]
    assert await seen(served, key("owner"), {"word": "c"}) == ["a", "c"]


async def test_users_of_other_tenants_have_other_threads(serve: Serve, tmp_path: Path) -> None:
    async with public_key() as mode:
        sections = mode.sections(tmp_path, roles=False)
    sections["auth"]["jwt"]["claims"] = {"tenant_id": "tenant"}
    served = await graph(serve, "make_async", **sections)

    def member(user: str, tenant: str | None) -> Headers:
        return bearer(issue_token(sub=user, tenant=tenant))

    assert await seen(served, member("ann", "red"), of_thread("t", word="a")) == ["a"]
    for user, tenant, thread in (
        ("ann", "blue", "t"),
        ("ann", None, "t"),
        ("red", "ann", "t"),
        ("red@ann", None, "t"),
        ("ann", None, "red@ann@t"),
        ("red", None, "ann@t"),
    ):
        assert await seen(served, member(user, tenant), of_thread(thread, word="b")) == ["b"], (user, tenant)
    assert await seen(served, member("ann", "red"), of_thread("t", word="c")) == ["a", "c"]


async def test_history_of_a_chain_belongs_to_its_caller(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await graph(serve, "make_chain", "langchain", **mode.sections(tmp_path))

    async def messages_after(user: str, word: str) -> Any:
        body = {"input": word, "_config": {"configurable": {"session_id": "s"}}}
        return (await ended(served, key(user), body))["output"]

    assert await messages_after("owner", "a") == ["a"]
    assert await messages_after("other", "b") == ["b"]
    assert await messages_after("owner", "c") == ["a", "c"]


@pytest.mark.parametrize("auth", [None, {"mode": "none"}])
async def test_without_callers_the_graph_gets_the_thread_as_named(serve: Serve, auth: Any) -> None:
    served = await graph(serve, "make_async", auth=auth)
    for name in ("t", "owner@t", 7):
        asked = await ended(served, {}, of_thread(name, word="ask"))
        assert asked["metadata"]["thread_id"] == asked["metadata"]["interrupts"][0]["value"] == name
    asked = await ended(served, {}, of_thread(None, word="ask"), run_id="my-run")
    assert asked["metadata"]["thread_id"] == asked["metadata"]["interrupts"][0]["value"] == "my-run"
