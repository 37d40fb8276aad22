"""Error responses as the clients of OpenAI's API expect them."""

from aiohttp import web

from dockrion.errors import Conflict, DockrionError
from dockrion.protocols.openai.errors import error_object, param_of
from dockrion.redaction import Redactor
from dockrion.web.responses import json_response
from dockrion.web.service import SERVICE

_SHOULD_RETRY = "x-should-retry"  # OpenAI's SDKs obey it; else they repeat what got a status of 409 or 5xx


def respond_to_error(request: web.Request, error: DockrionError) -> web.Response:
    """Return the response for the error of a request, secrets redacted."""
    return error_response(error, request.app[SERVICE].redactor)


def error_response(error: DockrionError, redactor: Redactor) -> web.Response:
    """Return the response for an error, secrets redacted."""
    body = error_object(redactor.mask(error.message), error.code, status=error.status, param=param_of(error))
    headers = not_retried(error).headers if isinstance(error, Conflict) else error.headers
    return json_response(body, status=error.status, headers=headers)


def not_retried(error: DockrionError) -> DockrionError:
    """Return an error after which the SDKs do not send the request again: the agent would work again."""
    error.headers[_SHOULD_RETRY] = "false"
    return error
