"""The endpoints of AG-UI: `POST /ag-ui`, and `GET /ag-ui/runs/{run_id}` to go on reading."""

from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import hdrs, web

from dockrion.backends.run_log import Run
from dockrion.errors import InvalidRequest, RunNotFound
from dockrion.ids import RUN_ID_PATTERN
from dockrion.protocols.ag_ui.encoder import RunEncoder
from dockrion.protocols.ag_ui.events import RunIds
from dockrion.protocols.ag_ui.positions import reopening
from dockrion.protocols.ag_ui.requests import MAX_ID, ResumeEntry, RunAgentInput, conversation_of
from dockrion.protocols.ag_ui.writer import Options
from dockrion.protocols.numbered_frames import Cursor, parse_cursor
from dockrion.web import idempotency, parameters
from dockrion.web.access import INVOKE, READ_EVENTS
from dockrion.web.invoke import cancels_on_disconnect, run_headers
from dockrion.web.protocols import questions
from dockrion.web.protocols.ag_ui import interrupts
from dockrion.web.protocols.resuming import Resumption, resume
from dockrion.web.protocols.starting import read_request, start_conversation_run
from dockrion.web.protocols.stream import ProtocolStream, stream_new_run
from dockrion.web.routes import Route
from dockrion.web.service import SERVICE
from dockrion.web.urls import url_of

_THREAD, _RUN, _BEFORE_1_0 = "threadId", "runId", "before1.0"  # of `Run.protocol`


async def run_agent(request: web.Request) -> web.StreamResponse:
    """Start a run, or answer what one has asked, and stream its events."""
    cancel_on_disconnect = cancels_on_disconnect(request)
    body = await read_request(request, RunAgentInput)
    if body.resume:
        return await _answer_and_stream(
            request, body, body.resume[0], cancel_on_disconnect=cancel_on_disconnect
        )
    run, replayed = await start_conversation_run(
        request,
        conversation_of(body),
        protocol=_protocol(body),
        run_id=await _free_run_id(request, body.run_id),
        cancel_on_disconnect=cancel_on_disconnect,
    )
    answered = await questions.last_answered(request.app[SERVICE].backend, run) if replayed else 0
    return await stream_new_run(
        request,
        run,
        _encoder(request, run, _protocol(body), answered),
        headers=_headers(request, run, replayed=replayed),
        cancel_on_disconnect=cancel_on_disconnect and not replayed,
    )


async def resume_run(request: web.Request) -> web.StreamResponse:
    """Stream the events of a run after the frame of a `Last-Event-ID`, or from its beginning."""
    service = request.app[SERVICE]
    timeout = parameters.timeout(request)
    run_id = request.query.get(_RUN)
    if run_id is not None and len(run_id) > MAX_ID:
        raise InvalidRequest(f"?{_RUN}= must have at most {MAX_ID} characters")
    last_id = request.headers.get("Last-Event-ID")
    cursor = parse_cursor(last_id) if last_id else Cursor(0)
    run = await service.access.readable_run(request)
    protocol = (run.protocol or {}) | ({} if run_id is None else {_RUN: run_id})
    answered = await questions.last_answered(service.backend, run)
    encoder = _encoder(request, run, protocol, answered)
    if cursor.sequence > run.last_sequence:  # it has read another run with this id
        cursor = Cursor(0)
    resumption = await _resumption(request, run, encoder, cursor)
    at_end = resumption.state.ended or (run.finished and resumption.after == run.last_sequence)
    if at_end and not resumption.frames:
        return web.Response(status=204)  # EventSource stops on this
    stream = ProtocolStream(request, encoder)
    await stream.send_events(run.ref, resumption, timeout=timeout)
    return stream.response


async def _answer_and_stream(
    request: web.Request, body: RunAgentInput, entry: ResumeEntry, *, cancel_on_disconnect: bool
) -> web.StreamResponse:
    """Answer what a run has asked, and stream what follows as another AG-UI run."""
    service = request.app[SERVICE]
    run = await interrupts.owned_run(request, entry)
    if (run.protocol or {}).get(_THREAD, body.thread_id) != body.thread_id:
        raise InvalidRequest("resume: this interrupt belongs to another thread")
    answered = await interrupts.answer(request, run, entry)
    encoder = _encoder(request, run, _protocol(body), answered)
    resumption = await _resumption(request, run, encoder, Cursor(answered))
    if cancel_on_disconnect:
        service.runs.caller_returned(run.incarnation)
    return await stream_new_run(
        request,
        run,
        encoder,
        resumption,
        headers=_headers(request, run, replayed=False, run_id=body.run_id),
        cancel_on_disconnect=cancel_on_disconnect,
    )


async def _resumption(request: web.Request, run: Run, encoder: RunEncoder, cursor: Cursor) -> Resumption:
    """Return where a reader goes on, with what is opened again for it."""
    service = request.app[SERVICE]
    async with service.replays:
        found = await resume(service.backend, run.ref, encoder, cursor.skip)
    opened = reopening(encoder, found.before, found.skipped)
    at_end = found.state.ended and not found.frames
    return found if at_end else msgspec.structs.replace(found, frames=opened + found.frames)


async def _free_run_id(request: web.Request, run_id: str) -> str | None:
    """Return the caller's run id if it can be that of its run, None if the service has to choose one.

    A request that is sent again has the run of the first one, unless that was cancelled as its caller left.
    """
    service = request.app[SERVICE]
    if not (service.dockfile.streaming.allow_client_ids and RUN_ID_PATTERN.fullmatch(run_id)):
        return None
    try:
        await service.backend.get(run_id)
    except RunNotFound:
        return run_id
    repeated = await idempotency.repeated_run(request, run_id, await idempotency.digest_of(request))
    return None if repeated is None or repeated.status == "cancelled" else run_id


def _protocol(body: RunAgentInput) -> dict[str, Any]:
    """Return what encoding the events of a run needs of the request for it."""
    before_1_0 = body.protocol_version is None
    return {_THREAD: body.thread_id, _RUN: body.run_id, _BEFORE_1_0: before_1_0}


def _encoder(request: web.Request, run: Run, protocol: dict[str, Any], answered: int = 0) -> RunEncoder:
    ids = RunIds(run.run_id, protocol.get(_THREAD, run.run_id), protocol.get(_RUN, run.run_id))
    output_path = request.app[SERVICE].dockfile.agent.chat_spec.output
    return RunEncoder(ids, Options(answered, output_path, protocol.get(_BEFORE_1_0, False)))


def _headers(request: web.Request, run: Run, *, replayed: bool, run_id: str | None = None) -> dict[str, str]:
    headers = run_headers(request, run, replayed=replayed)
    if hdrs.LOCATION in headers:
        query = "" if run_id is None else f"?{_RUN}={quote(run_id, safe='')}"
        headers[hdrs.LOCATION] = url_of(request, f"/ag-ui/runs/{run.run_id}{query}")
    return headers


ROUTES = (
    Route(hdrs.METH_POST, "/ag-ui", run_agent, INVOKE, streams=True),
    Route(hdrs.METH_GET, "/ag-ui/runs/{run_id}", resume_run, READ_EVENTS, streams=True),
)
