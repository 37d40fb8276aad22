"""Invocations that outlive their requests: unlisted runs, whose callers wait for the outcome in their log.

The outcome is answered as `RunManager.invoke` answers it: the output, or the same error.
"""

import asyncio
import math
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from aiohttp import hdrs, web

from dockrion import ids
from dockrion.backends.follow import follow
from dockrion.backends.owner_messages import RunRef
from dockrion.errors import AgentTimedOut, RunNotFound, ServiceUnavailable
from dockrion.events import TERMINAL, Entry
from dockrion.runs import outcome
from dockrion.runs.agent import Call, Invocation
from dockrion.runs.execution import STOP_SECONDS
from dockrion.runs.outcome import Cancelled, Completed, Failed, Outcome
from dockrion.web import idempotency
from dockrion.web.service import SERVICE, Service

KEPT_SECONDS = 60  # the outcome of an invocation without a key: nobody asks for it again
REPLAYED_SECONDS = 3600  # that of one with a key
_IDLE_SECONDS = 15.0
_STORE_SECONDS = 5.0  # from the end of an agent until its caller has the outcome


class _Complete(msgspec.Struct):
    output: msgspec.Raw
    latency_seconds: float
    metadata: dict[str, Any]


class _Error(msgspec.Struct):
    error: str
    code: str
    details: Any = None


class _Cancelled(msgspec.Struct):
    reason: str | None = None


async def invoke_stored(
    service: Service, call: Call, run_id: str, incarnation: str, limit: float | None
) -> tuple[Completed, float]:
    """Let an agent work on a call, on whichever replica; it is stopped if the caller disconnects.

    Args:
        service: The service.
        call: The request, validated.
        run_id: Its id for the agent and the log.
        incarnation: Its incarnation.
        limit: Seconds until this returns or raises, the wait for a slot included; None for no limit.

    Returns:
        The outcome, and the seconds that the agent worked.

    Raises:
        DockrionError: As `RunManager.invoke` does.
        RunExists: The id is taken.
    """
    call = msgspec.structs.replace(call, invocation=Invocation(limit, KEPT_SECONDS))
    await service.runs.start(call, run_id, incarnation, cancel_on_disconnect=True)
    run = RunRef(run_id, incarnation)
    try:
        result, seconds = await stored_outcome(service, run, limit)
    except BaseException:
        service.runs.caller_left(run, cancel=True)
        raise
    service.runs.caller_left(run, cancel=False)
    if isinstance(result, Completed):
        return result, seconds
    raise outcome.to_exception(result)


async def invoke_once(
    request: web.Request, call: Call, key: str, limit: float | None
) -> tuple[Completed, float, bool]:
    """Let an agent work on a call, unless an equal request has done so; return the outcome in any case.

    The agent continues if the caller disconnects, who may ask again.

    Args:
        request: The caller's request.
        call: What it asks for, validated.
        key: Its `Idempotency-Key`.
        limit: As for `invoke_stored`.

    Returns:
        The outcome, the seconds that the agent worked, and whether that was for an earlier request.

    Raises:
        DockrionError: As `invoke_stored` does.
        IdempotencyMismatch: The key was sent with another request.
    """
    service = request.app[SERVICE]
    kept_while_working = limit or service.dockfile.streaming.events.max_run_duration
    seconds = math.ceil(kept_while_working) + REPLAYED_SECONDS
    call = msgspec.structs.replace(call, invocation=Invocation(limit, REPLAYED_SECONDS))
    digest, start = await idempotency.digest_of(request), partial(service.runs.start, call, repeatable=True)
    run, replayed = await idempotency.start_once(
        request, key, digest, start, run_id=ids.uuid7(), seconds=seconds
    )
    left = limit
    if limit is not None and replayed:  # it may be over for long, and its outcome is read all the same
        left = max(limit - (datetime.now(UTC) - run.created_at).total_seconds(), _STORE_SECONDS)
    ref = run.ref
    try:
        result, worked = await stored_outcome(service, ref, left)
    except AgentTimedOut:
        await _cancel_waiting(service, ref)
        raise
    if isinstance(result, Completed):
        return result, worked, replayed
    error = outcome.to_exception(result)
    if replayed:  # and will be again, so there is no time after which to retry
        error.headers.pop(hdrs.RETRY_AFTER, None)
        error.headers |= idempotency.REPLAYED
    raise error


async def stored_outcome(service: Service, run: RunRef, limit: float | None) -> tuple[Outcome, float]:
    """Wait for the outcome of an invocation, and return it with the seconds that the agent worked.

    Args:
        service: The service.
        run: The unlisted run.
        limit: Seconds that are left until it has to be over, None for no limit.

    Raises:
        AgentTimedOut: There is none in time.
        ServiceUnavailable: It cannot be read now, or the storage has lost it.
    """
    last: Entry | None = None
    try:
        async with asyncio.timeout(limit) as deadline:
            service.invocations.add(deadline)
            try:
                last = await _last_entry(service, run, deadline)
            finally:
                service.invocations.remove(deadline)
    except TimeoutError:
        if service.runs.draining:
            raise ServiceUnavailable("the service is shutting down") from None
        raise AgentTimedOut(outcome.TIMED_OUT) from None
    if last is None or last.type not in TERMINAL:
        raise ServiceUnavailable("the storage has lost the outcome")
    return _result(last)


async def _last_entry(service: Service, run: RunRef, deadline: asyncio.Timeout) -> Entry | None:
    """Return the last entry of a run once it is over, None if it is gone; maybe later once it has begun."""
    last: Entry | None = None
    with suppress(RunNotFound):  # it has expired, or the storage has lost it
        async with follow(service.backend, run.run_id, 0, run.incarnation, idle=_IDLE_SECONDS) as pages:
            async for page in pages:
                if page.entries and last is None and (limit := deadline.when()) and not service.runs.draining:
                    # Whoever executes the run ends it in time; this is for the case that it does not.
                    deadline.reschedule(limit + STOP_SECONDS + _STORE_SECONDS)
                last = page.entries[-1] if page.entries else last
    return last


async def _cancel_waiting(service: Service, run: RunRef) -> None:
    """Cancel a run whose time is over if it still waits for a slot; its outcome is then that it timed out."""
    with suppress(RunNotFound, ServiceUnavailable):
        if (await service.backend.get(run.run_id)).status == "accepted":
            await service.backend.request_cancel(run.run_id, outcome.TIMED_OUT, run.incarnation)


def _result(terminal: Entry) -> tuple[Outcome, float]:
    """Return the outcome in a terminal event, and the seconds in it if it completed."""
    match terminal.type:
        case "complete":
            complete = msgspec.json.decode(terminal.data, type=_Complete)
            return Completed(bytes(complete.output), complete.metadata), complete.latency_seconds
        case "error":
            error = msgspec.json.decode(terminal.data, type=_Error)
            return Failed(error.error, error.code, error.details), 0.0
        case _:
            cancelled = msgspec.json.decode(terminal.data, type=_Cancelled)
            if cancelled.reason == outcome.TIMED_OUT:
                return Failed(outcome.TIMED_OUT, AgentTimedOut.code), 0.0
            return Cancelled(cancelled.reason), 0.0
