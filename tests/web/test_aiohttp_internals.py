"""What dockrion/web/aiohttp_internals.py relies on: each of these fails when aiohttp changes it."""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import aiohttp_cors
import pytest
from aiohttp import WSMsgType, web
from aiohttp.http_exceptions import BadStatusLine
from aiohttp.test_utils import TestServer
from multidict import istr

from dockrion.dockfile.limits_structs import LimitsSpec
from dockrion.events import Entry
from dockrion.web import http_streams
from dockrion.web.aiohttp_internals import (
    ConnectionHandler,
    chunked,
    connection_factory,
    ignore_malformed_requests,
    send_continue,
    take_cors_hooks,
)
from dockrion.web.responses import Handler
from dockrion.wire import websocket
from tests.web.wire import Wire

GET = b"GET / HTTP/1.1\r\nHost: tested\r\n\r\n"


class Bare:
    """A server of aiohttp alone, with one handler."""

    def __init__(self) -> None:
        self.servers: list[TestServer] = []
        self.connections: list[Wire] = []

    async def serve(self, handler: Handler, method: str = "GET", **options: Any) -> TestServer:
        app = web.Application()
        app.router.add_route(method, "/", handler, **options)
        server = TestServer(app)
        await server.start_server()
        self.servers.append(server)
        return server

    async def connect(self, handler: Handler, method: str = "GET", **options: Any) -> Wire:
        server = await self.serve(handler, method, **options)
        connection = Wire(*await asyncio.open_connection(server.host, server.port))
        self.connections.append(connection)
        return connection


@pytest.fixture
async def bare() -> AsyncIterator[Bare]:
    made = Bare()
    yield made
    for connection in made.connections:
        connection.writer.close()
        await connection.writer.wait_closed()
    for server in made.servers:
        await server.close()


@pytest.mark.parametrize("name", ["handle_error", "connection_made", "connection_lost"])
def test_overridden_methods_keep_the_signature(name: str) -> None:
    ours, theirs = (inspect.signature(vars(each)[name]) for each in (ConnectionHandler, web.RequestHandler))
    assert list(ours.parameters) == list(theirs.parameters)


async def test_aiohttp_accepts_every_connection_setting() -> None:
    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    limits = LimitsSpec()
    made = connection_factory(web.Server(handler), limits, 30)()
    assert made.max_line_size == limits.max_query_bytes
    assert made.max_field_size == limits.max_header_bytes
    assert made.keepalive_timeout == limits.idle_timeout


async def test_error_response_may_follow_100_continue(bare: Bare) -> None:
    async def fail(request: web.Request) -> web.Response:
        assert request.writer.output_size == 0
        raise ValueError

    connection = await bare.connect(fail, "POST", expect_handler=send_continue)
    await connection.send(
        GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    )
    assert await connection.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    status, _ = await connection.head()
    assert status == "HTTP/1.1 500 Internal Server Error"


async def test_written_bytes_count_as_a_begun_response(bare: Bare) -> None:
    async def fail(request: web.Request) -> web.Response:
        request.writer.output_size = 1
        raise ValueError

    connection = await bare.connect(fail)
    await connection.send(GET)
    assert await connection.rest() == b""


async def test_chunks_written_past_the_response_keep_their_order(bare: Bare) -> None:
    encode = chunked(lambda entries: b"".join(entry.data for entry in entries))

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        assert request.transport is not None
        request.transport.write(encode([Entry(1, "token", b"past it, ", 0.0)]))
        await response.write(b"by it, ")
        request.transport.write(encode([Entry(2, "token", b"past it", 0.0)]))
        await response.write_eof()
        return response

    connection = await bare.connect(stream)
    for _ in range(2):  # and the connection can be used again
        await connection.send(GET)
        status, headers = await connection.head()
        assert status == "HTTP/1.1 200 OK"
        assert headers["transfer-encoding"] == "chunked"
        assert await connection.body() == b"past it, by it, past it"


async def test_messages_written_past_a_websocket_keep_their_order(bare: Bare) -> None:
    async def talk(request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse(autoping=False, compress=False)
        await response.prepare(request)
        assert request.transport is not None
        request.transport.write(websocket.text_message(b"past it"))
        await response.send_str("by it")
        request.transport.write(websocket.text_message(b"past it"))
        await response.close()
        return response

    server = await bare.serve(talk)
    async with aiohttp.ClientSession() as session, session.ws_connect(server.make_url("/")) as client:
        messages = [await client.receive() for _ in range(4)]
    assert [message.data for message in messages[:3]] == ["past it", "by it", "past it"]
    assert messages[3].type is WSMsgType.CLOSE


async def test_response_does_not_copy_shared_header_names() -> None:
    headers = http_streams._HEADERS
    assert all(type(name) is istr for name in headers)
    response = web.StreamResponse(headers=headers)
    assert all(any(name is ours for ours in headers) for name in response.headers)


async def test_cors_adds_one_response_hook() -> None:
    app = web.Application()

    def set_up() -> aiohttp_cors.CorsConfig:
        return aiohttp_cors.setup(app)

    async def ours(_request: web.Request, _response: web.StreamResponse) -> None: ...

    app.on_response_prepare.append(ours)
    assert len(take_cors_hooks(app, set_up)) == 1
    assert list(app.on_response_prepare) == [ours]


async def test_malformed_requests_are_not_logged(bare: Bare, caplog: pytest.LogCaptureFixture) -> None:
    ignore_malformed_requests()

    async def fail(_request: web.Request) -> web.Response:
        raise ValueError("ours")

    for request in (b"NONSENSE\r\n\r\n", GET):
        connection = await bare.connect(fail)
        await connection.send(request)
        await connection.head()
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [str(error) for error in logged] == ["ours"]
    assert isinstance(BadStatusLine("x"), aiohttp.http_exceptions.HttpProcessingError)
    assert logging.getLogger("aiohttp.server").filters
