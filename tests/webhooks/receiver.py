"""A service that receives webhooks, and verifies them as its author would: with `standardwebhooks`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer, get_port_socket
from standardwebhooks import Webhook

from tests.support import WEBHOOK_SECRET, wait_until

SECRET = WEBHOOK_SECRET
PATH = "/hook?token=t"
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """Records the webhooks that it receives, and responds as the test wants.

    Attributes:
        received: The bodies, in the order of arrival.
        ids: Their `webhook-id`s.
        headers: Their headers.
        respond: Makes the response.
    """

    def __init__(self, host: str, port: int | None, reserved: socket.socket | None) -> None:
        self.received: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.respond: Respond = self.accept
        self.open = 0
        self.most_open = 0
        bind = get_port_socket if reserved is None else lambda *_: reserved
        self.server = TestServer(self._app(), host=host, port=port, socket_factory=bind)

    @property
    def url(self) -> str:
        return str(self.server.make_url(PATH))

    @property
    def sequences(self) -> list[int]:
        return [body["data"]["event"]["sequence"] for body in self.received]

    async def wait_for(self, number: int) -> None:
        await wait_until(lambda: len(self.received) >= number)

    async def accept(self, _: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    def script(self, *responses: web.Response | Respond) -> None:
        """Respond to the next requests with these, then accept."""
        left = list(responses)

        async def respond(request: web.Request) -> web.StreamResponse:
            if not left:
                return await self.accept(request)
            response = left.pop(0)
            return response if isinstance(response, web.Response) else await response(request)

        self.respond = respond

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            body = await request.read()
            self.received.append(Webhook(SECRET).verify(body, dict(request.headers)))
            self.ids.append(request.headers["webhook-id"])
            self.headers.append(request.headers)
            assert request.method == "POST"
            assert request.content_type == "application/json"
            return await self.respond(request)
        finally:
            self.open -= 1


async def hang(_: web.Request) -> web.StreamResponse:
    """Never respond."""
    await asyncio.Event().wait()
    raise AssertionError


@asynccontextmanager
async def receiving(
    host: str = "127.0.0.1", port: int | None = None, reserved: socket.socket | None = None
) -> AsyncIterator[Receiver]:
    """Run a receiver, perhaps at an address that is reserved for it."""
    receiver = Receiver(host, port, reserved)
    await receiver.server.start_server(shutdown_timeout=0.1)
    try:
        yield receiver
    finally:
        await receiver.server.close()


@contextmanager
def away() -> Iterator[tuple[socket.socket, str]]:
    """Reserve the address of a receiver that is away; yield its socket and its URL."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved, f"http://127.0.0.1:{reserved.getsockname()[1]}{PATH}"
