"""Answers in JSON, the errors among them."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET

from dockrion.errors import (
    DockrionError,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from dockrion.logs import log
from dockrion.openapi.models import Failure
from dockrion.redaction import Redactor
from dockrion.web.service import SERVICE

_logger = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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


def answer(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a response with a JSON body."""
    return web.Response(
        body=_encoder.encode(body), status=status, headers=headers, content_type="application/json"
    )


def error_body(error: DockrionError, redactor: Redactor) -> Failure:
    """Return what a caller is told of a failure, without secrets."""
    return Failure(
        success=False,
        error=redactor.mask(error.message),
        code=error.code,
        details=UNSET if error.details is None else redactor.mask_value(msgspec.to_builtins(error.details)),
    )


def error_answer(error: DockrionError, redactor: Redactor) -> web.Response:
    """Return the response to a failure, without secrets."""
    return answer(error_body(error, redactor), status=error.status, headers=error.headers)


def failure_of(error: Exception, request: web.Request) -> DockrionError:
    """Return the failure that the caller is told of, whatever a handler raised; log what is ours."""
    if isinstance(error, DockrionError):
        if error.status == DockrionError.status and error.__cause__ is not None:
            log(_logger, logging.ERROR, "internal error", path=request.path, error=error)
        return error
    if isinstance(error, web.HTTPException):
        return _of_http(error, request)
    log(_logger, logging.ERROR, "internal error", path=request.path, error=error)
    return DockrionError("the service failed; the operator finds the reason in its log")


def _of_http(error: web.HTTPException, request: web.Request) -> DockrionError:
    kind = _BY_STATUS.get(error.status, DockrionError)
    if isinstance(error, web.HTTPNotFound):
        return kind(f"nothing is at {request.path}")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return kind(f"{request.method} is not allowed here, {allowed} is", headers={hdrs.ALLOW: allowed})
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        most = request.app[SERVICE].dockfile.limits.max_body_bytes
        return kind(f"the body is too large, {most} bytes is the most")
    return kind(error.text or error.reason)
