"""Cancelling a run, on whichever replica it is."""

import time

from dockrion.backends import Backend
from dockrion.backends.run_log import Run
from dockrion.errors import InvalidRequest, RunNotFound, ServiceUnavailable


async def cancel_run(
    backend: Backend, run_id: str, reason: str | None, incarnation: str | None, seconds: float
) -> None:
    """Cancel a run, and wait until it is over.

    Args:
        backend: Stores the run, and reaches its owner.
        run_id: The run.
        reason: Why, for its readers; masked.
        incarnation: The run's incarnation, None for the run that has the id now.
        seconds: How long its owner may take to end it.

    Raises:
        RunNotFound: No such run.
        InvalidRequest: The run is finished.
        ServiceUnavailable: Its owner has not ended it in time.
    """
    deadline = time.monotonic() + seconds
    async with backend.watch(run_id, incarnation) as watch:
        run = await _record(backend, run_id, watch.incarnation)
        if run.finished:
            raise InvalidRequest(f"run {run_id!r} is finished: {run.status}")
        await backend.request_cancel(run_id, reason, watch.incarnation)
        while not (run := await _record(backend, run_id, watch.incarnation)).finished:
            if not await watch.wait(max(deadline - time.monotonic(), 0)):
                raise ServiceUnavailable("the cancel was passed on, but the run has not ended yet")
    if run.status != "cancelled":
        raise InvalidRequest(f"run {run_id!r} is finished: {run.status}")


async def _record(backend: Backend, run_id: str, incarnation: str) -> Run:
    run = await backend.get(run_id)
    if run.incarnation != incarnation:
        raise RunNotFound(run_id)
    return run
