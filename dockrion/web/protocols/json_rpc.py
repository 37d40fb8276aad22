"""JSON-RPC over HTTP, for the protocols that are called in it."""

from typing import Any

from aiohttp import web

from dockrion.errors import DockrionError, InvalidRequest
from dockrion.protocols import json_rpc
from dockrion.protocols.json_rpc import PARSE_ERROR, Id, RpcError
from dockrion.redaction import Redactor
from dockrion.web import payloads
from dockrion.web.responses import encoded_response


async def read_body(request: web.Request) -> Any:
    """Read a request's body, which is one message or none; see `json_rpc.request_of`.

    Raises:
        UnsupportedMediaType: It is not JSON.
        RpcError: It is empty or malformed.
    """
    try:
        body, _ = await payloads.read_json(request)
    except InvalidRequest as error:
        raise RpcError(PARSE_ERROR, error.message) from None
    return body


def error_response(
    error: DockrionError,
    redactor: Redactor,
    *,
    request_id: Id = None,
    status: int | None = None,
    code_and_data: tuple[int, Any] | None = None,
) -> web.Response:
    """Return the HTTP response for an error, secrets redacted.

    Args:
        error: The error.
        redactor: Masks secrets.
        request_id: The id of the request that it answers, None if that is unknown.
        status: The HTTP status, None for the error's own.
        code_and_data: The code and data of the error object, None for those of `protocols/json_rpc.py`.
    """
    code, data = code_and_data or (json_rpc.error_code(error), json_rpc.error_data(error))
    body = json_rpc.error_response(request_id, code, redactor.mask(error.message), redactor.mask_value(data))
    return encoded_response(body, status=status or error.status, headers=error.headers)
