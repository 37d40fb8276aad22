"""JSON responses, and how exceptions become error responses."""

import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import ETag, hdrs, web
from msgspec import UNSET

from dockrion.errors import (
    DockrionError,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from dockrion.logs import log
from dockrion.openapi.models import Failure
from dockrion.redaction import Redactor
from dockrion.web.access import loggable_path
from dockrion.web.service import SERVICE
from dockrion.web.urls import path_without_root, route_pattern

SERVER = "dockrion"  # the `Server` header, without versions
_logger = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ErrorResponse = Callable[[web.Request, DockrionError], web.Response]
# How errors are reported below paths of another protocol, by the paths' prefix.
ERROR_RESPONSES = web.AppKey("error_responses", dict[str, ErrorResponse])

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC}
_BY_STATUS: dict[int, type[DockrionError]] = {
    kind.status: kind
    for kind in (
        InvalidRequest,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        PayloadTooLarge,
        UnsupportedMediaType,
    )
}


def json_response(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a response with a JSON body."""
    return encoded_response(_encoder.encode(body), status=status, headers=headers)


def encoded_response(
    body: bytes, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a response whose body is JSON already."""
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def is_known(request: web.Request, etag: ETag) -> bool:
    """Tell whether the caller has this representation, so that the status is 304 (RFC 9110, 13.1.2)."""
    return any(tag.value in (etag.value, "*") for tag in request.if_none_match or ())


def error_body(error: DockrionError, redactor: Redactor) -> Failure:
    """Return the body of an error response, secrets redacted."""
    return Failure(
        success=False,
        error=redactor.mask(error.message),
        code=error.code,
        details=UNSET if error.details is None else redactor.mask_value(msgspec.to_builtins(error.details)),
    )


def error_response(error: DockrionError, redactor: Redactor) -> web.Response:
    """Return the response for an error, secrets redacted."""
    return json_response(error_body(error, redactor), status=error.status, headers=error.headers)


def respond_to_error(request: web.Request, error: Exception) -> web.Response:
    """Return the response for a handler's exception, as the clients of the request's path expect it."""
    reported = to_dockrion_error(error, request)
    path = route_pattern(request) or path_without_root(request)
    for prefix, respond in request.app[ERROR_RESPONSES].items():
        if path.startswith(prefix):
            return respond(request, reported)
    return error_response(reported, request.app[SERVICE].redactor)


def internal_error() -> DockrionError:
    """Return the error for a failure whose cause only the log may name."""
    return DockrionError("the service failed; the operator finds the reason in its log")


def to_dockrion_error(error: Exception, request: web.Request) -> DockrionError:
    """Return the error that the caller gets for a handler's exception; log those that are our fault."""
    if isinstance(error, DockrionError):
        if error.status == DockrionError.status and error.__cause__ is not None:
            log(_logger, logging.ERROR, "internal error", path=loggable_path(request), error=error)
        return error
    if isinstance(error, web.HTTPException):
        return _from_http_exception(error, request)
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        log(_logger, logging.ERROR, "out of resources", path=loggable_path(request), reason=error.strerror)
        return ServiceUnavailable("the service is out of resources at present; try again later")
    log(_logger, logging.ERROR, "internal error", path=loggable_path(request), error=error)
    return internal_error()


def _from_http_exception(error: web.HTTPException, request: web.Request) -> DockrionError:
    kind = _BY_STATUS.get(error.status, DockrionError)
    if isinstance(error, web.HTTPNotFound):
        return kind(f"no such path: {request.path}")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return kind(f"{request.method} is not allowed; allowed: {allowed}", headers={hdrs.ALLOW: allowed})
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        limit = request.app[SERVICE].dockfile.limits.max_body_bytes
        return kind(f"the body is larger than the limit of {limit} bytes")
    return kind(error.text or error.reason)
