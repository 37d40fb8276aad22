"""OpenAI's Responses API: a run of the agent, as a response that can be streamed, resumed and cancelled."""

from contextlib import suppress

import msgspec
from aiohttp import hdrs, web

from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import Run
from dockrion.errors import Gone, InvalidRequest
from dockrion.events import MAX_SEQUENCE
from dockrion.protocols.openai.errors import refuse
from dockrion.protocols.openai.response_object import ResponseInfo
from dockrion.protocols.openai.response_requests import ResponseRequest, conversation_of
from dockrion.protocols.openai.responses import LOST, ResponseEncoder, frames_after
from dockrion.web import parameters
from dockrion.web.access import INVOKE, READ_RUNS
from dockrion.web.invoke import cancels_on_disconnect, run_headers
from dockrion.web.protocols.resuming import Resumption, resume, stored_state
from dockrion.web.protocols.starting import read_request_and_fields, start_conversation_run
from dockrion.web.protocols.stream import ProtocolStream, final_state_of_new_run, stream_new_run
from dockrion.web.responses import encoded_response
from dockrion.web.routes import Route
from dockrion.web.service import SERVICE, Service
from dockrion.web.urls import path_without_root, url_of

_PROTOCOL = "response"  # the field of `Run.protocol` that has what the request said


async def create_response(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    body, fields = await read_request_and_fields(request, ResponseRequest)
    conversation = conversation_of(
        body, fields, (service.dockfile.io_schema.input or {}).get("properties", {})
    )
    cancel = cancels_on_disconnect(request) and not body.background
    protocol = {_PROTOCOL: body.stored()}
    run, replayed = await start_conversation_run(
        request, conversation, protocol=protocol, cancel_on_disconnect=cancel
    )
    cancel = cancel and not replayed
    headers = run_headers(request, run, replayed=replayed)
    if body.stream:
        encoder = _encoder(service, run)
        opening = _opening(encoder, None)
        return await stream_new_run(
            request, run, encoder, headers=headers, resumption=opening, cancel_on_disconnect=cancel
        )
    if body.background:
        return await _response(service, run, headers)
    encoder = _encoder(service, run, after_gap=True)
    state = await final_state_of_new_run(request, run, encoder, cancel_on_disconnect=cancel)
    return encoded_response(encoder.response(state), headers=headers)


async def retrieve_response(request: web.Request) -> web.StreamResponse:
    """Return a response as it is now, or its stream."""
    service = request.app[SERVICE]
    streamed = parameters.boolean(request, "stream")
    number = None
    if "starting_after" in request.query:
        number = parameters.integer(request, "starting_after", 0, 0, MAX_SEQUENCE)
    run = await service.access.readable_run(request)
    if not streamed:
        return await _response(service, run)
    encoder, ref = _encoder(service, run), run.ref
    del run  # its output may be large
    resumption = await _resumption(service, ref, encoder, number)
    stream = ProtocolStream(request, encoder)
    await stream.send_events(ref, resumption)
    return stream.response


async def cancel_response(request: web.Request) -> web.Response:
    """Cancel a response, and return it; also one that is over already."""
    service = request.app[SERVICE]
    run = await service.access.owned_run(request)
    if not run.finished:
        with suppress(InvalidRequest):  # it has ended meanwhile
            await service.runs.cancel(run.run_id, None, run.incarnation)
    return await _response(service, run)


async def delete_response(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    await service.access.owned_run(request)
    seconds = service.dockfile.streaming.redis.stream_ttl_seconds
    raise InvalidRequest(
        f"responses cannot be deleted; they expire {seconds} s after their end. To end one, send POST "
        f"{url_of(request, path_without_root(request))}/cancel"
    )


async def _response(service: Service, run: Run, headers: dict[str, str] | None = None) -> web.Response:
    """Return what a run comes to now."""
    encoder = _encoder(service, run, after_gap=True)
    async with service.replays:
        state = await stored_state(service.backend, run.ref, encoder)
        return encoded_response(encoder.response(state), headers=headers)


def _encoder(service: Service, run: Run, *, after_gap: bool = False) -> ResponseEncoder:
    """Return the encoder of a run, which may have been started otherwise than as a response."""
    agent, stored = service.dockfile.agent, (run.protocol or {}).get(_PROTOCOL, {})
    info = ResponseInfo(
        run.run_id,
        int(run.created_at.timestamp()),
        msgspec.json.encode(agent.name),
        stored.get("model") or agent.name,
        msgspec.json.encode(stored.get("metadata", {})),
        stored.get("background", True),
        frozenset(stored.get("tools", ())),
        agent.chat_spec.output,
    )
    return ResponseEncoder(info, after_gap)


async def _resumption(
    service: Service, run: RunRef, encoder: ResponseEncoder, number: int | None
) -> Resumption:
    """Return where a reader goes on.

    Args:
        service: The service.
        run: The run.
        encoder: Encodes its events.
        number: The number of the last frame that the reader has, None for none.

    Raises:
        Gone: Events before that are no longer stored, so that nobody knows the numbers of those after it.
        InvalidRequest: There is no such frame yet.
    """
    start = encoder.start()
    if number is None or number < start.frames:
        return _opening(encoder, number)
    async with service.replays:
        found = await resume(service.backend, run, encoder, frames_after(number))
    if found.state.lost:
        raise Gone(LOST)
    if number >= found.state.frames:
        refuse("starting_after", f"the last event so far is {found.state.frames - 1}")
    return found


def _opening(encoder: ResponseEncoder, number: int | None) -> Resumption:
    """Return the beginning of a stream for a reader who has at most frames before the first event."""
    start, frames = encoder.start(), encoder.opening().split(b"\n\n")[:-1]
    skipped = 0 if number is None else number + 1
    rest = b"".join(frame + b"\n\n" for frame in frames[skipped:])
    return Resumption(0, start, rest, start)


_RESPONSE = "/v1/responses/resp_{run_id}"
ROUTES = (
    Route(hdrs.METH_POST, "/v1/responses", create_response, INVOKE, streams=True),
    Route(hdrs.METH_GET, _RESPONSE, retrieve_response, READ_RUNS, streams=True),
    Route(hdrs.METH_POST, f"{_RESPONSE}/cancel", cancel_response, INVOKE),
    Route(hdrs.METH_DELETE, _RESPONSE, delete_response, INVOKE),
)
