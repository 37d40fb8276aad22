"""Services below a prefix: the paths that they accept, and the URLs that they give."""

import logging
from typing import Any
from urllib.parse import urljoin

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dockrion.client import Client, Complete
from dockrion.errors import StartError
from dockrion.web.docs import DESCRIPTION
from dockrion.web.root_path import check_root_path
from dockrion.web.routes import routes
from dockrion.web.start_checks import check_start
from tests.conftest import Serve
from tests.prefix_proxy import PREFIX, prefix_proxy
from tests.support import Reader, Served, dockfile
from tests.web.helpers import Waits, error_of
from tests.web.test_request_log import requests
from tests.web.test_trailing_slash import EVERY_ROUTE, status_and_type

BELOW: dict[str, Any] = {"expose": {"root_path": PREFIX}}
TRUSTED: dict[str, Any] = {"expose": {"trusted_proxies": ["127.0.0.1"]}}


async def test_every_route_is_there_with_the_root_path_and_without(serve: Serve) -> None:
    served = await serve(**EVERY_ROUTE | {"expose": {"streaming": "websocket", "root_path": PREFIX}})
    await served.finished(run_id := await served.start())
    for route in routes(served.service.dockfile):
        file = "page.js" if "docs" in route.path else "form.js" if "folder" in route.path else "app.js"
        names = {"request_id": "q", "push_token": "t", "folder": "request", "file": file}
        path = route.path.format(run_id=run_id, **names)
        expected = await status_and_type(served, route.method, path)
        assert await status_and_type(served, route.method, PREFIX + path) == expected, path
        assert expected[0] != 404
        if route.method == "GET":
            assert await status_and_type(served, "HEAD", PREFIX + path) == (
                await status_and_type(served, "HEAD", path)
            )
    assert await status_and_type(served, "GET", PREFIX) == (200, "text/html")
    async with served.client.ws_connect(f"{PREFIX}/invoke/ws") as socket:
        await socket.send_json({})
        assert (await socket.receive_json())["type"] == "started"


@pytest.mark.parametrize(
    "path",
    [
        f"{PREFIX}s/health",
        f"{PREFIX}{PREFIX}/health",
        f"{PREFIX}//health",
        f"{PREFIX}/agents",
        "/agents/health",
        PREFIX * 500,
    ],
    ids=lambda path: path[:40],
)
async def test_other_paths_are_not_there(serve: Serve, path: str) -> None:
    served = await serve(**BELOW)
    async with served.client.get(path) as response:
        await error_of(response, 404, "NOT_FOUND")


async def test_a_root_path_that_a_route_begins_like_hides_no_route(serve: Serve) -> None:
    served = await serve(expose={"root_path": "/run", "protocols": ["openai"]})
    for path in ("/runs", "/run/runs"):
        assert await status_and_type(served, "GET", path) == (200, "application/json")
    assert await status_and_type(served, "GET", "/runs/run") == (404, "application/json")
    assert await status_and_type(served, "GET", "/runruns") == (404, "application/json")


@pytest.mark.parametrize("root", ["/runs", "/docs", "/health", "/runs/x", "/assets", "/v1/responses/resp_a"])
async def test_root_path_that_gives_a_path_two_meanings_refuses_the_start(serve: Serve, root: str) -> None:
    sections = {"expose": {"root_path": root, "protocols": ["openai"]}}
    with pytest.raises(StartError, match="below /"):
        await serve(**sections)


async def test_validate_says_so_too(tmp_path: Any) -> None:
    findings = await check_start(dockfile(tmp_path, {"expose": {"root_path": "/runs"}}))
    assert [error for error in findings.errors if "expose.root_path: below /runs" in error]


def test_root_paths_beside_routes_are_clear() -> None:
    for root in ("/v1", "/api", "/run", "/agents/runs", "/runs/a/b/c"):
        check_root_path(root, ["/", "/runs", "/runs/{run_id}", "/api/chat", "/v1/models"])


async def urls_of(served: Served, base: str, **headers: str) -> list[str]:
    """Start runs and return the URLs in the responses."""
    urls = []
    async with served.client.post(f"{base}/runs?run_id=mine", json={}, headers=headers) as response:
        urls += [response.headers["Location"], (await response.json())["events_url"]]
    async with served.client.post(f"{base}/runs?run_id=mine", json=1, headers=headers) as response:
        urls.append((await error_of(response, 409, "CONFLICT"))["details"]["events_url"])
    for path, body in (
        ("/invoke/stream", {}),
        (
            "/ag-ui",
            {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "x"}]},
        ),
        ("/api/chat", {"messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}]}),
        ("/v1/chat/completions", {"model": "tested", "messages": [{"role": "user", "content": "x"}]}),
    ):
        async with served.client.post(base + path, json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            urls.append(response.headers["Location"])
    return urls


PROTOCOLS = ["openai", "ag-ui", "vercel-ai", "a2a", "mcp"]


@pytest.mark.parametrize("base", ["", PREFIX], ids=["stripped", "passed on"])
async def test_urls_in_responses_begin_with_the_root_path(serve: Serve, base: str) -> None:
    served = await serve(expose={"root_path": PREFIX, "protocols": PROTOCOLS})
    urls = await urls_of(served, base)
    assert {url[: len(PREFIX) + 1] for url in urls} == {f"{PREFIX}/"}
    for url in urls:
        async with served.client.get(url) as response:
            assert response.status == 200
    async with served.client.delete(f"{base}/v1/responses/resp_mine") as response:
        assert f"POST {PREFIX}/v1/responses/resp_mine/cancel" in (await response.json())["error"]["message"]
    async with served.client.post(f"{base}/runs/", json={}, allow_redirects=False) as response:
        assert urljoin(f"{PREFIX}/runs/", response.headers["Location"]) == f"{PREFIX}/runs"


@pytest.mark.parametrize("root", ["", "/elsewhere"])
async def test_prefix_of_a_trusted_proxy_wins_over_the_root_path(serve: Serve, root: str) -> None:
    expose = TRUSTED["expose"] | {"root_path": root, "protocols": PROTOCOLS}
    urls = await urls_of(await serve(expose=expose), "", **{"X-Forwarded-Prefix": f"{PREFIX}/"})
    assert {url[: len(PREFIX) + 1] for url in urls} == {f"{PREFIX}/"}


@pytest.mark.parametrize("trusted", [None, [], ["10.0.0.1"]])
async def test_prefix_of_anybody_else_counts_for_nothing(serve: Serve, trusted: list[str] | None) -> None:
    served = await serve(expose={"trusted_proxies": trusted, "protocols": PROTOCOLS})
    urls = await urls_of(served, "", **{"X-Forwarded-Prefix": "/evil"})
    assert {url.split("/")[1] for url in urls} == {"runs", "ag-ui"}
    async with served.client.get("/") as response:
        assert ("X-Forwarded-Prefix" in response.headers.getall("Vary")) is bool(trusted)


async def test_descriptions_name_the_prefix(serve: Serve) -> None:
    served = await serve(**BELOW | {"expose": BELOW["expose"] | TRUSTED["expose"]})
    for headers, prefix in (
        ({}, PREFIX),
        ({"X-Forwarded-Prefix": "/b"}, "/b"),
        ({"X-Forwarded-Prefix": "/"}, ""),
    ):
        async with served.client.get("/openapi.json", headers=headers) as response:
            assert (await response.json()).get("servers", [{"url": ""}]) == [{"url": prefix}]
        async with served.client.get("/asyncapi.json", headers=headers) as response:
            address = (await response.json())["channels"]["runEvents"]["address"]
            assert address == f"{prefix}/runs/{{run_id}}/events"
        async with served.client.get("/", headers=headers) as response:
            assert "X-Forwarded-Prefix" in response.headers.getall("Vary")
            assert (f'<base href="{prefix}/">' in await response.text()) is bool(prefix)
            base_uri = "'self'" if prefix else "'none'"
            assert f"base-uri {base_uri}" in response.headers["Content-Security-Policy"]


async def test_descriptions_of_many_prefixes_are_not_all_kept(serve: Serve) -> None:
    served = await serve(**TRUSTED)
    for number in range(20):
        headers = {"X-Forwarded-Prefix": f"/p{number}"}
        async with served.client.get("/openapi.json", headers=headers) as response:
            assert (await response.json())["servers"] == [{"url": f"/p{number}"}]
    assert (app := served.client.app) is not None
    assert len(app[DESCRIPTION]._made) < 10


async def test_log_has_the_path_and_metrics_the_route(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    root = "/events/writer"
    served = await serve(expose={"root_path": root}, streaming={"ingest": {"enabled": True}})
    for path in (f"{root}/runs/a/events/secret", f"{root}/nothing/input/secret", f"{root}/runs"):
        async with served.client.get(path):
            pass
    assert [line["path"] for line in requests(caplog)] == [
        f"{root}/runs/a/events/…",
        f"{root}/nothing/input/…",
        f"{root}/runs",
    ]
    async with served.client.get(f"{root}/metrics") as response:
        families = text_string_to_metric_families(await response.text())
        labels = [sample.labels for each in families for sample in each.samples]
    assert {each["endpoint"] for each in labels if "endpoint" in each} == {"(none)", "/runs"}


async def test_probes_below_the_root_path_are_not_limited(serve: Serve) -> None:
    served = await serve(Waits(), **BELOW, limits={"max_connections_per_caller": 1})
    async with served.client.post(f"{PREFIX}/invoke/stream", json={}) as stream:
        assert stream.status == 200
        for path, status in (("/health", 200), ("/ready/", 200), ("/runs", 429), ("/runs/health", 429)):
            async with served.client.get(PREFIX + path) as response:
                assert response.status == status


async def test_refusals_below_the_root_path_are_as_without(serve: Serve) -> None:
    served = await serve(
        expose={"root_path": PREFIX, "protocols": ["openai"], "cors": {"origins": ["https://a"]}}
    )
    async with served.client.put(f"{PREFIX}/runs") as response:
        await error_of(response, 405, "METHOD_NOT_ALLOWED")
        assert response.headers["Allow"] == "GET,HEAD,OPTIONS,POST".replace(",", ", ")
    for path in ("/v1/nothing", "/v1/responses/resp_none"):
        async with served.client.get(PREFIX + path) as response:
            assert (response.status, "message" in (await response.json())["error"]) == (404, True)
    preflight = {"Origin": "https://a", "Access-Control-Request-Method": "POST"}
    async with served.client.options(f"{PREFIX}/runs", headers=preflight) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "https://a"
    async with served.client.post(f"{PREFIX}/runs", json={}, headers={"Origin": "https://b"}) as response:
        await error_of(response, 403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("strips", "says", "sections"),
    [(True, True, TRUSTED), (True, False, BELOW), (False, False, BELOW), (True, False, {})],
    ids=["says", "strips", "passes on", "unknown"],
)
async def test_client_works_behind_proxies(
    serve: Serve, *, strips: bool, says: bool, sections: dict[str, Any]
) -> None:
    served = await serve(**sections)
    async with (
        prefix_proxy(served.port, strips=strips, says=says) as url,
        Client(f"{url}/", retry_timeout=0) as client,
    ):
        assert (await client.invoke({"a": 1})).output == {"a": 1}
        accepted = await client.start({"b": 2})
        assert accepted.events_url == (f"{PREFIX}" if sections else "") + f"/runs/{accepted.run_id}/events"
        *_, last = [event async for event in client.events(accepted.run_id)]
        assert isinstance(last, Complete)
        assert [run.run_id async for run in client.runs()] == [accepted.run_id]
        *_, last = [event async for event in client.stream({})]
        assert isinstance(last, Complete)


async def test_stream_is_resumed_at_its_location(serve: Serve) -> None:
    served = await serve(**TRUSTED)
    async with prefix_proxy(served.port) as url:
        async with served.client.session.post(f"{url}/invoke/stream", json={}) as response:
            before = await Reader(response).all()
        location = urljoin(url, response.headers["Location"])
        async with served.client.session.get(location) as response:
            assert await Reader(response).all() == before
