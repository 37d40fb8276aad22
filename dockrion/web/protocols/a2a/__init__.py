"""The endpoints of A2A: `POST /a2a`, where other agents call, and the agent card."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
from aiohttp import ETag, hdrs, web

from dockrion.errors import DockrionError
from dockrion.protocols.a2a import errors
from dockrion.protocols.a2a.card import CARD_PATH, PATH, agent_card
from dockrion.protocols.a2a.objects import Version
from dockrion.protocols.json_rpc import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Id,
    Request,
    RpcError,
    id_of,
    request_of,
)
from dockrion.web.access import PUBLIC, READ_RUNS
from dockrion.web.protocols import json_rpc
from dockrion.web.protocols.a2a import listing, pushes, tasks
from dockrion.web.responses import encoded_response, is_known
from dockrion.web.routes import Route
from dockrion.web.service import SERVICE
from dockrion.web.urls import absolute_url

_VERSION = "A2A-Version"
_CACHE_CARD = "private, max-age=300"  # its URLs depend on headers of the request, such as those of proxies
_MAJOR: dict[Version, str] = {"1.0": "1", "0.3": "0"}


class _Method(NamedTuple):
    """A method: what carries it out, and the version of the protocol that calls it so."""

    handle: Callable[[web.Request, Request, Version], Awaitable[web.StreamResponse]]
    version: Version


async def call(request: web.Request) -> web.StreamResponse:
    """Carry out a request of JSON-RPC."""
    body = await json_rpc.read_body(request)
    try:
        rpc = request_of(body)
        if rpc.is_notification:
            raise RpcError(INVALID_REQUEST, "send an id; this service has no notifications")
        method = _METHODS.get(rpc.method)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, f"there is no method {rpc.method:.100}")
        _check_version(request, method.version)
        return await method.handle(request, rpc, method.version)
    except DockrionError as error:
        if error.status == DockrionError.status:  # a failure of the service, which has to be logged
            raise
        return _error_response(request, error, id_of(body), errors.error_status(error.status))


async def card(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    body = agent_card(service.dockfile, absolute_url(request, ""))
    content = msgspec.json.encode(service.redactor.mask_value(body))
    tag = ETag(hashlib.sha256(content).hexdigest()[:32])
    headers: dict[str, str] = {hdrs.CACHE_CONTROL: _CACHE_CARD}
    if is_known(request, tag):
        response = web.Response(status=304, headers=headers)
    else:
        response = encoded_response(content, headers=headers)
    response.etag = tag
    return response


def _check_version(request: web.Request, version: Version) -> None:
    """Refuse a request whose header names a version that does not have its method."""
    named = request.headers.get(_VERSION)
    if named and named.partition(".")[0] != _MAJOR[version]:
        message = f"the method is that of A2A {version}, but {_VERSION} is {named:.20}"
        raise RpcError(errors.VERSION_NOT_SUPPORTED, message)


def _refusal(request: web.Request, error: DockrionError) -> web.Response:
    """Return the response to what is no request of JSON-RPC, or not allowed to be one."""
    return _error_response(request, error)


def _error_response(
    request: web.Request, error: DockrionError, request_id: Id = None, status: int | None = None
) -> web.Response:
    redactor, found = request.app[SERVICE].redactor, (errors.error_code(error), errors.error_data_of(error))
    return json_rpc.error_response(error, redactor, request_id=request_id, status=status, code_and_data=found)


_METHODS = {
    "SendMessage": _Method(tasks.send, "1.0"),
    "SendStreamingMessage": _Method(tasks.stream, "1.0"),
    "GetTask": _Method(tasks.get, "1.0"),
    "ListTasks": _Method(listing.list_tasks, "1.0"),
    "CancelTask": _Method(tasks.cancel, "1.0"),
    "SubscribeToTask": _Method(tasks.subscribe, "1.0"),
    "CreateTaskPushNotificationConfig": _Method(pushes.refuse_change, "1.0"),
    "GetTaskPushNotificationConfig": _Method(pushes.get_push, "1.0"),
    "ListTaskPushNotificationConfigs": _Method(pushes.list_pushes, "1.0"),
    "DeleteTaskPushNotificationConfig": _Method(pushes.refuse_change, "1.0"),
    "GetExtendedAgentCard": _Method(tasks.refuse_extended_card, "1.0"),
    "message/send": _Method(tasks.send, "0.3"),
    "message/stream": _Method(tasks.stream, "0.3"),
    "tasks/get": _Method(tasks.get, "0.3"),
    "tasks/cancel": _Method(tasks.cancel, "0.3"),
    "tasks/resubscribe": _Method(tasks.subscribe, "0.3"),
    "tasks/pushNotificationConfig/set": _Method(pushes.refuse_change, "0.3"),
    "tasks/pushNotificationConfig/get": _Method(pushes.get_push, "0.3"),
    "tasks/pushNotificationConfig/list": _Method(pushes.list_pushes, "0.3"),
    "tasks/pushNotificationConfig/delete": _Method(pushes.refuse_change, "0.3"),
    "agent/getAuthenticatedExtendedCard": _Method(tasks.refuse_extended_card, "0.3"),
}
ERROR_RESPONSES = {PATH: _refusal}
ROUTES = (
    Route(hdrs.METH_POST, PATH, call, READ_RUNS, streams=True),
    Route(hdrs.METH_GET, CARD_PATH, card, PUBLIC),
)
