"""One connection: how long it may be idle, how long its lines may be, and what malformed HTTP is answered."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from dockrion.dockfile.limits_structs import LimitsSpec
from dockrion.errors import DockrionError, InvalidRequest
from dockrion.redaction import Redactor
from dockrion.web.responses import error_answer

_NOTHING_SECRET = Redactor(())
_LINGER_SECONDS = 10.0  # to read what nobody wants: else its sender may miss the answer (RFC 9112, 9.6)


class Protocol(web.RequestHandler):
    """Answers in JSON also what never becomes a request, and ends with a peer that takes nothing.

    Args:
        write_seconds: How long the peer may take nothing.
        settings: Those of aiohttp.
    """

    __slots__ = ("_write_seconds",)

    def __init__(self, *server: Any, write_seconds: float, **settings: Any) -> None:
        super().__init__(*server, **settings)
        self._write_seconds = write_seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the kernel end the connection when its peer takes nothing (RFC 5482; tcp(7) on Linux).

        Whoever writes would wait for it without end, or not notice: heartbeats to a peer that is
        gone fill its buffers far too slowly.
        """
        super().connection_made(transport)
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        connection = transport.get_extra_info("socket")
        if option is not None and connection.family != socket.AF_UNIX:
            with suppress(OSError):  # it is gone already, as the first read will find
                connection.setsockopt(socket.IPPROTO_TCP, option, int(self._write_seconds * 1000))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, LineTooLong):
            failure: DockrionError = InvalidRequest(
                f"the path and its query have at most {self.max_line_size} bytes, "
                f"a header at most {self.max_field_size}"
            )
        elif isinstance(exc, HttpProcessingError):  # anyone can send it: nothing to log
            failure = InvalidRequest("this is not valid HTTP/1.1")
        else:
            super().handle_error(request, status, exc, message)  # logs, and raises where an answer has begun
            failure = DockrionError("the service failed; the operator finds the reason in its log")
        response = error_answer(failure, _NOTHING_SECRET)
        response.headers[hdrs.SERVER] = "dockrion"
        response.force_close()
        return response


def protocols(server: web.Server, limits: LimitsSpec, write_seconds: float) -> Callable[[], Protocol]:
    """Return what makes the protocol of each connection.

    Args:
        server: Who is asked for answers.
        limits: What the Dockfile says.
        write_seconds: How long a peer may take nothing.
    """
    return partial(
        Protocol,
        server,
        write_seconds=write_seconds,
        loop=asyncio.get_running_loop(),
        access_log=None,
        keepalive_timeout=limits.idle_timeout,
        max_line_size=limits.max_query_bytes,
        max_field_size=limits.max_header_bytes,
        lingering_time=min(_LINGER_SECONDS, limits.body_timeout),
    )
