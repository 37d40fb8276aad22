"""Requests with an `Idempotency-Key`, sent again, and an agent that counts how often it works."""

import asyncio
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from tests.support import Reader, Served
from tests.web.credentials import Headers

EVERY_BACKEND = pytest.mark.usefixtures("every_backend")
KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
PATHS = ("/runs", "/invoke/stream", "/invoke")
REPLAYED = "Idempotency-Replayed"


class Answered(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def replayed(self) -> bool:
        return REPLAYED in self.headers


class Counts:
    """An agent that counts how often it works on each payload."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []

    async def __call__(self, payload: Any, context: StreamContext) -> dict[str, Any]:
        self.payloads.append(payload)
        await context.emit_token("a token")
        await asyncio.sleep(0)
        return {"number": len(self.payloads), "payload": payload}


async def ask(
    served: Served, path: str, body: Any = None, headers: Headers | None = None, **query: str
) -> Answered:
    """Send a request with the key, and return the response as a caller compares it."""
    async with served.client.post(
        path, json=body or {}, headers=KEY | (headers or {}), params=query
    ) as response:
        if response.content_type == "text/event-stream":
            content: Any = [(each.event, each.id, each.data) for each in await Reader(response).all()]
        else:
            content = await response.json()
        return Answered(response.status, dict(response.headers), content)


def claims(monkeypatch: pytest.MonkeyPatch, served: Served) -> list[bytes]:
    """Return the list to which the values of claims are added."""
    values: list[bytes] = []
    claim = served.service.backend.claim

    async def listening(name: str, value: bytes, seconds: int, replacing: bytes | None = None) -> bytes:
        values.append(value)
        return await claim(name, value, seconds, replacing)

    monkeypatch.setattr(served.service.backend, "claim", listening)
    return values
