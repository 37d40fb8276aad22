"""Everything on the server's side that relies on undocumented behavior of aiohttp and aiohttp-cors.

Each use says why it is there. tests/web/test_aiohttp_internals.py has a test for each, which fails
when a new version of aiohttp changes what it relies on. What the HTTP client relies on stands in
dockrion/http_client.py, by the same rule.

One use is only explained here, because a function call would cost it for each reader of each event:
`Connection._write_now` and `Socket._write` call `transport.write` on the transport of a response that
is being streamed. aiohttp encodes a chunk or a WebSocket message again for each response; the bytes of
an event are encoded once and written to all its readers. This relies on three things: `prepare` has
sent the response's head; the response's own writer holds nothing back, so that the order of its writes
and ours is kept; and the bytes are framed as aiohttp would frame them (`chunked`, wire/websocket.py).
"""

import asyncio
import fcntl
import logging
import socket
import sys
import termios
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any, cast

import aiohttp_cors
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.log import server_logger
from multidict import istr

from dockrion.dockfile.limits_structs import LimitsSpec
from dockrion.errors import DockrionError, InvalidRequest
from dockrion.events import Entry
from dockrion.redaction import Redactor
from dockrion.web.request_ids import add_request_id
from dockrion.web.responses import SERVER, error_response, internal_error

_NO_SECRETS = Redactor(())
_LINGER_SECONDS = 10.0  # to read the rest of a refused body: else the response may be lost (RFC 9112, 9.6)
_TLS_BUFFER_BYTES = 64 * 1024  # as without TLS
_STALL_CHECKS = 4  # in the time that a peer may take nothing
ResponseHook = Callable[[web.Request, web.StreamResponse], Awaitable[object]]


class ConnectionHandler(web.RequestHandler):
    """Answers malformed HTTP with our JSON errors, and drops peers that accept no data.

    aiohttp offers no hook for either, so this overrides `RequestHandler.handle_error`, which aiohttp
    calls for what never becomes a request, `connection_made` and `connection_lost`.

    Args:
        write_seconds: How long the peer may accept no data.
        settings: Those of aiohttp's `RequestHandler`.
    """

    __slots__ = ("_stall_timer", "_write_seconds")

    def __init__(self, *server: Any, write_seconds: float, **settings: Any) -> None:
        super().__init__(*server, **settings)
        self._write_seconds = write_seconds
        self._stall_timer: _StallTimer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have the connection closed when its peer takes nothing.

        The kernel does this for TCP (RFC 5482; Linux tcp(7)), a timer for unix sockets. Otherwise a
        writer would wait for a dead peer without end, or not notice it: heartbeats fill the socket's
        buffers far too slowly.
        """
        super().connection_made(transport)
        if transport.get_extra_info("sslcontext") is not None:
            # asyncio holds eight times as much for each slow reader by default, beside what the socket holds.
            cast("asyncio.Transport", transport).set_write_buffer_limits(_TLS_BUFFER_BYTES)
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        connection = transport.get_extra_info("socket")
        if connection.family == socket.AF_UNIX:
            self._stall_timer = _StallTimer(cast("asyncio.Transport", transport), self._write_seconds)
        elif option is not None:
            with suppress(OSError):  # the connection is closed already, as the first read will find
                connection.setsockopt(socket.IPPROTO_TCP, option, int(self._write_seconds * 1000))

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._stall_timer is not None:
            self._stall_timer.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, LineTooLong):
            error: DockrionError = InvalidRequest(
                f"the path and its query have at most {self.max_line_size} bytes, "
                f"a header at most {self.max_field_size}"
            )
        elif isinstance(exc, HttpProcessingError):  # anyone can send it, so it is not logged
            error = InvalidRequest("this is not valid HTTP/1.1")
        else:
            super().handle_error(request, status, exc, message)  # logs; raises if a response has begun
            error = internal_error()
        response = error_response(error, _NO_SECRETS)
        response.headers[hdrs.SERVER] = SERVER
        add_request_id(response)
        response.force_close()
        return response


class _StallTimer:
    """Closes a connection over a unix socket when its peer takes nothing.

    While data waits in the transport, the kernel's buffer is full, and what it holds changes only when
    the peer reads.

    Args:
        transport: The connection.
        seconds: How long the peer may take nothing.
    """

    __slots__ = ("_interval", "_loop", "_timer", "_transport", "_unchanged", "_waiting")

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._interval = seconds / _STALL_CHECKS
        self._waiting = (0, 0)  # bytes in the transport, and in the kernel
        self._unchanged = 0
        self._timer = self._loop.call_later(self._interval, self._check)

    def cancel(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        buffered = self._transport.get_write_buffer_size()
        waiting = (buffered, _unread_bytes(self._transport.get_extra_info("socket")) if buffered else 0)
        self._unchanged = self._unchanged + 1 if buffered and waiting == self._waiting else 0
        self._waiting = waiting
        if self._unchanged == _STALL_CHECKS:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(self._interval, self._check)


def _unread_bytes(connection: socket.socket) -> int:
    """Return how much the kernel holds until the peer reads it (Linux: SIOCOUTQ)."""
    try:
        return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:  # the kernel does not tell
        return 0


def connection_factory(
    server: web.Server, limits: LimitsSpec, write_seconds: float
) -> Callable[[], ConnectionHandler]:
    """Return the protocol factory for `loop.create_server`.

    aiohttp's own sites always make a plain `RequestHandler`; the arguments here are those that
    `web.Server.__call__` passes to it.

    Args:
        server: Dispatches requests to the application.
        limits: The Dockfile's section.
        write_seconds: How long a peer may accept no data.
    """
    return partial(
        ConnectionHandler,
        server,
        write_seconds=write_seconds,
        loop=asyncio.get_running_loop(),
        access_log=None,
        keepalive_timeout=limits.idle_timeout,
        max_line_size=limits.max_query_bytes,
        max_field_size=limits.max_header_bytes,
        lingering_time=min(_LINGER_SECONDS, limits.body_timeout),
    )


async def send_continue(request: web.Request) -> None:
    """Invite the body if the client waits for that; ignore other expectations (RFC 9110, 10.1.1).

    aiohttp's own handler refuses other expectations with 417. Resetting the writer's `output_size`
    lets an error response that follows be sent: aiohttp takes a positive size for a response begun.
    """
    if request.version >= HttpVersion11 and request.headers[hdrs.EXPECT].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


@cache
def chunked(encode: Callable[[Sequence[Entry]], bytes]) -> Callable[[Sequence[Entry]], bytes]:
    """Return an encoder that adds the chunked transfer coding (RFC 9112, 7.1), as `response.write` does.

    It is the same function for all readers of a framing, who thereby share the encoded bytes.
    """

    def encode_chunk(entries: Sequence[Entry]) -> bytes:
        data = encode(entries)
        return b"%x\r\n%s\r\n" % (len(data), data)

    return encode_chunk


def shared_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers whose names are not copied into each response that has them.

    multidict keeps a name that is an `istr` as it is, and makes an `istr` of any other: 0.8 KiB for
    each open stream.
    """
    return {istr(name): value for name, value in headers.items()}


class SamePath:
    """What a router looks at of a request, with another path. To clone a request takes 50 µs."""

    __slots__ = ("method", "rel_url")

    def __init__(self, request: web.Request, path: str) -> None:
        self.method = request.method
        self.rel_url = request.rel_url.with_path(path, encoded=True)


async def match_path(router: web.UrlDispatcher, request: web.Request, path: str) -> web.UrlMappingMatchInfo:
    """Return what a router matches a request with another path to.

    Args:
        router: The router.
        request: The request.
        path: The path, encoded.
    """
    return await router.resolve(cast("web.Request", SamePath(request, path)))


def take_cors_hooks(
    app: web.Application, set_up: Callable[[], aiohttp_cors.CorsConfig]
) -> list[ResponseHook]:
    """Set aiohttp-cors up, and return the response hooks it added instead of leaving them in place.

    aiohttp-cors runs its hook for every response, also for requests without an `Origin` header, which
    are most. The caller runs the hooks where they matter.
    """
    before = len(app.on_response_prepare)
    set_up()
    hooks: Sequence[ResponseHook] = app.on_response_prepare[before:]
    del app.on_response_prepare[before:]
    return list(hooks)


def ignore_malformed_requests() -> None:
    """Keep malformed requests, which anyone can send, from filling aiohttp's log with tracebacks."""
    server_logger.addFilter(_is_server_fault)


def _is_server_fault(record: logging.LogRecord) -> bool:
    malformed = (HttpProcessingError, web.RequestPayloadError)
    return not (record.exc_info and isinstance(record.exc_info[1], malformed))
