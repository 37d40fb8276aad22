"""The `/invoke` endpoints: run the agent and return its output, or stream its events (pattern A)."""

import msgspec
from aiohttp import hdrs, web

from dockrion import ids
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import Run
from dockrion.events.control_frames import AuthExpired, Draining, Notice
from dockrion.openapi import models
from dockrion.web import idempotency, parameters, payloads
from dockrion.web.access import RUN_ID
from dockrion.web.http_streams import MEDIA_TYPES, HttpStream
from dockrion.web.responses import json_response
from dockrion.web.run_start import start_run
from dockrion.web.service import SERVICE
from dockrion.web.stored_invocation import invoke_once, invoke_stored
from dockrion.web.urls import events_url
from dockrion.wire import sse

_JSON = "application/json"  # the Accept header of `curl --json`, which gets SSE


async def invoke(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    service.runs.ready_agent()
    key = idempotency.key_of(request)
    call = await payloads.read_call(request, recorded=False)
    await service.rate_limiter.count(request)
    limit = service.dockfile.arguments.timeout_sec or None
    headers = None
    if key is not None:
        done, seconds, replayed = await invoke_once(request, call, key, limit)
        headers = idempotency.REPLAYED if replayed else None
    else:
        request[RUN_ID] = run_id = ids.uuid7()
        if service.backend.queue is None or service.runs.slots.free:
            done, seconds = await service.runs.invoke(call, run_id, limit)
        else:
            done, seconds = await invoke_stored(service, call, run_id, ids.new_incarnation(), limit)
    agent = service.dockfile.agent
    metadata = {"agent": agent.name, "framework": agent.framework, "latency_seconds": seconds}
    return json_response(
        models.Invoked(success=True, output=msgspec.Raw(done.output), metadata=done.metadata | metadata),
        headers=headers,
    )


async def invoke_stream(request: web.Request) -> web.StreamResponse:
    """Start a run whose first reader is its caller (pattern A)."""
    request.app[SERVICE].runs.ready_agent()
    media_type = parameters.preferred_media_type(request, (*MEDIA_TYPES, _JSON))
    cancel_on_disconnect = cancels_on_disconnect(request)
    key = idempotency.key_of(request)
    call = await payloads.read_call(request)
    record, replayed = await start_run(request, call, key=key, cancel_on_disconnect=cancel_on_disconnect)
    run = record.ref
    stream = HttpStream(
        request, MEDIA_TYPES.get(media_type, sse), run_headers(request, record, replayed=replayed)
    )
    last_frame = None
    try:
        last_frame = await stream.send_run(run, 0, timeout=None)
        return stream.response
    finally:
        if cancel_on_disconnect and not replayed:
            cancel_unless_resumable(request, run, last_frame)


def run_headers(request: web.Request, run: Run, *, replayed: bool) -> dict[str, str]:
    """Return the headers that tell the caller of a run where to resume its stream."""
    headers = dict(idempotency.REPLAYED) if replayed else {}
    if request.app[SERVICE].dockfile.streaming.async_runs:
        headers |= {ids.RUN_ID_HEADER: run.run_id, hdrs.LOCATION: events_url(request, run.run_id)}
    return headers


def cancels_on_disconnect(request: web.Request) -> bool:
    """Return whether the run is cancelled when its caller disconnects.

    Raises:
        InvalidRequest: `?on_disconnect=` is neither `cancel` nor `continue`.
    """
    choice = parameters.choice(request, "on_disconnect", ("cancel", "continue"))
    return (choice or request.app[SERVICE].dockfile.streaming.connection.on_disconnect) == "cancel"


def cancel_unless_resumable(request: web.Request, run: RunRef, last_frame: Notice | None) -> None:
    """Cancel a run whose caller has disconnected. Does nothing to a finished run.

    Args:
        request: The caller's request.
        run: The run.
        last_frame: The notice that ended the stream; after `auth_expired`, and when this process
            shuts down, the caller may resume.
    """
    service = request.app[SERVICE]
    resumable = isinstance(last_frame, AuthExpired | Draining) and service.dockfile.streaming.async_runs
    service.runs.caller_left(run, cancel=not resumable)
