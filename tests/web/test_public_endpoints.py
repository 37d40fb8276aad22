"""`auth.public` opens the endpoints it names, and no others, in every authentication mode."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.web.credentials import AUTH_MODES, AuthMode
from tests.web.test_access import PUBLIC, ask, endpoints, guarded, rule

OPENED = {
    "metrics": ["GET /metrics"],
    "schema": ["GET /schema"],
    "info": ["GET /info"],
    "docs": ["GET /docs", "GET /openapi.json", "GET /asyncapi.json"],
}
NAMES = list(OPENED)


@pytest.fixture(params=AUTH_MODES)
async def mode(request: pytest.FixtureRequest) -> AsyncIterator[AuthMode]:
    async with AUTH_MODES[request.param]() as made:
        yield made


# Of any two names, one of these has the one without the other.
@pytest.mark.parametrize("names", [[], NAMES[:2], NAMES[::2], NAMES])
async def test_named_endpoints_and_no_others_are_public(
    serve: Serve, mode: AuthMode, tmp_path: Path, names: list[str]
) -> None:
    served = await guarded(serve, mode, tmp_path, public=names)
    opened = {endpoint for name in names for endpoint in OPENED[name]}
    for endpoint in endpoints(served):
        is_open = rule(endpoint) == PUBLIC or endpoint.replace("HEAD ", "GET ") in opened
        for headers in (mode.wrong["no credential"], mode.wrong["wrong"]):
            response, _ = await ask(served, endpoint, headers, "never-was")
            assert response.status == (200 if is_open else 401), (endpoint, headers)
        if any(endpoint in each for each in OPENED.values()):
            response, _ = await ask(served, f"{endpoint}/", {})
            assert response.status == (200 if is_open else 401), f"{endpoint}/"
        if is_open:
            response, _ = await ask(served, endpoint, mode.key("worker"))
            assert response.status == 200, endpoint
    async with served.client.get("/openapi.json", headers=mode.key("owner")) as response:
        paths = (await response.json())["paths"]
    for endpoint, name in ((each, name) for name, each_of in OPENED.items() for each in each_of):
        operation = paths[endpoint.removeprefix("GET ")]["get"]
        assert ("security" in operation) is ("401" in operation["responses"]) is (name not in names), endpoint


async def test_public_documentation_needs_no_key_in_a_browser(
    serve: Serve, mode: AuthMode, tmp_path: Path
) -> None:
    served = await guarded(serve, mode, tmp_path, public=["docs"])
    for path in ("/docs", "/openapi.json", "/asyncapi.json"):
        response, _ = await ask(served, f"GET {path}", {"Accept": "text/html,*/*;q=0.8"})
        assert (response.status, response.headers.get("WWW-Authenticate")) == (200, None)
