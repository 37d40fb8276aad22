"""Runs over WebSocket (RFC 6455): watching one, and asking the agent, each on one connection."""

from aiohttp import web

from dockrion.events.control_frames import Control
from dockrion.web import payloads
from dockrion.web.access import CALLER
from dockrion.web.invoke import abandon_unless_resumed, abandoned_when_left, begin
from dockrion.web.ownership import readable
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
    after = payloads.position(request)
    timeout = payloads.timeout(request)
    run = await readable(request)
    caller = request[CALLER]
    owns = not request.app[SERVICE].access.protected or (caller is not None and caller.owner == run.owner)
    return await socket.converse(run.run_id, after, timeout=timeout, may_cancel=owns)


async def _invoke(socket: Socket) -> Control | None:
    request = socket.request
    request.app[SERVICE].runs.ready_agent()
    abandon = abandoned_when_left(request)
    text = await socket.first_text(request.app[SERVICE].dockfile.limits.body_timeout)
    if not isinstance(text, str):
        return text
    data = text.encode()
    call = await payloads.checked_call(request, payloads.payload(request, data), len(data))
    run_id = await begin(request, call, abandon=abandon)
    said = None
    try:
        said = await socket.converse(run_id, 0, timeout=None, may_cancel=True)
        return said
    finally:
        if abandon:
            abandon_unless_resumed(request, run_id, said)
