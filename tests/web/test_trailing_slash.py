"""Paths with a trailing slash: GET as without it, a redirect for other methods."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from dockrion.web.routes import routes
from tests.conftest import Serve
from tests.support import Served
from tests.web.helpers import error_of

EVERY_ROUTE: dict[str, Any] = {
    "expose": {"streaming": "websocket"},
    "streaming": {"ingest": {"enabled": True}},
}


async def status_and_type(served: Served, method: str, path: str) -> tuple[int, str]:
    async with served.client.request(method, path, allow_redirects=False) as response:
        await response.read()
        return response.status, response.content_type


async def test_every_get_route_tolerates_a_trailing_slash(serve: Serve) -> None:
    served = await serve(**EVERY_ROUTE)
    run_id = await served.start()
    await served.finished(run_id)
    table = routes(served.service.dockfile)
    paths = {route.path for route in table if route.method == "GET"} - {"/", "/docs"}
    assert len(paths) > 10
    for pattern in paths:
        file = "page.js" if "docs" in pattern else "form.js" if "folder" in pattern else "app.js"
        path = pattern.format(run_id=run_id, request_id="question", folder="request", file=file)
        for method in ("GET", "HEAD"):
            expected = await status_and_type(served, method, path)
            assert await status_and_type(served, method, f"{path}/") == expected, path


async def test_every_other_route_redirects(serve: Serve) -> None:
    served = await serve(**EVERY_ROUTE)
    others = [route for route in routes(served.service.dockfile) if route.method != "GET"]
    assert len(others) > 4
    for route in others:
        path = route.path.format(run_id="a%2Fb%3F:c")
        for query in ("", "?reason=a%20b&x=//evil.example"):
            async with served.client.request(
                route.method, f"{path}/{query}", allow_redirects=False
            ) as response:
                assert (response.status, await response.read()) == (308, b"")
                location = response.headers["Location"]
                assert location.startswith("../")
                assert urljoin(f"{path}/", location) == path + query
                assert urljoin(f"http://proxy/prefix{path}/", location) == f"http://proxy/prefix{path}{query}"


async def test_clients_that_follow_the_redirect_are_served(serve: Serve) -> None:
    served = await serve()
    async with served.client.post("/invoke/", json={"n": 1}) as response:
        assert response.status == 200
        assert (await response.json())["output"] == {"n": 1}
    async with served.client.post("/runs/?run_id=mine", json={}) as response:
        assert (response.status, (await response.json())["run_id"]) == (202, "mine")


async def test_events_are_streamed(serve: Serve) -> None:
    served = await serve()
    run_id = await served.start()
    await served.finished(run_id)
    streams = []
    for path in (f"/runs/{run_id}/events", f"/runs/{run_id}/events/"):
        async with served.client.get(path, params={"from_sequence": "1"}) as response:
            streams.append(await response.read())
    assert streams[0] == streams[1]
    assert b"event: complete" in streams[0]


async def test_the_docs_page_is_redirected_as_its_links_are_relative(serve: Serve) -> None:
    served = await serve()
    async with served.client.get("/docs/?x=1", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (308, "../docs?x=1")


@pytest.mark.parametrize(
    "path", ["/nowhere/", "//", "/health//", "//health/", "/runs//", "//evil.example/invoke/", "/invoke//"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_other_paths_are_not_found(serve: Serve, method: str, path: str) -> None:
    served = await serve()
    url = f"http://127.0.0.1:{served.port}{path}"
    async with served.client.session.request(method, url, allow_redirects=False) as response:
        await error_of(response, 404, "NOT_FOUND")


async def test_wrong_methods_are_named(serve: Serve) -> None:
    served = await serve()
    async with served.client.get("/invoke/") as response:
        await error_of(response, 405, "METHOD_NOT_ALLOWED")
        assert response.headers["Allow"] == "OPTIONS, POST"


async def test_access_rules_apply_before_the_redirect(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=0123456789abcdef\n")
    served = await serve(auth={"mode": "api_key"})
    requests = (("GET", "/metrics/"), ("GET", "/runs/"), ("POST", "/invoke/"), ("DELETE", "/runs/x/"))
    for method, path in requests:
        async with served.client.request(method, path, allow_redirects=False) as response:
            await error_of(response, 401, "AUTH_ERROR")


async def test_pages_of_other_origins_may_follow_the_redirect(serve: Serve) -> None:
    served = await serve()
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    async with served.client.options("/invoke/", headers=headers) as response:
        assert (response.status, response.headers["Access-Control-Allow-Methods"]) == (200, "POST")
    async with served.client.post("/invoke/", json={}, headers=headers, allow_redirects=False) as response:
        assert response.status == 308
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"


async def test_a_page_of_an_origin_that_is_not_allowed_gets_no_redirect(serve: Serve) -> None:
    served = await serve(expose={"cors": {"origins": ["https://app.example"]}})
    headers = {"Origin": "https://evil.example"}
    async with served.client.post("/invoke/", json={}, headers=headers, allow_redirects=False) as response:
        await error_of(response, 403, "FORBIDDEN")


async def waits(_payload: Any) -> None:
    await asyncio.Event().wait()


async def test_probes_are_not_limited(serve: Serve) -> None:
    served = await serve(waits, limits={"max_connections_per_caller": 1})
    async with served.stream():
        for path, status in (("/health/", 200), ("/ready/", 200), ("/schema/", 429)):
            assert (await status_and_type(served, "GET", path))[0] == status


async def test_requests_count_as_those_of_the_route(serve: Serve) -> None:
    served = await serve()
    for method, path in (("GET", "/schema/"), ("POST", "/invoke/")):
        await status_and_type(served, method, path)
    async with served.client.get("/metrics/") as response:
        text = await response.text()
    assert 'endpoint="/schema",method="GET",status="200"} 1.0' in text
    assert 'endpoint="/invoke",method="POST",status="308"} 1.0' in text
    assert '/"' not in text
