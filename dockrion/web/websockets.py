"""Runs over WebSocket (RFC 6455): watching one, and asking the agent, each on one connection."""

from aiohttp import web

from dockrion.events.control_frames import Control
from dockrion.web import parameters, payloads
from dockrion.web.access import CALLER
from dockrion.web.invoke import cancel_unless_resumable, cancels_on_disconnect, start_run
from dockrion.web.service import SERVICE
from dockrion.web.websocket import Socket


async def watch(request: web.Request) -> web.StreamResponse:
    """Pattern B."""
    return await Socket(request).serve(_watch)


async def invoke(request: web.Request) -> web.StreamResponse:
    """Pattern A: the first message is the payload."""
    return await Socket(request).serve(_invoke)


async def _watch(socket: Socket) -> Control | None:
    request = socket.request
    after = parameters.position(request)
    timeout = parameters.timeout(request)
    access = request.app[SERVICE].access
    run = await access.readable_run(request)
    caller = request[CALLER]
    owns = not access.protected or (caller is not None and caller.owner == run.owner)
    return await socket.converse(run.run_id, after, timeout=timeout, may_cancel=owns)


async def _invoke(socket: Socket) -> Control | None:
    request = socket.request
    request.app[SERVICE].runs.ready_agent()
    cancel_on_disconnect = cancels_on_disconnect(request)
    text = await socket.first_text(request.app[SERVICE].dockfile.limits.body_timeout)
    if not isinstance(text, str):
        return text
    data = text.encode()
    call = await payloads.validated_call(request, payloads.decode_payload(request, data), len(data))
    run_id = await start_run(request, call, cancel_on_disconnect=cancel_on_disconnect)
    said = None
    try:
        said = await socket.converse(run_id, 0, timeout=None, may_cancel=True)
        return said
    finally:
        if cancel_on_disconnect:
            cancel_unless_resumable(request, run_id, said)
