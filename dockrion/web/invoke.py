"""Asking the agent and waiting for it: `/invoke`, and pattern A."""

import msgspec
from aiohttp import hdrs, web

from dockrion import bodies, ids, sse
from dockrion.controls import AuthExpired
from dockrion.web import requests
from dockrion.web.answered_streams import AnsweredStream
from dockrion.web.answers import answer
from dockrion.web.service import RUN_ID, SERVICE


async def invoke(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    service.runs.ready_agent()
    call = await requests.call(request)
    await service.rates.count(request)
    request[RUN_ID] = run_id = ids.uuid7()
    limit = service.dockfile.arguments.timeout_sec or None
    done, seconds = await service.runs.invoke(call, run_id, limit)
    agent = service.dockfile.agent
    metadata = {"agent": agent.name, "framework": agent.framework, "latency_seconds": seconds}
    return answer(
        bodies.Invoked(success=True, output=msgspec.Raw(done.output), metadata=done.metadata | metadata)
    )


async def invoke_stream(request: web.Request) -> web.StreamResponse:
    """Pattern A: a run whose first reader is its caller."""
    service = request.app[SERVICE]
    service.runs.ready_agent()
    asked = requests.choice(request, "on_disconnect", ("cancel", "continue"))
    call = await requests.call(request)
    await service.rates.count(request)
    abandon = (asked or service.dockfile.streaming.connection.on_disconnect) == "cancel"
    request[RUN_ID] = run_id = await service.new_run_id()
    call = requests.with_events_url(call, request, run_id)
    await service.runs.start(call, run_id, abandon=abandon)
    headers = None
    if service.dockfile.streaming.async_runs:
        headers = {"X-Run-Id": run_id, hdrs.LOCATION: f"/runs/{run_id}/events"}
    stream, said = AnsweredStream(request, sse, headers), None
    try:
        said = await stream.carry(run_id, 0, timeout=None)
        return stream.response
    finally:
        resumes = isinstance(said, AuthExpired) and service.dockfile.streaming.async_runs
        if abandon and not resumes:
            service.runs.abandon(run_id)  # does nothing to a run that is over
