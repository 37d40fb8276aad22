"""Invocations that outlive their requests: unlisted runs, whose callers wait for the outcome in their log.

The outcome is answered as `RunManager.invoke` answers it: the output, or the same error.
"""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec

from dockrion.backends.follow import follow
from dockrion.backends.owner_messages import RunRef
from dockrion.errors import AgentTimedOut, RunNotFound, ServiceUnavailable
from dockrion.events import TERMINAL, Entry
from dockrion.runs import outcome
from dockrion.runs.agent import Call, Invocation
from dockrion.runs.execution import STOP_SECONDS
from dockrion.runs.outcome import Cancelled, Completed, Failed
from dockrion.web.service import Service

KEPT_SECONDS = 60  # nobody asks for it again
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
    try:
        return await stored_outcome(service, RunRef(run_id, incarnation), limit)
    except asyncio.CancelledError:
        service.runs.cancel_disconnected(run_id, incarnation)
        raise


async def stored_outcome(service: Service, run: RunRef, limit: float | None) -> tuple[Completed, float]:
    """Wait for the outcome of an invocation, and return it with the seconds that the agent worked.

    Args:
        service: The service.
        run: The unlisted run.
        limit: Seconds that are left until it has to be over, None for no limit.

    Raises:
        DockrionError: The error that is its outcome.
        AgentTimedOut: There is none in time.
        ServiceUnavailable: It cannot be read now, or the storage has lost it.
    """
    # Whoever executes the run ends it in time. This bound is for the case that nobody does.
    bound = None if limit is None else limit + STOP_SECONDS + _STORE_SECONDS
    last: Entry | None = None
    try:
        async with asyncio.timeout(bound) as deadline:
            service.streams.add(deadline)
            try:
                last = await _last_entry(service, run)
            finally:
                service.streams.remove(deadline)
    except TimeoutError:
        if service.runs.draining:
            raise ServiceUnavailable("the service is shutting down") from None
        raise AgentTimedOut("the invocation did not end in time") from None
    if last is None or last.type not in TERMINAL:
        raise ServiceUnavailable("the storage has lost the outcome")
    return _result(last)


async def _last_entry(service: Service, run: RunRef) -> Entry | None:
    last: Entry | None = None
    with suppress(RunNotFound):  # it has expired, or the storage has lost it
        async with follow(service.backend, run.run_id, 0, run.incarnation, idle=_IDLE_SECONDS) as pages:
            async for page in pages:
                last = page.entries[-1] if page.entries else last
    return last


def _result(terminal: Entry) -> tuple[Completed, float]:
    """Return the output and the seconds in a terminal event, or raise its error."""
    match terminal.type:
        case "complete":
            complete = msgspec.json.decode(terminal.data, type=_Complete)
            return Completed(bytes(complete.output), complete.metadata), complete.latency_seconds
        case "error":
            error = msgspec.json.decode(terminal.data, type=_Error)
            raise outcome.to_exception(Failed(error.error, error.code, error.details))
        case _:
            raise outcome.to_exception(Cancelled(None))
