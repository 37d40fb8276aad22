"""Who calls the service through a proxy."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from tests.proxies.stack import Stack
from tests.support import wait_until
from tests.web.transports.readers import Received

ADDRESS = "127.0.0.2"  # not that of the proxies
MADE_UP = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Host": "made.up",
    "X-Forwarded-Prefix": "/made/up",
    "Forwarded": "for=6.6.6.6;host=made.up",
}


PREFIX = "/agents/writer"


class Client:
    """Sends requests to paths below a URL."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    def get(self, path: str, **options: Any) -> Any:
        return self._session.get(self._url + path, **options)

    def post(self, path: str, **options: Any) -> Any:
        return self._session.post(self._url + path, **options)

    def delete(self, path: str, **options: Any) -> Any:
        return self._session.delete(self._url + path, **options)

    def ws_connect(self, path: str, **options: Any) -> Any:
        return self._session.ws_connect(self._url + path, **options)


class Caller:
    """Somebody who calls the service through a proxy, and sends forwarding headers as an attacker would.

    Args:
        session: Sends the requests.
        origin: The proxy's, as a browser names it.
        prefix: The path below which it has the service.
        folder: Where the agent looks for files.
    """

    def __init__(self, session: aiohttp.ClientSession, origin: str, prefix: str, folder: Path) -> None:
        self.session = session
        self.client = Client(session, origin + prefix)
        self.origin = origin
        self.prefix = prefix
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
            run_id = str((await response.json())["run_id"])
            assert response.headers["Location"] == f"{self.prefix}/runs/{run_id}"
            return run_id

    async def invoke(self, payload: Any) -> Any:
        """Run the agent and return its output."""
        async with self.client.post("/invoke", json=payload) as response:
            assert response.status == 200, await response.text()
            return (await response.json())["output"]


@asynccontextmanager
async def calling(
    stack: Stack, proxy: str, folder: Path, *, tls: bool = False, prefix: str = ""
) -> AsyncIterator[Caller]:
    """Call the service through a proxy."""
    front = stack.fronts[proxy]
    context = ssl.create_default_context(cafile=str(stack.certificate)) if tls else True
    sockets: list[socket.socket] = []

    def make_socket(address: tuple[Any, ...]) -> socket.socket:
        sockets.append(socket.socket(*address[:3]))
        return sockets[-1]

    connector = aiohttp.TCPConnector(local_addr=(ADDRESS, 0), ssl=context, socket_factory=make_socket)
    own = folder / uuid4().hex
    own.mkdir()
    async with aiohttp.ClientSession(connector=connector, headers=MADE_UP) as session:
        yield Caller(session, front.tls_url if tls else front.url, prefix, own)
    # A connection with TLS is closed only when the proxy has taken leave, too.
    await wait_until(lambda: all(each.fileno() < 0 for each in sockets))


def of_agent(messages: list[Received]) -> list[bytes]:
    """Return a run's events: heartbeats and the end of a replica are a connection's own."""
    return [each.data for each in messages if each.type not in {"heartbeat", "draining"}]
