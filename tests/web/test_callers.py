"""The caller's identity as agents get it: in the context, and in headers to a sidecar."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from aiohttp import web
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, StateGraph

from dockrion import StreamContext, get_current_context
from dockrion.agents.handler import HandlerAgent
from dockrion.agents.langchain import create_agent as runnable_agent
from dockrion.agents.langgraph import create_agent as graph_agent
from dockrion.runs.agent import Agent
from tests.agents.graphs import State
from tests.auth.issuers import issue_token, issuer
from tests.conftest import Serve
from tests.support import Reader, Served, data
from tests.web.credentials import Headers, api_keys, bearer, public_key
from tests.web.test_ownership import key
from tests.web.test_sidecar import process

CLAIMS: dict[str, Any] = {
    "sub": "ann",
    "email": "ann@example.org",
    "name": "Änn Ünlaut",
    "roles": ["editor", "reader"],
    "permissions": ["invoke"],
    "scope": "read write",
    "tenant": "red",
}
KNOWN_AS = {
    "user_id": "ann",
    "email": "ann@example.org",
    "name": "Änn Ünlaut",
    "roles": ["editor", "reader"],
    "permissions": ["deploy", "invoke", "key_manage", "read_docs", "rollback", "view_metrics"],
    "scopes": ["read", "write"],
    "tenant_id": "red",
}
FORWARDED = {
    "X-Dockrion-User-Id": "user_id",
    "X-Dockrion-User-Name": "name",
    "X-Dockrion-User-Email": "email",
    "X-Dockrion-Tenant-Id": "tenant_id",
}
LISTS = {
    "X-Dockrion-Roles": "roles",
    "X-Dockrion-Permissions": "permissions",
    "X-Dockrion-Scopes": "scopes",
}


def seen() -> dict[str, Any] | None:
    """Return the caller as agent code sees it."""
    context = get_current_context()
    assert context is not None
    return as_json(context)


def as_json(context: StreamContext) -> dict[str, Any] | None:
    if context.caller is None:
        return None
    received = {name: getattr(context.caller, name) for name in KNOWN_AS}
    return dict(msgspec.to_builtins(received | {"permissions": sorted(context.caller.permissions)}))


def sync_handler(_payload: Any, context: StreamContext) -> Any:
    return {"caller": as_json(context)}


async def handler(_payload: Any) -> Any:
    return {"caller": seen()}


def generator(_payload: Any, context: StreamContext) -> Iterator[Any]:
    yield "before"
    yield {"caller": as_json(context)}


async def async_generator(_payload: Any) -> AsyncIterator[Any]:
    yield "before"
    yield {"caller": seen()}


def _node(_state: Any) -> Any:
    return {"seen": [msgspec.json.encode(seen()).decode()]}


def _graph() -> Agent:
    made: Any = StateGraph(State)
    made.add_node("work", _node)
    made.add_edge(START, "work")
    return graph_agent(made.compile(), {}, threads=2)


def _chain() -> Agent:
    chain: Any = RunnableLambda(lambda _payload: {"caller": seen()})
    return runnable_agent(chain, {}, threads=2)


AGENTS: dict[str, Any] = {
    "sync handler": lambda: HandlerAgent(sync_handler),
    "handler": lambda: HandlerAgent(handler),
    "generator": lambda: HandlerAgent(generator),
    "async generator": lambda: HandlerAgent(async_generator),
    "graph": _graph,
    "chain": _chain,
}


def caller_in(output: dict[str, Any]) -> Any:
    return msgspec.json.decode(output["seen"][0]) if "seen" in output else output["caller"]


async def outputs(served: Served, headers: Headers) -> list[Any]:
    """Return the agent's output over each endpoint."""
    async with served.client.post("/invoke", json={}, headers=headers) as response:
        assert response.status == 200, await response.text()
        invoked = (await response.json())["output"]
    async with served.client.post("/invoke/stream", json={}, headers=headers) as response:
        streamed = data((await Reader(response).all())[-1])["output"]
    async with served.client.post("/runs", json={}, headers=headers) as response:
        path = (await response.json())["events_url"]
    async with served.client.get(path, headers=headers) as response:
        watched = data((await Reader(response).all())[-1])["output"]
    return [invoked, streamed, watched]


async def asking(serve: Serve, folder: Path, **sections: Any) -> Served:
    """Serve callers with a token that has a tenant claim."""
    async with public_key() as mode:
        auth = mode.sections(folder, roles=False)
    auth["auth"]["jwt"]["claims"] = {"tenant_id": "tenant"}
    return await serve(**sections, **auth)


@pytest.mark.parametrize("kind", AGENTS)
async def test_context_has_the_caller(serve: Serve, tmp_path: Path, kind: str) -> None:
    served = await asking(serve, tmp_path)
    served.service.runs.agent = AGENTS[kind]()
    received = [caller_in(each) for each in await outputs(served, bearer(issue_token(**CLAIMS)))]
    assert received == [KNOWN_AS] * 3
    other = [caller_in(each) for each in await outputs(served, bearer(issue_token(sub="bob")))]
    nobody_more = dict.fromkeys(KNOWN_AS) | {"roles": [], "scopes": []}
    assert other == [nobody_more | {"user_id": "bob", "permissions": KNOWN_AS["permissions"]}] * 3


async def test_api_key_caller_has_its_name_and_role(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        served = await serve(sync_handler, **mode.sections(tmp_path))
    (received, *_) = [caller_in(each) for each in await outputs(served, key("worker"))]
    known = dict.fromkeys(KNOWN_AS) | {"user_id": "worker", "name": "worker", "roles": ["worker"]}
    assert received == known | {"permissions": ["invoke"], "scopes": []}


async def test_open_service_has_no_caller(serve: Serve) -> None:
    served = await serve(sync_handler)
    headers = {"X-Dockrion-User-Id": "ann", "Authorization": "Bearer any"}
    assert [caller_in(each) for each in await outputs(served, headers)] == [None] * 3


async def heard(request: web.Request) -> web.Response:
    """Return every request header."""
    return web.json_response([[name, value] for name, value in request.headers.items()])


async def forwarded(
    serve: Serve, folder: Path, headers: Headers, **agent: Any
) -> list[list[tuple[str, str]]]:
    """Return the identity headers that the sidecar gets, for each endpoint."""
    async with process(heard) as url:
        served = await asking(serve, folder, agent={"name": "tested", "url": url, **agent})
        whole = await outputs(served, headers)
        named = {*FORWARDED, *LISTS}
        return [
            sorted((name, value) for name, value in each if name.title() in {n.title() for n in named})
            for each in whole
            if not (credentials_in(each))
        ]


def credentials_in(headers: Any) -> list[Any]:
    return [each for each in headers if each[0].lower() in ("authorization", "x-api-key", "cookie")]


async def test_sidecar_gets_the_caller_but_not_its_token(serve: Serve, tmp_path: Path) -> None:
    sent = bearer(issue_token(**CLAIMS))
    received = await forwarded(serve, tmp_path, sent, forward_identity=True)
    assert len(received) == 3
    for headers in received:
        known = dict(headers)
        assert len(known) == len(headers)
        assert known.pop("X-Dockrion-User-Name") == "%C3%84nn %C3%9Cnlaut"
        assert {name: known[name] for name in LISTS} == {
            name: ",".join(KNOWN_AS[field]) for name, field in LISTS.items()
        }
        assert {name: known.get(name) for name in FORWARDED if name != "X-Dockrion-User-Name"} == {
            name: KNOWN_AS[field] for name, field in FORWARDED.items() if field != "name"
        }


@pytest.mark.parametrize("agent", [{}, {"forward_identity": False}])
async def test_sidecar_gets_no_unrequested_claims(
    serve: Serve, tmp_path: Path, agent: dict[str, Any]
) -> None:
    received = await forwarded(serve, tmp_path, bearer(issue_token(**CLAIMS)), **agent)
    assert received == [[], [], []]


async def test_callers_cannot_set_identity_headers(serve: Serve, tmp_path: Path) -> None:
    made_up = dict.fromkeys([*FORWARDED, *LISTS], "somebody else")
    sent = bearer(issue_token(sub="ann")) | made_up
    received = await forwarded(serve, tmp_path, sent, forward_identity=True)
    assert len(received) == 3
    assert "somebody else" not in str(received)
    for agent in ({}, {"forward_identity": True}):
        async with process(heard) as url:
            served = await serve(agent={"name": "tested", "url": url, **agent})
            assert "somebody else" not in str(await outputs(served, made_up))


HOSTILE = [
    "a,b",
    "a%2Cb",
    "a b",
    "ä€🙂",
    "\u2028",
    "\u200b",
    "'\"`$(id)",
    "../..",
    "x" * 1000,
    "=;:<>",
    "é",
    "é",
]


@pytest.mark.parametrize("lists", [True, False])
async def test_hostile_claims_cannot_leave_their_headers(
    serve: Serve, tmp_path: Path, *, lists: bool
) -> None:
    for text in HOSTILE[:-1] if lists else HOSTILE:
        claims: dict[str, Any] = {"sub": text, "name": text, "email": text, "tenant": text}
        if lists:
            claims = {"sub": "ann", "roles": [text, "last"], "scope": ["first", text]}
        received = await forwarded(serve, tmp_path, bearer(issue_token(**claims)), forward_identity=True)
        assert len(received) == 3, text
        known = dict(received[0])
        if lists:
            assert [unquote(each) for each in known["X-Dockrion-Roles"].split(",")] == [text, "last"]
            assert [unquote(each) for each in known["X-Dockrion-Scopes"].split(",")] == ["first", text]
        else:
            assert {unquote(known[name]) for name in FORWARDED} == {text}
        assert all(value.isascii() and value.isprintable() for value in known.values())


@pytest.mark.parametrize(
    "text", ["a\r\nX-Dockrion-User-Id: admin", "a\nb", "a\0b", "a\x7fb", "a\x85b", "\ud800", ""]
)
async def test_claims_with_line_breaks_are_refused(serve: Serve, tmp_path: Path, text: str) -> None:
    async with process(heard) as url:
        served = await asking(serve, tmp_path, agent={"name": "tested", "url": url, "forward_identity": True})
        async with served.client.post("/invoke", json={}, headers=bearer(issue_token(sub=text))) as response:
            assert response.status == 401
        claims: dict[str, Any] = {
            "sub": "ann",
            "name": text,
            "email": text,
            "roles": [text, "sound"],
            "scope": [text],
        }
        received = dict((await outputs(served, bearer(issue_token(**claims))))[0])
    assert received["X-Dockrion-User-Id"] == "ann"
    assert received["X-Dockrion-Roles"] == "sound"
    assert received["X-Dockrion-Scopes"] == ""
    assert "X-Dockrion-User-Name" not in received
    assert "admin" not in str(received)


async def test_headers_that_a_sidecar_refuses_fail_that_run_only(serve: Serve) -> None:
    async with issuer() as explains, process(heard) as url:
        auth = {"mode": "oauth2", "oauth2": {"introspection_url": explains.introspection_url}}
        served = await serve(agent={"name": "tested", "url": url, "forward_identity": True}, auth=auth)
        long = explains.activate("long", roles=[f"{number:03}-{'ä' * 100}" for number in range(50)])
        async with served.client.post("/invoke", json={}, headers=bearer(long)) as response:
            assert response.status in (500, 502)
            assert (await response.json())["code"].startswith("AGENT_")
        short = explains.activate("short")
        assert len(await outputs(served, bearer(short))) == 3
