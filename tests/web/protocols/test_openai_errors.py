"""Errors below `/v1/` are OpenAI's, also those made before a handler runs."""

from pathlib import Path
from typing import Any

import aiohttp

from dockrion.errors import Conflict, ServiceUnavailable
from dockrion.redaction import Redactor
from dockrion.web.protocols.openai.errors import error_response
from tests.conftest import Serve
from tests.web.credentials import api_keys, key_of
from tests.web.helpers import Waits, error_of

OPENAI = {"protocols": ["openai"]}


async def openai_error(response: aiohttp.ClientResponse, status: int, kind: str, code: str) -> dict[str, Any]:
    """Check that a response is an error in OpenAI's shape, and return it."""
    assert response.status == status, await response.text()
    assert response.content_type == "application/json"
    body = await response.json()
    assert body.keys() == {"error"}
    error = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (kind, code)
    assert error["message"]
    return dict(error)


async def test_unknown_path_and_wrong_method(serve: Serve) -> None:
    served = await serve(expose=OPENAI)
    async with served.client.get("/v1/nothing") as response:
        await openai_error(response, 404, "invalid_request_error", "not_found")
    async with served.client.delete("/v1/models") as response:
        await openai_error(response, 405, "invalid_request_error", "method_not_allowed")
        assert "GET" in response.headers["Allow"]


async def test_errors_of_authentication_and_of_limits(serve: Serve, tmp_path: Path) -> None:
    async with api_keys() as auth:
        sections = auth.sections(tmp_path)
    served = await serve(
        agent := Waits(), expose=OPENAI, limits={"max_connections_per_caller": 1}, **sections
    )
    for path in ("/v1/models", "/v1/chat/completions"):
        method = "GET" if path == "/v1/models" else "POST"
        async with served.client.request(method, path) as response:
            await openai_error(response, 401, "invalid_request_error", "invalid_api_key")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
    key = {"Authorization": f"Bearer {key_of('owner')}"}
    asked = {"messages": [{"role": "user", "content": "Rain?"}], "stream": True}
    async with served.client.post("/v1/chat/completions", json=asked, headers=key) as stream:
        assert stream.status == 200
        async with served.client.get("/v1/models", headers=key) as response:
            await openai_error(response, 429, "requests", "too_many_connections")
            assert response.headers["Retry-After"] == "5"
        agent.go.set()
        await stream.read()


async def test_errors_can_be_read_by_allowed_pages_alone(serve: Serve) -> None:
    served = await serve(expose=OPENAI | {"cors": {"origins": ["https://a.test"]}})
    async with served.client.post("/v1/nothing", headers={"Origin": "https://a.test"}) as response:
        await openai_error(response, 404, "invalid_request_error", "not_found")
        assert response.headers["Access-Control-Allow-Origin"] == "https://a.test"
    async with served.client.post("/v1/chat/completions", headers={"Origin": "https://b.test"}) as response:
        await openai_error(response, 403, "invalid_request_error", "forbidden")


def test_conflicts_are_not_sent_again_by_the_sdks() -> None:
    assert error_response(Conflict("taken"), Redactor(())).headers["x-should-retry"] == "false"
    assert "x-should-retry" not in error_response(ServiceUnavailable("later"), Redactor(())).headers


async def test_secrets_are_masked(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TOKEN=something-secret\n")
    served = await serve(expose=OPENAI, secrets={"required": [{"name": "TOKEN"}]})
    async with served.client.get("/v1/something-secret") as response:
        error = await openai_error(response, 404, "invalid_request_error", "not_found")
    assert error["message"] == "no such path: /v1/***"


async def test_input_that_breaks_the_agents_schema(serve: Serve) -> None:
    schema = {"properties": {"temperature": {"type": "number", "maximum": 1}}}
    served = await serve(expose=OPENAI, io_schema={"input": schema})
    asked = {"messages": [{"role": "user", "content": "Rain?"}], "temperature": 2}
    async with served.client.post("/v1/chat/completions", json=asked) as response:
        error = await openai_error(response, 400, "invalid_request_error", "invalid_request")
    assert error["param"] == "temperature"


async def test_other_paths_keep_their_errors(serve: Serve) -> None:
    served = await serve(expose=OPENAI)
    async with served.client.get("/v1") as response:
        await error_of(response, 404, "NOT_FOUND")
    async with served.client.get("/runs/none") as response:
        await error_of(response, 404, "NOT_FOUND")


async def test_paths_of_a_service_without_the_protocol_keep_their_errors(serve: Serve) -> None:
    served = await serve()
    async with served.client.get("/v1/models") as response:
        await error_of(response, 404, "NOT_FOUND")
