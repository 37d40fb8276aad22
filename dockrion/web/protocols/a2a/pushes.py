"""Push notifications of A2A: where clients want to be told how the states of their tasks change."""

from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from dockrion.errors import InvalidRequest
from dockrion.protocols.a2a import errors
from dockrion.protocols.a2a.objects import Version
from dockrion.protocols.a2a.push import Push, marked_url, push_of
from dockrion.protocols.a2a.requests import PushParams, SendParams
from dockrion.protocols.json_rpc import INVALID_PARAMS, Request, RpcError, params_of, result_response
from dockrion.web.protocols.a2a.access import owned_task
from dockrion.web.responses import encoded_response
from dockrion.web.service import SERVICE

if TYPE_CHECKING:  # webhooks are loaded only if the Dockfile has some
    from dockrion.webhooks.allowed_hosts import AllowedHosts


async def get_push(request: web.Request, rpc: Request, version: Version) -> web.StreamResponse:
    """Return where the states of a task are told."""
    task_id, push = await _push_of(request, rpc)
    if push is None:
        raise RpcError(errors.TASK_NOT_FOUND, "this task has no push notifications")
    return encoded_response(result_response(rpc.response_id, push.written(task_id, version)))


async def list_pushes(request: web.Request, rpc: Request, version: Version) -> web.StreamResponse:
    """Return all of these: none or one."""
    task_id, push = await _push_of(request, rpc)
    configs = [] if push is None else [push.written(task_id, version)]
    result = {"configs": configs} if version == "1.0" else configs
    return encoded_response(result_response(rpc.response_id, result))


async def refuse_change(request: web.Request, _rpc: Request, _version: Version) -> NoReturn:
    _allowed_hosts(request)
    raise unchangeable()


def unchangeable() -> RpcError:
    """Return the refusal of a configuration that does not come with the message that begins a task."""
    message = "push notifications are set with the message that begins a task, and not changed later"
    return RpcError(errors.UNSUPPORTED_OPERATION, message)


def webhook_url_of(request: web.Request, params: SendParams, version: Version) -> str | None:
    """Return where the client wants to be told of its task, None for nowhere."""
    if (config := params.options.push) is None:
        return None
    try:
        _allowed_hosts(request).check_url(config.url)
    except InvalidRequest:
        message = "push notifications: the URL is none of a host that this service sends webhooks to"
        raise RpcError(INVALID_PARAMS, message) from None
    output_path = request.app[SERVICE].dockfile.agent.chat_spec.output
    return marked_url(Push(config, version, params.message.context_id, output_path))


def _allowed_hosts(request: web.Request) -> "AllowedHosts":
    webhooks = request.app[SERVICE].webhooks
    if webhooks is None or webhooks.allowed_hosts is None:
        raise RpcError(errors.NO_PUSH, "this service sends no push notifications; subscribe to the task")
    return webhooks.allowed_hosts


async def _push_of(request: web.Request, rpc: Request) -> tuple[str, Push | None]:
    _allowed_hosts(request)
    params = params_of(rpc, PushParams)
    run = await owned_task(request, params.task_id or params.id)
    return run.run_id, push_of(run.webhook_url)
