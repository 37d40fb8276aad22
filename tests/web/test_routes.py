"""Which endpoints a Dockfile exposes."""

import re
from itertools import product
from typing import Any

import pytest

from dockrion.web import routes as table
from tests.conftest import Serve
from tests.support import Served
from tests.web.helpers import error_of

OPEN = ["GET /", "GET /assets/{file}", "GET /assets/{folder}/{file}", "GET /health", "GET /ready"]
REST = [*OPEN, "GET /metrics", "GET /schema", "GET /info", "POST /invoke"]
DOCS = ["GET /openapi.json", "GET /asyncapi.json", "GET /docs", "GET /docs/{file}"]
RUNS = ["POST /runs", "GET /runs", "GET /runs/{id}", "DELETE /runs/{id}", "POST /runs/{id}/input"]
STREAM = ["POST /invoke/stream"]
EVENTS = ["GET /runs/{id}/events"]
SOCKET = ["GET /invoke/ws"]
WATCH = ["GET /runs/{id}/ws"]
COMBINATIONS = [
    (rest, streaming, async_runs)
    for rest, streaming, async_runs in product((True, False), ("sse", "websocket", "none"), (True, False))
    if rest or streaming != "none"
]


def expected(rest: bool, streaming: str, async_runs: bool) -> list[str]:
    return [
        *([*REST, *DOCS] if rest else []),
        *(STREAM if streaming != "none" else []),
        *(SOCKET if streaming == "websocket" else []),
        *(RUNS if async_runs else []),
        *(EVENTS if async_runs and streaming != "none" else []),
        *(WATCH if async_runs and streaming == "websocket" else []),
    ]


def sections(rest: bool, streaming: str, async_runs: bool) -> dict[str, Any]:
    return {"expose": {"rest": rest, "streaming": streaming}, "streaming": {"async_runs": async_runs}}


def routes(served: Served) -> list[str]:
    app = served.client.app
    assert app is not None
    return sorted(
        f"{route.method} {route.resource.canonical.replace('{run_id}', '{id}')}"
        for route in app.router.routes()
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
    )


@pytest.mark.parametrize(("rest", "streaming", "async_runs"), COMBINATIONS)
async def test_router_has_the_endpoints_of_the_contract(
    serve: Serve, rest: bool, streaming: str, async_runs: bool
) -> None:
    served = await serve(**sections(rest, streaming, async_runs))
    assert routes(served) == sorted(expected(rest, streaming, async_runs))


@pytest.mark.parametrize(("rest", "streaming", "async_runs"), COMBINATIONS)
async def test_table_equals_the_router(serve: Serve, rest: bool, streaming: str, async_runs: bool) -> None:
    served = await serve(**sections(rest, streaming, async_runs))
    listed = [
        f"{route.method} {route.path}".replace("{run_id}", "{id}")
        for route in table.routes(served.service.dockfile)
    ]
    assert sorted(listed) == routes(served)


@pytest.mark.parametrize(("rest", "streaming", "async_runs"), COMBINATIONS)
async def test_unknown_endpoints_are_json_errors(
    serve: Serve, rest: bool, streaming: str, async_runs: bool
) -> None:
    served = await serve(**sections(rest, streaming, async_runs))
    for endpoint in set(expected(True, "websocket", True)) - set(expected(rest, streaming, async_runs)):
        method, path = re.sub(r"{\w+}", "some", endpoint).split()
        async with served.client.request(method, path, json={} if method == "POST" else None) as answer:
            await error_of(answer, 404, "NOT_FOUND")


async def test_stream_without_async_runs_has_no_location(serve: Serve) -> None:
    served = await serve(streaming={"async_runs": False})
    async with served.stream() as reader:
        messages = await reader.all()
    assert [message.event for message in messages] == ["started", "complete"]
    assert not {"X-Run-Id", "X-Run-Incarnation"} & set(reader.response.headers)
    assert "Location" not in reader.response.headers


@pytest.mark.parametrize(
    "path", ["/", "/health", "/ready", "/metrics", "/schema", "/info", "/runs", "/runs/r"]
)
async def test_head_responds_like_get_without_a_body(serve: Serve, path: str) -> None:
    served = await serve()
    await served.start(run_id="r")
    await served.finished("r")
    async with served.client.get(path) as got:
        content_type = got.headers["Content-Type"]
    async with served.client.head(path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == content_type
        assert int(answer.headers["Content-Length"]) > 0
        assert await answer.read() == b""


@pytest.mark.parametrize("path", ["/runs/some/events", "/runs/some/ws", "/invoke/ws"])
async def test_head_of_a_stream_is_not_allowed(serve: Serve, path: str) -> None:
    served = await serve(expose={"streaming": "websocket"})
    async with served.client.head(path) as answer:
        assert answer.status == 405
        assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/invoke", {"POST"}),
        ("GET", "/invoke/stream", {"POST"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("PUT", "/runs", {"GET", "HEAD", "POST"}),
        ("POST", "/runs/some", {"GET", "HEAD", "DELETE"}),
        ("DELETE", "/runs/some/events", {"GET"}),
        ("PROPFIND", "/health", {"GET", "HEAD"}),
    ],
)
async def test_wrong_method_gets_the_allowed_ones(
    serve: Serve, method: str, path: str, allowed: set[str]
) -> None:
    served = await serve()
    async with served.client.request(method, path) as answer:
        await error_of(answer, 405, "METHOD_NOT_ALLOWED")
        assert set(answer.headers["Allow"].split(", ")) - {"OPTIONS"} == allowed


@pytest.mark.parametrize("path", ["/nowhere", "/runs//", "/runs/a/b", "/invoke/x", "/health/x"])
async def test_unknown_path_is_not_found(serve: Serve, path: str) -> None:
    served = await serve()
    async with served.client.get(path) as answer:
        await error_of(answer, 404, "NOT_FOUND")
