"""The endpoints of a chat page with the Vercel AI SDK: `useChat` and its `DefaultChatTransport`."""

from contextlib import suppress

from aiohttp import hdrs, web

from dockrion.backends.run_log import Run
from dockrion.errors import DockrionError, RunNotFound
from dockrion.protocols.vercel_ai.encoder import MessageEncoder
from dockrion.protocols.vercel_ai.requests import ChatRequest, conversation_of
from dockrion.web.access import INVOKE, RUN_ID
from dockrion.web.invoke import cancels_on_disconnect, run_headers
from dockrion.web.protocols.starting import read_request_and_fields, start_conversation_run
from dockrion.web.protocols.stream import ProtocolStream, stream_new_run
from dockrion.web.protocols.vercel_ai.active_runs import active_run, set_active_run
from dockrion.web.routes import Route
from dockrion.web.service import SERVICE

_MESSAGE_ID = "message_id"
_HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}


async def chat(request: web.Request) -> web.StreamResponse:
    """Start the run that answers a message, and stream its reply."""
    service = request.app[SERVICE]
    cancel_on_disconnect = cancels_on_disconnect(request)
    body, fields = await read_request_and_fields(request, ChatRequest)
    continued = body.continued_message_id
    run, replayed = await start_conversation_run(
        request,
        conversation_of(body, fields),
        protocol=None if continued is None else {_MESSAGE_ID: continued},
        cancel_on_disconnect=cancel_on_disconnect,
    )
    cancel_on_disconnect = cancel_on_disconnect and not replayed
    if body.id is not None:
        try:
            await set_active_run(request, body.id, run)
        except BaseException as error:  # the caller gets no reply
            stopped = cancel_on_disconnect or (isinstance(error, DockrionError) and not replayed)
            if stopped:
                service.runs.caller_left(run.ref, cancel=True)
            raise
    headers = _HEADERS | run_headers(request, run, replayed=replayed)
    response = await stream_new_run(
        request, run, _encoder(request, run), headers=headers, cancel_on_disconnect=cancel_on_disconnect
    )
    if body.id is not None:
        await _forget_finished_run(request, body.id)
    return response


async def resume(request: web.Request) -> web.StreamResponse:
    """Stream the reply that a chat waits for, from its beginning, as the SDK expects it."""
    chat_id = request.match_info["chat_id"]
    run = await active_run(request, chat_id)
    if run is None:
        return web.Response(status=204)
    request[RUN_ID] = run.run_id
    headers = _HEADERS | run_headers(request, run, replayed=False)
    stream = ProtocolStream(request, _encoder(request, run), headers)
    try:
        await stream.send_events(run.ref)
    except RunNotFound:
        return web.Response(status=204)
    await _forget_finished_run(request, chat_id)
    return stream.response


async def _forget_finished_run(request: web.Request, chat_id: str) -> None:
    with suppress(DockrionError):  # the reply is sent, and the claim has an end
        await active_run(request, chat_id)


def _encoder(request: web.Request, run: Run) -> MessageEncoder:
    message_id = (run.protocol or {}).get(_MESSAGE_ID, run.run_id)
    return MessageEncoder(run.run_id, message_id, request.app[SERVICE].dockfile.agent.chat_spec.output)


ROUTES = (
    Route(hdrs.METH_POST, "/api/chat", chat, INVOKE, streams=True),
    Route(hdrs.METH_GET, "/api/chat/{chat_id}/stream", resume, INVOKE, streams=True),
)
