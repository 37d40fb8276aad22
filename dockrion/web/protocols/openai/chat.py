"""OpenAI's chat completions: a run of the agent, whole or as a stream that can be resumed."""

from typing import Any

import msgspec
from aiohttp import hdrs, web

from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import Run
from dockrion.errors import DockrionError, Gone, ServiceUnavailable
from dockrion.events import MAX_SEQUENCE
from dockrion.protocols.openai import chat
from dockrion.protocols.openai.chat_parts import Failed, ReplyOptions
from dockrion.protocols.openai.chat_positions import CountingEncoder, chunks_after
from dockrion.protocols.openai.chat_reply import CANCELLED
from dockrion.protocols.openai.chat_requests import ChatRequest, conversation_of
from dockrion.protocols.openai.errors import refuse
from dockrion.protocols.reply import INCOMPLETE
from dockrion.runs import outcome
from dockrion.web import parameters
from dockrion.web.access import INVOKE, READ_RUNS
from dockrion.web.invoke import cancels_on_disconnect, run_headers
from dockrion.web.protocols.openai.errors import not_retried
from dockrion.web.protocols.resuming import Resumption, final_state, resume
from dockrion.web.protocols.starting import read_request_and_fields, start_conversation_run
from dockrion.web.protocols.stream import ProtocolStream, final_state_of_new_run, stream_new_run
from dockrion.web.responses import json_response
from dockrion.web.routes import Route
from dockrion.web.service import SERVICE, Service

_PROTOCOL = "chat"  # the field of `Run.protocol` that has what the request said


async def create_completion(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    body, fields = await read_request_and_fields(request, ChatRequest)
    agent_fields = (service.dockfile.io_schema.input or {}).get("properties", {})
    cancel = cancels_on_disconnect(request)
    run, replayed = await start_conversation_run(
        request,
        conversation_of(body, fields, agent_fields),
        protocol={_PROTOCOL: body.stored()},
        cancel_on_disconnect=cancel,
    )
    cancel = cancel and not replayed
    headers = run_headers(request, run, replayed=replayed)
    if body.stream:
        encoder = _chunk_encoder(service, run)
        return await stream_new_run(request, run, encoder, headers=headers, cancel_on_disconnect=cancel)
    encoder_of_all = chat.CompletionEncoder(_options(service, run))
    state = await final_state_of_new_run(request, run, encoder_of_all, cancel_on_disconnect=cancel)
    return _completion(service, run, state, headers)


async def retrieve_completion(request: web.Request) -> web.StreamResponse:
    """Return the completion that a run is once it is over, or the rest of its stream."""
    service = request.app[SERVICE]
    streamed = parameters.boolean(request, "stream")
    number = parameters.integer(request, "starting_after", 0, 0, MAX_SEQUENCE)
    run = await service.access.readable_run(request)
    ref = run.ref
    if not streamed:
        state = await final_state(request, ref, chat.CompletionEncoder(_options(service, run)))
        return _completion(service, run, state)
    encoder = _chunk_encoder(service, run)
    del run  # its output may be large
    resumption = await _resumption(service, ref, encoder, number) if number else None
    stream = ProtocolStream(request, encoder)
    await stream.send_events(ref, resumption)
    return stream.response


def _completion(
    service: Service, run: Run, state: chat.CompletionState, headers: dict[str, str] | None = None
) -> web.Response:
    if state.end is None:
        raise ServiceUnavailable("this run is no longer stored; send the request again")
    if isinstance(state.end, Failed):
        raise not_retried(_error_of(state.end))
    return json_response(chat.completion(_head(service, run), state, state.end), headers=headers)


def _error_of(failed: Failed) -> DockrionError:
    if failed.code == CANCELLED:
        return outcome.to_exception(outcome.Cancelled(failed.message))
    return outcome.to_exception(outcome.Failed(failed.message, failed.code))


def _chunk_encoder(service: Service, run: Run) -> chat.ChunkEncoder:
    head = chat.chunk_head(_head(service, run))
    return chat.ChunkEncoder(head, _options(service, run), _stored(run).get("usage", False))


def _options(service: Service, run: Run) -> ReplyOptions:
    dockfile = service.dockfile
    client_tools = frozenset(_stored(run).get("tools", ()))
    return ReplyOptions(dockfile.agent.chat_spec.output, dockfile.openai.show_tools, client_tools)


def _head(service: Service, run: Run) -> dict[str, Any]:
    return chat.head_of(run, _stored(run).get("model") or service.dockfile.agent.name)


def _stored(run: Run) -> dict[str, Any]:
    """Return what the request said; of a run that was not started as a completion, nothing."""
    stored: dict[str, Any] = (run.protocol or {}).get(_PROTOCOL, {})
    return stored


async def _resumption(service: Service, run: RunRef, encoder: chat.ChunkEncoder, number: int) -> Resumption:
    """Return where a reader goes on.

    Args:
        service: The service.
        run: The run.
        encoder: Encodes its events.
        number: How many chunks the reader has.

    Raises:
        Gone: Events before that are no longer stored, so that nobody knows how many chunks they were.
        InvalidRequest: There are not so many chunks yet.
    """
    async with service.replays:
        found = await resume(service.backend, run, CountingEncoder(encoder), chunks_after(number))
    if found.state.ended:
        raise Gone(INCOMPLETE)
    if number > found.state.chunks:
        refuse("starting_after", f"there are {found.state.chunks} chunks so far")
    return msgspec.structs.replace(found, state=found.state.reply, before=found.before.reply)


_PATH = "/v1/chat/completions"
ROUTES = (
    Route(hdrs.METH_POST, _PATH, create_completion, INVOKE, streams=True),
    Route(hdrs.METH_GET, f"{_PATH}/chatcmpl-{{run_id}}", retrieve_completion, READ_RUNS, streams=True),
)
