"""Requests of A2A clients: those of the SDK, and plain ones."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.client.card_resolver import parse_agent_card
from a2a.types import Message, Part, Role, SendMessageRequest, StreamResponse
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Value

from dockrion.protocols.a2a.objects import Version
from tests.conftest import Serve
from tests.protocols.a2a.tasks import kind_of
from tests.protocols.logs import messages_of
from tests.support import Served
from tests.web.credentials import Headers
from tests.web.test_ownership import replicas

A2A: dict[str, Any] = {"protocols": ["a2a"]}
END = b"\n\n"
_NAMES_IN_0_3 = {
    "SendMessage": "message/send",
    "SendStreamingMessage": "message/stream",
    "GetTask": "tasks/get",
    "CancelTask": "tasks/cancel",
    "SubscribeToTask": "tasks/resubscribe",
}


async def pair(serve: Serve, agent: Any, **sections: Any) -> tuple[Served, Served]:
    """Serve with two replicas; on the memory backend both are one."""
    return await replicas(serve, agent, expose=A2A, **sections)


@asynccontextmanager
async def sdk(
    served: Served, version: Version, headers: Headers | None = None, **config: Any
) -> AsyncIterator[Client]:
    """Yield the SDK's client, which has read the card of the service."""
    url = f"http://127.0.0.1:{served.port}"
    async with httpx.AsyncClient(headers=headers, timeout=20) as http:
        factory = ClientFactory(ClientConfig(httpx_client=http, **config))
        if version == "1.0":
            yield await factory.create_from_url(url)
            return
        card = (await http.get(f"{url}/.well-known/agent-card.json")).json()
        del card["supportedInterfaces"]  # which agents of that version do not have
        yield factory.create(parse_agent_card(card))


def asking(text: str = "Hello", **fields: Any) -> SendMessageRequest:
    """Return a message of text for the SDK."""
    parts = [Part(text=text)]
    return SendMessageRequest(message=Message(role=Role.ROLE_USER, message_id="m1", parts=parts, **fields))


def sending(value: Any, **fields: Any) -> SendMessageRequest:
    """Return a message of data for the SDK."""
    parts = [Part(data=ParseDict(value, Value()))]
    return SendMessageRequest(message=Message(role=Role.ROLE_USER, message_id="m1", parts=parts, **fields))


async def received(responses: AsyncIterator[StreamResponse]) -> list[dict[str, Any]]:
    """Return the updates of a stream that the SDK has received, as JSON of version 1.0."""
    return [MessageToDict(each) async for each in responses]


def call(method: str, params: dict[str, Any], version: Version = "1.0") -> dict[str, Any]:
    """Return a plain request.

    Args:
        method: The method as version 1.0 names it.
        params: Its parameters.
        version: The version of the request.
    """
    name = method if version == "1.0" else _NAMES_IN_0_3[method]
    return {"jsonrpc": "2.0", "id": 1, "method": name, "params": params}


def message(*parts: Any, **fields: Any) -> dict[str, Any]:
    """Return the parameters of a message; without parts it says hello."""
    return {
        "message": {"messageId": "m1", "role": "ROLE_USER", "parts": parts or [{"text": "Hello"}], **fields}
    }


async def posted(served: Served, body: dict[str, Any], **options: Any) -> Any:
    """Return the response to a request, decoded; it has the status 200."""
    async with served.client.post("/a2a", json=body, **options) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def streamed(served: Served, body: dict[str, Any], **options: Any) -> bytes:
    """Return the stream that answers a request."""
    async with served.client.post("/a2a", json=body, **options) as response:
        content = await response.read()
        assert response.content_type == "text/event-stream", content
        return content


def results_of(stream: bytes) -> list[dict[str, Any]]:
    """Return what the responses in a stream have as their results."""
    return [json.loads(each.data)["result"] for each in messages_of(stream)]


def kinds_of(stream: bytes) -> list[str]:
    return [kind_of(result)[0] for result in results_of(stream)]


async def cut_after(response: aiohttp.ClientResponse, frames: int) -> bytes:
    """Return so many frames of a stream, and close the connection."""
    found = b"".join([await response.content.readuntil(END) for _ in range(frames)])
    response.close()
    return found


def state_of(task: dict[str, Any]) -> str:
    return str(task["status"]["state"])
