"""The real client of MCP, which is that of the package `mcp`, and requests as it makes them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.protocols.logs import messages_of
from tests.support import Served
from tests.web.credentials import Headers

MCP: dict[str, Any] = {"protocols": ["mcp"]}
LATEST = "2026-07-28"
CALL = "tools/call"
STREAM, JSON = "application/json, text/event-stream", "application/json"


@asynccontextmanager
async def sdk(served: Served, headers: Headers | None = None, **options: Any) -> AsyncIterator[Client]:
    """Connect the client, with the handshake if `mode` is `legacy`."""
    url = f"http://127.0.0.1:{served.port}/mcp"
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, **{"mode": "auto", **options}) as client:
            yield client


class Progress:
    """Collects progress notifications."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float | None, str | None]] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.seen.append((progress, total, message))

    @property
    def messages(self) -> list[str | None]:
        return [message for _, _, message in self.seen]


def request(method: str = CALL, params: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a request of a version with a handshake."""
    if params is None:
        params = {"name": "tested", "arguments": {}} if method == CALL else {}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params, **fields}


def call(served: Served, **arguments: Any) -> dict[str, Any]:
    """Return a call of the agent; replicas that share a Redis have names of their own."""
    return request(params={"name": served.service.dockfile.agent.name, "arguments": arguments})


def latest(body: dict[str, Any], **meta: Any) -> tuple[dict[str, Any], Headers]:
    """Return a request of the latest version, whose client shows forms, and its headers."""
    own = {
        "io.modelcontextprotocol/protocolVersion": LATEST,
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }
    params = body["params"] | {"_meta": own | meta}
    headers = {"Mcp-Protocol-Version": LATEST, "Mcp-Method": body["method"]}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    return body | {"params": params}, headers | {"Accept": STREAM}


async def post(
    served: Served, body: Any, headers: Headers | None = None, query: str = ""
) -> tuple[int, Any, Headers]:
    """Send a request; return the status, the response in the body or None, and the headers."""
    async with served.client.post(f"/mcp{query}", json=body, headers=headers) as response:
        content = await response.read()
        found: Any = None
        if response.content_type == "text/event-stream":
            found = json.loads(messages_of(content)[-1].data)
        elif content:
            found = json.loads(content)
        return response.status, found, {**response.headers}
