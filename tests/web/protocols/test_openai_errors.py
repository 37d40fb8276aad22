"""Errors below `/v1/` are OpenAI's, also those made before a handler runs."""

from typing import Any

import aiohttp

from tests.conftest import Serve
from tests.web.helpers import error_of

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
