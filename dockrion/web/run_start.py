"""Starting a run for a caller: its id and the caller's rate limit."""

from functools import partial

import msgspec
from aiohttp import web

from dockrion import ids
from dockrion.backends.run_log import Run
from dockrion.errors import RunExists
from dockrion.runs.agent import Agent, Call
from dockrion.web import idempotency
from dockrion.web.access import RUN_ID
from dockrion.web.push_urls import push_url
from dockrion.web.service import SERVICE


async def start_run(
    request: web.Request,
    call: Call,
    *,
    run_id: str | None = None,
    key: str | None = None,
    agent: Agent | None = None,
    cancel_on_disconnect: bool = False,
) -> tuple[Run, bool]:
    """Start a run, unless an equal request has done so.

    Args:
        request: The caller's request.
        call: The agent call, validated.
        run_id: The id that the caller chose, validated; None if the service chooses one.
        key: The request's `Idempotency-Key`, None if it has none.
        agent: Works on it; the service's agent if None.
        cancel_on_disconnect: Cancel the run if the caller disconnects before this returns.

    Returns:
        Its record, and whether it was started by an earlier request.

    Raises:
        RateLimited: The caller is over its rate limit.
        Conflict: The id is taken.
        IdempotencyMismatch: The key was sent with another request.
        TooManyRuns: The queue is full.
        ServiceUnavailable: No new work is accepted.
    """
    service = request.app[SERVICE]
    await service.rate_limiter.count(request)
    digest = None
    if key is not None or run_id is not None:
        digest = await idempotency.digest_of(request, has_body=agent is None)
    if run_id is not None:
        call = msgspec.structs.replace(call, request_digest=digest)
    start = partial(
        _start,
        request,
        call,
        agent=agent,
        cancel_on_disconnect=cancel_on_disconnect,
        repeatable=digest is not None,
    )
    try:
        if key is None or digest is None:
            return await start(run_id or await service.new_run_id(), ids.new_incarnation()), False
        seconds = idempotency.run_seconds(request)
        return await idempotency.start_once(request, key, digest, start, run_id=run_id, seconds=seconds)
    except RunExists as error:
        if (
            run_id is not None
            and (run := await idempotency.repeated_run(request, run_id, digest)) is not None
        ):
            return run, True
        raise await service.access.conflict(request, request[RUN_ID]) from error


async def _start(
    request: web.Request,
    call: Call,
    run_id: str,
    incarnation: str,
    *,
    agent: Agent | None,
    cancel_on_disconnect: bool,
    repeatable: bool,
) -> Run:
    request[RUN_ID] = run_id
    events_url = await push_url(request, run_id, incarnation)
    call = msgspec.structs.replace(call, events_url=events_url) if events_url else call
    return await request.app[SERVICE].runs.start(
        call,
        run_id,
        incarnation,
        cancel_on_disconnect=cancel_on_disconnect,
        repeatable=repeatable,
        agent=agent,
    )
