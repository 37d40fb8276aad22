"""The CORS headers of every kind of response."""

from typing import Any

import aiohttp
import pytest

from tests.conftest import Serve
from tests.support import Served
from tests.web.helpers import Waits, error_of

ORIGIN = "https://app.example"
OTHER = "https://evil.example"
RESTRICTED: dict[str, Any] = {"expose": {"cors": {"origins": [ORIGIN], "methods": ["GET", "POST"]}}}
SAFE = ("GET", "HEAD")
ALLOW = "Access-Control-Allow-Origin"
# Answers of every kind: (method, path, body, status).
ANSWERS = [
    ("GET", "/health", None, 200),
    ("HEAD", "/health", None, 200),
    ("POST", "/invoke", b"{}", 200),
    ("POST", "/runs", b"{}", 202),
    ("POST", "/invoke/stream", b"{}", 200),
    ("GET", "/runs/r/events", None, 200),
    ("DELETE", "/runs/r", None, 400),
    ("POST", "/invoke", b"{", 400),
    ("POST", "/invoke", b"", 400),
    ("GET", "/runs/-", None, 400),
    ("GET", "/nowhere", None, 404),
    ("GET", "/runs/unknown", None, 404),
    ("GET", "/runs/unknown/events", None, 404),
    ("PUT", "/health", None, 405),
    ("GET", "/invoke", None, 405),
    ("POST", "/runs?run_id=r", b"[]", 409),
]
PATHS = ["/health", "/invoke", "/invoke/stream", "/runs", "/runs/r", "/runs/r/events"]


async def ask(
    served: Served, method: str, path: str, body: bytes | None = None, **headers: str
) -> aiohttp.ClientResponse:
    if body is not None:
        headers["Content-Type"] = "application/json"
    async with served.client.request(method, path, data=body, headers=headers) as response:
        await response.read()
        return response


async def preflight(
    served: Served, path: str, origin: str, method: str, **more: str
) -> aiohttp.ClientResponse:
    headers = {"Origin": origin, "Access-Control-Request-Method": method, **more}
    async with served.client.options(path, headers=headers) as response:
        await response.read()
        return response


async def with_a_run(serve: Serve, **sections: Any) -> Served:
    served = await serve(**sections)
    await served.start(run_id="r")
    await served.finished("r")
    return served


@pytest.mark.parametrize(("method", "path", "body", "status"), ANSWERS)
async def test_any_origin_may_read_every_response_by_default(
    serve: Serve, method: str, path: str, body: bytes | None, status: int
) -> None:
    response = await ask(await with_a_run(serve), method, path, body, Origin=OTHER)
    assert response.status == status
    assert response.headers.getall(ALLOW) in ([OTHER], ["*"])


@pytest.mark.parametrize(("method", "path", "body", "status"), ANSWERS)
async def test_listed_origin_may_read_every_response(
    serve: Serve, method: str, path: str, body: bytes | None, status: int
) -> None:
    response = await ask(await with_a_run(serve, **RESTRICTED), method, path, body, Origin=ORIGIN)
    assert response.status == (status if method in (*SAFE, "POST") else 403)
    assert response.headers.getall(ALLOW) == [ORIGIN]


@pytest.mark.parametrize(("method", "path", "body", "status"), ANSWERS)
async def test_other_origin_may_read_no_response(
    serve: Serve, method: str, path: str, body: bytes | None, status: int
) -> None:
    response = await ask(await with_a_run(serve, **RESTRICTED), method, path, body, Origin=OTHER)
    assert response.status == (status if method in SAFE else 403)
    assert ALLOW not in response.headers


@pytest.mark.parametrize("origin", [None, ORIGIN, OTHER])
@pytest.mark.parametrize(("method", "path", "body", "status"), ANSWERS)
async def test_every_response_varies_by_origin(
    serve: Serve, origin: str | None, method: str, path: str, body: bytes | None, status: int
) -> None:
    headers = {"Origin": origin} if origin else {}
    response = await ask(await with_a_run(serve, **RESTRICTED), method, path, body, **headers)
    refused = (origin == OTHER and method not in SAFE) or (origin is not None and method in ("PUT", "DELETE"))
    assert response.status == (403 if refused else status)
    assert [each for each in response.headers.getall("Vary") if each != "Accept"] == ["Origin"]


@pytest.mark.parametrize(("method", "path", "body", "status"), ANSWERS)
async def test_credentials_are_never_allowed(
    serve: Serve, method: str, path: str, body: bytes | None, status: int
) -> None:
    response = await ask(await with_a_run(serve), method, path, body, Origin=ORIGIN, Cookie="a=b")
    assert response.status == status
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(("method", "path", "body", "status"), ANSWERS)
async def test_scripts_may_read_the_headers_of_the_contract(
    serve: Serve, method: str, path: str, body: bytes | None, status: int
) -> None:
    response = await ask(await with_a_run(serve), method, path, body, Origin=ORIGIN)
    assert response.status == status
    exposed = {name.strip() for name in response.headers["Access-Control-Expose-Headers"].split(",")}
    assert exposed >= {"Location", "Retry-After", "X-Run-Id", "X-Run-Incarnation", "X-Request-ID"}


async def test_response_without_an_origin_allows_none(serve: Serve) -> None:
    response = await ask(await serve(), "GET", "/health")
    assert ALLOW not in response.headers


async def test_too_many_requests_may_be_read(serve: Serve) -> None:
    served = await serve(Waits(), streaming={"max_concurrent_runs": 1, "max_queued_runs": 0})
    await served.start()
    response = await ask(served, "POST", "/invoke", b"{}", Origin=ORIGIN)
    assert response.status == 429
    assert response.headers[ALLOW] in (ORIGIN, "*")


@pytest.mark.parametrize("path", PATHS)
async def test_preflight_is_allowed_by_default(serve: Serve, path: str) -> None:
    served = await serve()
    method = "POST" if path in ("/invoke", "/invoke/stream") else "GET"
    headers = {"Access-Control-Request-Headers": "content-type, last-event-id, x-own"}
    response = await preflight(served, path, OTHER, method, **headers)
    assert response.status == 200
    assert response.headers[ALLOW] in (OTHER, "*")
    assert method in response.headers["Access-Control-Allow-Methods"]
    allowed = response.headers["Access-Control-Allow-Headers"].lower()
    assert allowed == "*" or {"content-type", "last-event-id", "x-own"} <= set(allowed.split(","))
    assert "Origin" in response.headers["Vary"]


async def test_preflight_of_a_cancel_is_allowed_by_default(serve: Serve) -> None:
    response = await preflight(await serve(), "/runs/r", OTHER, "DELETE")
    assert response.status == 200
    assert "DELETE" in response.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize("path", PATHS)
async def test_preflight_of_a_listed_origin_is_allowed(serve: Serve, path: str) -> None:
    method = "POST" if path in ("/invoke", "/invoke/stream") else "GET"
    response = await preflight(await serve(**RESTRICTED), path, ORIGIN, method)
    assert response.status == 200
    assert response.headers[ALLOW] == ORIGIN


@pytest.mark.parametrize(
    ("path", "origin", "method"),
    [("/health", OTHER, "GET"), ("/runs/r", ORIGIN, "DELETE")],
    ids=["origin", "method not listed"],
)
async def test_preflight_is_refused(serve: Serve, path: str, origin: str, method: str) -> None:
    served = await serve(**RESTRICTED)
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    async with served.client.options(path, headers=headers) as response:
        await error_of(response, 403, "FORBIDDEN")
        assert "Access-Control-Allow-Methods" not in response.headers


async def test_preflight_of_an_unknown_path_is_not_found(serve: Serve) -> None:
    response = await preflight(await serve(), "/nowhere", ORIGIN, "GET")
    assert response.status == 404
    assert response.headers[ALLOW] in (ORIGIN, "*")


async def test_listed_methods_of_a_star_mean_all(serve: Serve) -> None:
    served = await serve(expose={"cors": {"origins": [ORIGIN], "methods": ["*"]}})
    response = await preflight(served, "/runs/r", ORIGIN, "DELETE")
    assert response.status == 200


async def test_options_without_an_origin_names_the_methods(serve: Serve) -> None:
    served = await serve()
    async with served.client.options("/runs") as response:
        assert response.status == 204
        assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
        assert response.headers.getall("Vary") == ["Origin"]


async def test_options_of_an_unknown_path_is_not_found(serve: Serve) -> None:
    served = await serve()
    async with served.client.options("/nowhere") as response:
        await error_of(response, 404, "NOT_FOUND")
