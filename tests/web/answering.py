"""An agent that asks, and requests that answer it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from dockrion import InputTimeout, StreamContext
from tests import support
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served
from tests.web.credentials import Headers

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"send": {"type": "boolean"}, "to": {"type": "string", "minLength": 2}},
    "required": ["send"],
}


async def asks(payload: dict[str, Any], context: StreamContext) -> Any:
    """Ask each of the payload's questions, one after the other."""
    answers = []
    for question in payload.get("ask", [{"prompt": "Send it?", "schema": SCHEMA}]):
        try:
            answers.append(await context.ask(**question))
        except InputTimeout:
            answers.append("none")
    return answers


async def replicas(serve: Serve, agent: Any = asks, **sections: Any) -> tuple[Served, Served]:
    """Serve with two replicas; on the memory backend both are one."""
    first = await serve(agent, **sections)
    return first, await serve(agent, **sections) if support.SHARED_REDIS else first


async def waiting(served: Served, run_id: str, headers: Headers | None = None) -> dict[str, Any]:
    """Wait until a run waits for an answer, and return what for."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            async with served.client.get(f"/runs/{run_id}", headers=headers) as response:
                found = (await response.json())["waiting_for"]
            if found is not None:
                return dict(found)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def answering(
    served: Served, run_id: str, request_id: str, value: Any, **options: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    body = {"request_id": request_id, "value": value}
    async with served.client.post(f"/runs/{run_id}/input", json=body, **options) as response:
        yield response


async def accepted(served: Served, run_id: str, request_id: str, value: Any, **options: Any) -> None:
    async with answering(served, run_id, request_id, value, **options) as response:
        assert response.status == 202, await response.text()
        assert await response.json() == {"run_id": run_id, "request_id": request_id, "status": "accepted"}


async def listed(served: Served, **query: str) -> list[str]:
    async with served.client.get("/runs", params=query) as response:
        assert response.status == 200, await response.text()
        return [run["run_id"] for run in (await response.json())["items"]]
