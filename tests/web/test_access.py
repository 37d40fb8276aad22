"""Authorization: every route with every kind of credential."""

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import Serve
from tests.support import Served
from tests.web.credentials import AUTH_MODES, PERMISSIONS, AuthMode, Headers, api_keys
from tests.web.helpers import error_of

PUBLIC, AUTHENTICATED = "public", "any authenticated caller"
# The permission that each route requires; a route that is missing here fails the tests.
RULES = {
    "GET /": PUBLIC,
    "GET /assets/{file}": PUBLIC,
    "GET /assets/{folder}/{file}": PUBLIC,
    "GET /health": PUBLIC,
    "GET /ready": PUBLIC,
    "GET /metrics": "view_metrics",
    "GET /schema": "read_docs",
    "GET /openapi.json": "read_docs",
    "GET /asyncapi.json": "read_docs",
    "GET /docs": "read_docs",
    "GET /docs/{file}": PUBLIC,
    "GET /info": AUTHENTICATED,
    "POST /invoke": "invoke",
    "POST /invoke/stream": "invoke",
    "POST /runs": "invoke",
    "GET /runs": "invoke or read_logs",
    "GET /runs/{run_id}": "invoke or read_logs",
    "DELETE /runs/{run_id}": "invoke",
    "POST /runs/{run_id}/input": "invoke or respond",
    "GET /runs/{run_id}/events": "invoke or read_logs",
    "POST /runs/{run_id}/events": "invoke",
    "GET /runs/{run_id}/input/{request_id}": "invoke",
    "POST /runs/{run_id}/token": "invoke or read_logs",
}
RUN = "made-by-owner"
EVERYTHING: dict[str, Any] = {"streaming": {"ingest": {"enabled": True}}}


@pytest.fixture(params=AUTH_MODES)
async def mode(request: pytest.FixtureRequest) -> AsyncIterator[AuthMode]:
    async with AUTH_MODES[request.param]() as made:
        yield made


async def guarded(serve: Serve, mode: AuthMode, folder: Path, **auth: Any) -> Served:
    """Serve every route, with a finished run of `owner`."""
    served = await serve(**EVERYTHING, **mode.sections(folder, **auth))
    async with served.client.post(f"/runs?run_id={RUN}", json={}, headers=mode.key("owner")) as response:
        assert response.status == 202, await response.text()
    await ended(served, RUN, mode.key("owner"))
    return served


async def ended(served: Served, run_id: str, headers: Headers) -> None:
    """Wait for the end of a run, as its owner."""
    async with served.client.get(f"/runs/{run_id}/events", headers=headers) as response:
        assert response.status == 200, await response.text()
        await response.read()


def endpoints(served: Served) -> list[str]:
    """Return the router's endpoints, HEAD included."""
    app = served.client.app
    assert app is not None
    return sorted(
        {
            f"{route.method} {route.resource.canonical}"
            for route in app.router.routes()
            if route.resource is not None and route.method != "OPTIONS"
        }
    )


def rule(endpoint: str) -> str:
    """Return the rule of an endpoint; HEAD has the rule of GET."""
    return RULES[endpoint.replace("HEAD ", "GET ")]


async def ask(
    served: Served, endpoint: str, headers: Headers, run_id: str = RUN
) -> tuple[aiohttp.ClientResponse, str]:
    placeholders = {
        "/assets/{file}": "/assets/base.css",
        "/assets/{folder}/{file}": "/assets/runs/runs.css",
        "/docs/{file}": "/docs/page.css",
        "{run_id}": run_id,
        "{request_id}": "q",
    }
    for placeholder, value in placeholders.items():
        endpoint = endpoint.replace(placeholder, value)
    method, path = endpoint.split()
    body: dict[str, Any] = {"json": {}} if method == "POST" else {}
    async with served.client.request(method, path, headers=headers, **body) as response:
        return response, await response.text()


async def test_every_route_is_listed_here(serve: Serve, mode: AuthMode, tmp_path: Path) -> None:
    served = await guarded(serve, mode, tmp_path)
    assert {each.replace("HEAD ", "GET ") for each in endpoints(served)} == RULES.keys()


async def test_route_without_a_rule_refuses_everybody(serve: Serve, mode: AuthMode, tmp_path: Path) -> None:
    served = await guarded(serve, mode, tmp_path)
    served.service.access.rules = {}
    for endpoint in endpoints(served):
        response, _ = await ask(served, endpoint, mode.key("owner"))
        assert response.status == 403, endpoint


async def test_invalid_credentials_are_refused_on_every_route(
    serve: Serve, mode: AuthMode, tmp_path: Path
) -> None:
    served = await guarded(serve, mode, tmp_path)
    for wrong, headers in mode.wrong.items():
        responses = set()
        for endpoint in endpoints(served):
            for run_id in (RUN, "never-was"):
                response, text = await ask(served, endpoint, headers, run_id)
                if rule(endpoint) == PUBLIC:
                    assert response.status == 200, (wrong, endpoint)
                    continue
                assert response.status == 401, (wrong, endpoint)
                responses.add(
                    (response.headers["WWW-Authenticate"], text if response.method != "HEAD" else "")
                )
        assert len(responses) == 2, (wrong, responses)  # one for HEAD, one for all others
        assert '"AUTH_ERROR"' in max(text for _, text in responses)


async def test_every_invalid_credential_gets_the_same_response(
    serve: Serve, mode: AuthMode, tmp_path: Path
) -> None:
    served = await guarded(serve, mode, tmp_path)
    responses = set()
    for headers in mode.wrong.values():
        async with served.client.get("/info", headers=headers) as response:
            body = await error_of(response, 401, "AUTH_ERROR")
            responses.add((body["error"], response.headers["WWW-Authenticate"]))
    assert len(responses) == 1


async def test_roles_grant_their_permissions_only(serve: Serve, mode: AuthMode, tmp_path: Path) -> None:
    served = await guarded(serve, mode, tmp_path)
    for user, endpoint in product(PERMISSIONS, endpoints(served)):
        response, text = await ask(served, endpoint, mode.key(user), "never-was")
        request = (user, endpoint, text)
        if not {PUBLIC, AUTHENTICATED, *PERMISSIONS[user]}.isdisjoint(rule(endpoint).split(" or ")):
            assert response.status in (200, 202) or ("{run_id}" in endpoint and response.status == 404), (
                request
            )
        else:
            assert response.status == 403, request
            assert response.method == "HEAD" or ('"FORBIDDEN"' in text and rule(endpoint) in text), request


async def test_valid_credentials_are_accepted_on_every_route(
    serve: Serve, mode: AuthMode, tmp_path: Path
) -> None:
    served = await guarded(serve, mode, tmp_path)
    for endpoint in endpoints(served):
        response, text = await ask(served, endpoint, mode.key("owner"))
        refused = ("DELETE /runs/{run_id}", "POST /runs/{run_id}/events", "POST /runs/{run_id}/input")
        if "{request_id}" in endpoint:
            assert response.status == 410, (endpoint, text)
            continue
        assert response.status in ((400,) if endpoint in refused else (200, 202)), (endpoint, text)


async def test_without_roles_callers_have_the_default_permissions(
    serve: Serve, mode: AuthMode, tmp_path: Path
) -> None:
    served = await guarded(serve, mode, tmp_path, roles=False)
    for endpoint in endpoints(served):
        response, text = await ask(served, endpoint, mode.key("wanderer"), "never-was")
        assert response.status in (200, 202) or ("{run_id}" in endpoint and response.status == 404), text
        response, _ = await ask(served, endpoint, {})
        assert response.status == (200 if rule(endpoint) == PUBLIC else 401), endpoint


async def test_without_roles_runs_still_belong_to_their_owner(
    serve: Serve, mode: AuthMode, tmp_path: Path
) -> None:
    served = await guarded(serve, mode, tmp_path, roles=False)
    await check_hidden(served, mode.key("other"))


async def test_run_of_another_caller_looks_nonexistent(serve: Serve, mode: AuthMode, tmp_path: Path) -> None:
    served = await guarded(serve, mode, tmp_path)
    for user in ("other", "worker"):
        await check_hidden(served, mode.key(user))


async def check_hidden(served: Served, headers: Headers) -> None:
    run_endpoints = [each for each in endpoints(served) if "{run_id}" in each]
    assert len(run_endpoints) == 9
    for endpoint in run_endpoints:
        response, text = await ask(served, endpoint, headers)
        never, never_text = await ask(served, endpoint, headers, "never-was")
        assert response.status == never.status == 404, endpoint
        assert text.replace(RUN, "never-was") == never_text
        assert response.headers.keys() == never.headers.keys()


async def test_preflights_and_unknown_paths_need_no_credentials(
    serve: Serve, mode: AuthMode, tmp_path: Path
) -> None:
    served = await guarded(serve, mode, tmp_path)
    preflight = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,x-api-key",
    }
    for path in {each.split()[1] for each in endpoints(served)}:
        response, _ = await ask(served, f"OPTIONS {path}", preflight)
        if f"GET {path}" in RULES:
            assert response.status == 200, path
            assert "authorization" in response.headers["Access-Control-Allow-Headers"].lower()
        response, text = await ask(served, f"OPTIONS {path}", {})
        assert (response.status, text) == (204, ""), path
        response, text = await ask(served, f"PUT {path}", {})
        assert response.status == 405
        assert "METHOD_NOT_ALLOWED" in text
    for path in ("/nowhere", "/run", f"/runs/{RUN}/nothing", "/METRICS"):
        response, text = await ask(served, f"GET {path}", {})
        assert response.status == 404
        assert "NOT_FOUND" in text


async def test_public_routes_reveal_nothing(serve: Serve, mode: AuthMode, tmp_path: Path) -> None:
    served = await guarded(serve, mode, tmp_path)
    secrets = [*mode.variables.values(), *mode.key("owner").values(), RUN, "introspect", "127.0.0.1"]
    for endpoint in (each for each in endpoints(served) if rule(each) == PUBLIC):
        response, text = await ask(served, endpoint, {})
        assert not [each for each in secrets if each in text or each in str(response.headers)], endpoint


async def test_info_reports_that_auth_is_enabled(serve: Serve, mode: AuthMode, tmp_path: Path) -> None:
    served = await guarded(serve, mode, tmp_path)
    async with served.client.get("/info", headers=mode.key("deployer")) as response:
        assert (await response.json())["auth_enabled"] is True
    open_to_all = await serve(auth={"mode": "none"})
    async with open_to_all.client.get("/info") as response:
        assert (await response.json())["auth_enabled"] is False


async def test_challenge_names_the_configured_key_header(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as mode:
        keys = {"prefix": "KEY_OF_", "header": "X-My-Key", "allow_bearer": False}
        served = await serve(**mode.sections(tmp_path, api_keys=keys))
        key = mode.key("owner")["X-API-Key"]
        for headers, status in (
            ({"X-My-Key": key}, 200),
            ({"x-my-key": key}, 200),
            ({"X-API-Key": key}, 401),
            ({"Authorization": f"Bearer {key}"}, 401),
            ({"X-My-Key": "wrong", "Authorization": f"Bearer {key}"}, 401),
        ):
            async with served.client.get("/info", headers=headers) as response:
                assert response.status == status, headers
                if status == 401:
                    assert response.headers["WWW-Authenticate"] == 'ApiKey header="X-My-Key"'


@pytest.mark.parametrize("own", [None, ["invoke"], ["invoke", "read_logs"]])
async def test_single_key_can_use_the_service_whatever_the_roles(
    serve: Serve, tmp_path: Path, own: list[str] | None
) -> None:
    (tmp_path / ".env").write_text("MY_KEY='a key that nobody guesses'\n")
    roles = [{"name": "admin", "permissions": ["deploy", "read_logs"]}]
    roles += [] if own is None else [{"name": "default", "permissions": own}]
    served = await serve(
        **EVERYTHING, auth={"mode": "api_key", "api_keys": {"env_var": "MY_KEY"}, "roles": roles}
    )
    granted = {*(own or ["invoke", "view_metrics", "read_docs"]), PUBLIC, AUTHENTICATED}
    for endpoint in endpoints(served):
        response, text = await ask(served, endpoint, {"X-API-Key": "a key that nobody guesses"}, "never-was")
        assert (response.status == 403) is granted.isdisjoint(rule(endpoint).split(" or ")), (endpoint, text)
        assert response.status in (200, 202, 403, 404)
