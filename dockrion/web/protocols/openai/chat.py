"""`POST /v1/chat/completions`: a run of the agent, as a chat completion."""

from aiohttp import hdrs, web

from dockrion.errors import DockrionError, ServiceUnavailable
from dockrion.protocols.openai import chat
from dockrion.protocols.openai.chat_parts import Failed, ReplyOptions
from dockrion.protocols.openai.chat_reply import CANCELLED
from dockrion.protocols.openai.chat_requests import ChatRequest, conversation_of
from dockrion.runs import outcome
from dockrion.web.access import INVOKE
from dockrion.web.invoke import cancels_on_disconnect, run_headers
from dockrion.web.protocols.openai.errors import not_retried
from dockrion.web.protocols.starting import read_request_and_fields, start_conversation_run
from dockrion.web.protocols.stream import final_state_of_new_run, stream_new_run
from dockrion.web.responses import json_response
from dockrion.web.routes import Route
from dockrion.web.service import SERVICE


async def create_completion(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    dockfile = service.dockfile
    body, fields = await read_request_and_fields(request, ChatRequest)
    conversation = conversation_of(body, fields, (dockfile.io_schema.input or {}).get("properties", {}))
    cancel = cancels_on_disconnect(request)
    run, replayed = await start_conversation_run(request, conversation, cancel_on_disconnect=cancel)
    cancel = cancel and not replayed
    options = ReplyOptions(dockfile.agent.chat_spec.output, dockfile.openai.show_tools, body.tool_names)
    head = chat.head_of(run, body.model or dockfile.agent.name)
    headers = run_headers(request, run, replayed=replayed)
    if body.stream:
        encoder = chat.ChunkEncoder(chat.chunk_head(head), options, body.includes_usage)
        return await stream_new_run(request, run, encoder, headers=headers, cancel_on_disconnect=cancel)
    state = await final_state_of_new_run(
        request, run, chat.CompletionEncoder(options), cancel_on_disconnect=cancel
    )
    if state.end is None:
        raise ServiceUnavailable("this run is no longer stored; send the request again")
    if isinstance(state.end, Failed):
        raise not_retried(_error_of(state.end))
    return json_response(chat.completion(head, state, state.end), headers=headers)


def _error_of(failed: Failed) -> DockrionError:
    if failed.code == CANCELLED:
        return outcome.to_exception(outcome.Cancelled(failed.message))
    return outcome.to_exception(outcome.Failed(failed.message, failed.code))


ROUTES = (Route(hdrs.METH_POST, "/v1/chat/completions", create_completion, INVOKE, streams=True),)
