"""The API description: its documents and its page."""

import re
from pathlib import Path
from typing import Any

import pytest

from dockrion.web import docs
from tests.conftest import Serve
from tests.openapi.services import resolved
from tests.support import INGEST, Served
from tests.web.helpers import error_of

READER, ASKER = "a-key-of-one-who-reads", "a-key-of-one-who-asks"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
DOCUMENTS = ["/openapi.json", "/asyncapi.json"]
FILES = ["page.css", "page.js", "swagger-ui.css", "swagger-ui.js"]
ROLES = [{"name": "reader", "permissions": ["read_docs"]}, {"name": "asker", "permissions": ["invoke"]}]
DESCRIPTION = "Knows everything about rain."


@pytest.fixture
async def guarded(serve: Serve, tmp_path: Path) -> Served:
    """Serve to callers with a key: one may read the description, one may not."""
    (tmp_path / ".env").write_text(f"KEY_READER={READER}\nKEY_ASKER={ASKER}\n")
    auth = {"mode": "api_key", "api_keys": {"prefix": "KEY_"}, "roles": ROLES}
    agent = {"name": "tested", "handler": "tests.support:placeholder", "description": DESCRIPTION}
    return await serve(auth=auth, agent=agent)


async def document(served: Served, path: str, **headers: str) -> dict[str, Any]:
    async with served.client.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "application/json"
        return dict(await response.json())


async def test_documents_describe_this_service(serve: Serve) -> None:
    served = await serve()
    openapi, asyncapi = [await document(served, path) for path in DOCUMENTS]
    assert openapi["openapi"] == "3.1.1"
    assert asyncapi["asyncapi"] == "3.0.0"
    assert openapi["info"]["title"] == asyncapi["info"]["title"] == "tested"


async def test_documents_are_made_once_on_first_request(serve: Serve) -> None:
    served = await serve()
    app = served.client.app
    assert app is not None
    description = app[docs.DESCRIPTION]
    assert not description._made
    await document(served, "/openapi.json")
    made = description.openapi(served.service.dockfile, "")
    await document(served, "/openapi.json")
    assert description.openapi(served.service.dockfile, "") is made


async def test_secrets_are_masked_in_documents(serve: Serve, tmp_path: Path) -> None:
    secret = "correct-horse-battery"
    (tmp_path / ".env").write_text(f"SECRET={secret}\n")
    schema = {"type": "object", "description": "never ${SECRET}"}
    served = await serve(io_schema={"input": schema}, secrets={"required": [{"name": "SECRET"}]})
    async with served.client.get("/openapi.json") as response:
        text = await response.text()
    assert "never" in text
    assert secret not in text


@pytest.mark.parametrize("path", [*DOCUMENTS, "/docs"])
async def test_reading_needs_the_permission(guarded: Served, path: str) -> None:
    async with guarded.client.get(path) as response:
        await error_of(response, 401, "AUTH_ERROR")
        assert "X-API-Key" in response.headers["WWW-Authenticate"]
    async with guarded.client.get(path, headers={"X-API-Key": ASKER, **BROWSER}) as response:
        await error_of(response, 403, "FORBIDDEN")
    async with guarded.client.get(path, headers={"X-API-Key": READER}) as response:
        assert response.status == 200


async def test_unauthenticated_browser_gets_the_sign_in_form(guarded: Served) -> None:
    async with guarded.client.get("/docs", headers=BROWSER) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"]
        assert response.content_type == "text/html"
        text = await response.text()
    assert '<input id="key" type="password"' in text
    for inside in (DESCRIPTION, "tested", "/invoke"):
        assert inside not in text


@pytest.mark.parametrize("path", ["/docs", *(f"/docs/{name}" for name in FILES)])
async def test_page_uses_no_other_host_and_no_inline_code(serve: Serve, path: str) -> None:
    served = await serve()
    async with served.client.get(path) as response:
        assert response.status == 200
        policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
    assert set(" ".join(policy.values()).split()) == {"'none'", "'self'", "data:"}


async def test_every_file_the_page_links_exists(guarded: Served) -> None:
    async with guarded.client.get("/docs", headers={"X-API-Key": READER}) as response:
        named = re.findall(r'(?:src|href)="([^":]+)"', await response.text())
    assert {f"docs/{name}" for name in FILES} <= set(named)
    for path in named:
        headers = {} if path.startswith("docs/") else {"X-API-Key": READER}
        async with guarded.client.get(f"/{path}", headers=headers) as response:
            assert response.status == 200
            assert len(await response.read()) > 100


@pytest.mark.parametrize("name", ["page.html", "redoc.js", "..%2Fpage.js", "__init__.py", "%2Fetc%2Fpasswd"])
async def test_no_other_file_is_served(serve: Serve, name: str) -> None:
    served = await serve()
    async with served.client.get(f"/docs/{name}") as response:
        await error_of(response, 404, "NOT_FOUND")


async def test_without_swagger_ui_the_page_links_the_documents(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs._files.cache_clear()
    monkeypatch.setattr(docs, "find_spec", lambda _name: None)
    served = await serve()
    async with served.client.get("/docs/swagger-ui.js") as response:
        await error_of(response, 404, "NOT_FOUND")
    async with served.client.get("/docs") as response:
        assert 'href="openapi.json"' in await response.text()
    docs._files.cache_clear()


def query_parameters(openapi: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (
            f"{method.upper()} {path}",
            parameter["name"],
            referenced(openapi, parameter["schema"]),
        )
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    ]


def referenced(openapi: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return dict(resolved(openapi, schema["$ref"])) if "$ref" in schema else schema


OF_POLLS = ("limit", "wait")


def sent(schema: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return values at the bounds of a parameter's schema, and values just beyond."""
    if schema["type"] == "integer":
        low, high = schema["minimum"], schema["maximum"]
        return [low, high], [low - 1, high + 1, "x"]
    if schema["type"] == "boolean":
        return ["true", "false"], ["maybe"]
    if "enum" in schema:
        return schema["enum"], ["no-such-word"]
    if "maxLength" in schema:
        return ["r" * schema["maxLength"]], ["r" * (schema["maxLength"] + 1)]
    return [], []


async def test_parameters_are_accepted_up_to_the_described_limits(serve: Serve) -> None:
    served = await serve(streaming={"ingest": INGEST})
    await served.start(run_id="known")
    await served.finished("known")
    seen = query_parameters(await document(served, "/openapi.json"))
    assert len(seen) >= 10
    for name, parameter, schema in seen:
        method, path = name.replace("{run_id}", "known").replace("{request_id}", "q").split()
        taken, refused = sent(schema)
        for value, is_taken in [(each, True) for each in taken] + [(each, False) for each in refused]:
            body = None if method in ("GET", "DELETE") else [{"type": "token", "content": "x"}]
            headers = {"Accept": "application/json"} if parameter in OF_POLLS else {}
            params = {parameter: str(value)}
            asked = served.client.request(method, path, params=params, json=body, headers=headers)
            async with asked as response:
                text = (
                    ""
                    if response.status == 200 and "stream" in response.content_type
                    else await response.text()
                )
            assert (f"?{parameter}=" in text) != is_taken, (name, parameter, value, response.status, text)
