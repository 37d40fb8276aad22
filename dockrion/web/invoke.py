"""Asking the agent and waiting for it: `/invoke`, and pattern A."""

import msgspec
from aiohttp import hdrs, web

from dockrion import ids
from dockrion.events.control_frames import AuthExpired, Control
from dockrion.openapi import models
from dockrion.runs.agent import Call
from dockrion.web import payloads
from dockrion.web.http_streams import MEDIA_TYPES, HttpStream
from dockrion.web.parameters import negotiated
from dockrion.web.responses import answer
from dockrion.web.service import RUN_ID, SERVICE
from dockrion.wire import sse

_JSON = "application/json"  # which `curl --json` says it accepts, whatever it is about to watch


async def invoke(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    service.runs.ready_agent()
    call = await payloads.call(request)
    await service.rates.count(request)
    request[RUN_ID] = run_id = ids.uuid7()
    limit = service.dockfile.arguments.timeout_sec or None
    done, seconds = await service.runs.invoke(call, run_id, limit)
    agent = service.dockfile.agent
    metadata = {"agent": agent.name, "framework": agent.framework, "latency_seconds": seconds}
    return answer(
        models.Invoked(success=True, output=msgspec.Raw(done.output), metadata=done.metadata | metadata)
    )


async def invoke_stream(request: web.Request) -> web.StreamResponse:
    """Pattern A: a run whose first reader is its caller."""
    request.app[SERVICE].runs.ready_agent()
    media_type = negotiated(request, (*MEDIA_TYPES, _JSON))
    abandon = abandoned_when_left(request)
    run_id = await begin(request, await payloads.call(request), abandon=abandon)
    headers = None
    if request.app[SERVICE].dockfile.streaming.async_runs:
        headers = {"X-Run-Id": run_id, hdrs.LOCATION: f"/runs/{run_id}/events"}
    stream = HttpStream(request, MEDIA_TYPES.get(media_type, sse), headers)
    said = None
    try:
        said = await stream.carry(run_id, 0, timeout=None)
        return stream.response
    finally:
        if abandon:
            abandon_unless_resumed(request, run_id, said)


def abandoned_when_left(request: web.Request) -> bool:
    """Tell whether the run is to be cancelled when its caller leaves.

    Raises:
        InvalidRequest: The query asks for neither.
    """
    asked = payloads.choice(request, "on_disconnect", ("cancel", "continue"))
    return (asked or request.app[SERVICE].dockfile.streaming.connection.on_disconnect) == "cancel"


async def begin(request: web.Request, call: Call, *, abandon: bool) -> str:
    """Begin a run for the caller who is its first reader, and return its id.

    Args:
        request: What the caller asked with.
        call: What they want, valid.
        abandon: Cancel it if they leave before this returns.

    Raises:
        RateLimited: They have begun too much.
        TooManyRuns: The queue is full.
        ServiceUnavailable: No new work is taken.
    """
    service = request.app[SERVICE]
    await service.rates.count(request)
    request[RUN_ID] = run_id = await service.new_run_id()
    await service.runs.start(payloads.with_events_url(call, request, run_id), run_id, abandon=abandon)
    return run_id


def abandon_unless_resumed(request: web.Request, run_id: str, said: Control | None) -> None:
    """Cancel a run whose caller has left. Does nothing to one that is over.

    Args:
        request: What the caller asked with.
        run_id: The run.
        said: What they were told at the end; where that is to come again, they may.
    """
    service = request.app[SERVICE]
    if not (isinstance(said, AuthExpired) and service.dockfile.streaming.async_runs):
        service.runs.abandon(run_id)
