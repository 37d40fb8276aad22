"""Letting another replica begin a run again that this process has to stop."""

import logging

from dockrion.backends.work_queue import WorkQueue, next_attempt
from dockrion.logs import log
from dockrion.runs.in_flight import InFlightRun
from dockrion.runs.log_writer import LogWriter, retry_while_unreachable

_logger = logging.getLogger("dockrion.runs")


async def hand_over(queue: WorkQueue | None, run: InFlightRun, writer: LogWriter) -> bool:
    """Put a run that a shutdown has stopped into the queue, if another replica may begin it.

    Args:
        queue: The queue of all replicas, None if there is only this process.
        run: The run.
        writer: Stores what it has emitted.

    Returns:
        Whether the run is in the queue.
    """
    execution = run.execution
    if queue is None or run.stop is None or run.stop.kind != "shutdown":
        return False
    if execution is None:  # it was taken from the queue when the shutdown began
        waiting = writer.run
    elif execution.stopped_by("shutdown") and writer.run.attempt < writer.run.max_attempts:
        writer.buffer.publish_held_back()
        await writer.store_rest()
        waiting = next_attempt(writer.run, "shutdown")
    else:
        return False
    if not await retry_while_unreachable(lambda: queue.release(waiting)):
        return False
    log(_logger, logging.INFO, "run handed over", run_id=run.run_id)
    return True
