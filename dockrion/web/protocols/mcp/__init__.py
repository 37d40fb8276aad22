"""`POST /mcp`: the Model Context Protocol, with the agent as a tool. Nothing is kept between two requests."""

from collections.abc import Callable
from typing import Any

from aiohttp import hdrs, web

import dockrion
from dockrion.errors import DockrionError
from dockrion.protocols.json_rpc import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Request,
    Response,
    RpcError,
    id_of,
    params_of,
    request_of,
    response_of,
    result_response,
)
from dockrion.protocols.mcp.envelope import (
    SESSION_HEADER,
    VERSIONS,
    Envelope,
    envelope_of,
    negotiated_version,
    session_headers,
)
from dockrion.protocols.mcp.requests import InitializeParams, ListParams
from dockrion.protocols.mcp.results import ResultForm, ServerInfo
from dockrion.protocols.mcp.tool import tool_of
from dockrion.web import idempotency
from dockrion.web.access import INVOKE
from dockrion.web.invoke import cancels_on_disconnect
from dockrion.web.protocols import json_rpc
from dockrion.web.protocols.mcp.answers import take_answer
from dockrion.web.protocols.mcp.calls import call_tool
from dockrion.web.responses import encoded_response
from dockrion.web.routes import Route
from dockrion.web.service import SERVICE, Service

_ID = web.RequestKey("mcp_id", object)  # of the request in the body
_HANDSHAKE = web.RequestKey("mcp_handshake", bool)
_CAPABILITIES: dict[str, Any] = {"tools": {}}
_Result = dict[str, Any]


async def handle(request: web.Request) -> web.StreamResponse:
    """Answer one request, or take the answer to one of this service."""
    cancels_on_disconnect(request), idempotency.key_of(request)  # malformed ones are refused in any message
    body = await json_rpc.read_body(request)
    if (response := response_of(body)) is not None:
        _envelope_of(request, response)
        await take_answer(request, response)
        return web.Response(status=202)
    request[_ID] = id_of(body)
    message = request_of(body)
    envelope = _envelope_of(request, message)
    request[_HANDSHAKE] = envelope.handshake
    if message.is_notification:  # none of them changes anything here
        return web.Response(status=202)
    form = ResultForm(None if envelope.handshake else _server_info(request.app[SERVICE]))
    if message.method == "initialize" and envelope.handshake:
        return _initialize(request.app[SERVICE], message)
    if message.method == "tools/call":
        return await call_tool(request, message, envelope, form)
    respond = (_WITH_HANDSHAKE if envelope.handshake else _WITHOUT_HANDSHAKE).get(message.method)
    if respond is None:
        raise RpcError(METHOD_NOT_FOUND, f"this service has no method {message.method!r:.100}")
    result = respond(request.app[SERVICE], message, form)
    return encoded_response(result_response(message.response_id, result))


def respond_to_error(request: web.Request, error: DockrionError) -> web.Response:
    """Return the response for the error of a request, secrets redacted.

    Versions with a handshake do not say which HTTP status an unknown method or wrong parameters have, and
    their clients take others than 200 for failures of the connection.
    """
    status = None
    if isinstance(error, RpcError) and error.rpc_code in (METHOD_NOT_FOUND, INVALID_PARAMS):
        status = 404 if error.rpc_code == METHOD_NOT_FOUND else 400
        if request.get(_HANDSHAKE, False):
            status = 200
    redactor = request.app[SERVICE].redactor
    return json_rpc.error_response(error, redactor, request_id=request.get(_ID), status=status)


def _envelope_of(request: web.Request, message: Request | Response) -> Envelope:
    return envelope_of(message, lambda name: request.headers.getall(name, []))


def _initialize(service: Service, message: Request) -> web.Response:
    params = params_of(message, InitializeParams)
    version = negotiated_version(params.protocol_version)
    result = {
        "protocolVersion": version,
        "capabilities": _CAPABILITIES,
        "serverInfo": _server_info(service),
    }
    headers = session_headers(version, params.capabilities)
    return encoded_response(result_response(message.response_id, result), headers=headers)


def _discover(_service: Service, _message: Request, form: ResultForm) -> _Result:
    return form.cached({"supportedVersions": VERSIONS, "capabilities": _CAPABILITIES})


def _ping(_service: Service, _message: Request, _form: ResultForm) -> _Result:
    return {}


def _list_tools(service: Service, message: Request, form: ResultForm) -> _Result:
    params_of(message, ListParams)
    service.runs.ready_agent()  # only then the schemas of a typed handler are known
    agent = service.dockfile.agent
    tool = tool_of(agent.name, agent.description, service.dockfile.io_schema)
    return form.cached({"tools": [service.redactor.mask_value(tool)]})


def _server_info(service: Service) -> ServerInfo:
    dockfile = service.dockfile
    return ServerInfo(dockfile.agent.name, dockfile.metadata.version or dockrion.__version__)


_Respond = Callable[[Service, Request, ResultForm], _Result]
_WITH_HANDSHAKE: dict[str, _Respond] = {
    "ping": _ping,
    "tools/list": _list_tools,
}
_WITHOUT_HANDSHAKE: dict[str, _Respond] = {"server/discover": _discover, "tools/list": _list_tools}
ROUTES = (Route(hdrs.METH_POST, "/mcp", handle, INVOKE, streams=True),)
EXPOSED_HEADERS = (SESSION_HEADER,)
ERROR_RESPONSES = {"/mcp": respond_to_error}
