"""One connection: how long it may be idle, how long its lines may be, and what malformed HTTP is answered."""

import asyncio
from collections.abc import Callable
from functools import partial

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from dockrion.dockfile.limits_structs import LimitsSpec
from dockrion.errors import DockrionError, InvalidRequest
from dockrion.redaction import Redactor
from dockrion.web.answers import error_answer

_NOTHING_SECRET = Redactor(())
_LINGER_SECONDS = 10.0  # to read what nobody wants: else its sender may miss the answer (RFC 9112, 9.6)


class Protocol(web.RequestHandler):
    """Answers in JSON also what never becomes a request."""

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


def protocols(server: web.Server, limits: LimitsSpec) -> Callable[[], Protocol]:
    """Return what makes the protocol of each connection.

    Args:
        server: Who is asked for answers.
        limits: What the Dockfile says.
    """
    return partial(
        Protocol,
        server,
        loop=asyncio.get_running_loop(),
        access_log=None,  # type: ignore[arg-type]
        keepalive_timeout=limits.idle_timeout,
        max_line_size=limits.max_query_bytes,
        max_field_size=limits.max_header_bytes,
        lingering_time=min(_LINGER_SECONDS, limits.body_timeout),
    )
