"""Who calls the service through a proxy."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from tests.proxies.stack import Stack
from tests.web.transports.readers import Received

ADDRESS = "127.0.0.2"  # not that of the proxies
MADE_UP = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Host": "made.up",
    "Forwarded": "for=6.6.6.6;host=made.up",
}


class Caller:
    """Somebody who calls the service through a proxy, and sends forwarding headers as an attacker would.

    Args:
        client: Sends the requests.
        folder: Where the agent looks for files.
    """

    def __init__(self, client: aiohttp.ClientSession, folder: Path) -> None:
        self.client = client
        self.folder = folder

    def payload(self, *words: str, **more: Any) -> dict[str, Any]:
        return {"folder": str(self.folder), "words": words, **more}

    def go_on(self, word: str) -> None:
        """Let the agent say what follows a word."""
        (self.folder / word).touch()

    @property
    def has_begun(self) -> bool:
        return (self.folder / "begun").exists()

    @property
    def has_cancelled(self) -> bool:
        return (self.folder / "cancelled").exists()

    async def start(self, payload: Any) -> str:
        """Start a run and return its id."""
        async with self.client.post("/runs", json=payload) as response:
            assert response.status == 202, await response.text()
            return str((await response.json())["run_id"])

    async def invoke(self, payload: Any) -> Any:
        """Run the agent and return its output."""
        async with self.client.post("/invoke", json=payload) as response:
            assert response.status == 200, await response.text()
            return (await response.json())["output"]


@asynccontextmanager
async def calling(stack: Stack, proxy: str, folder: Path, *, tls: bool = False) -> AsyncIterator[Caller]:
    """Call the service through a proxy."""
    front = stack.fronts[proxy]
    context = ssl.create_default_context(cafile=str(stack.certificate)) if tls else True
    connector = aiohttp.TCPConnector(local_addr=(ADDRESS, 0), ssl=context)
    own = folder / uuid4().hex
    own.mkdir()
    async with aiohttp.ClientSession(
        front.tls_url if tls else front.url, connector=connector, headers=MADE_UP
    ) as client:
        yield Caller(client, own)


def of_agent(messages: list[Received]) -> list[bytes]:
    """Return the events that the agent has emitted: heartbeats are a connection's own."""
    return [each.data for each in messages if each.type != "heartbeat"]
