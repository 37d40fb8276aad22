"""Runs that this process has accepted and put into the work queue, for whichever replica has a slot first."""

import asyncio
from contextlib import suppress

from dockrion.backends import Backend
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import Run
from dockrion.backends.work_queue import WorkQueue
from dockrion.background_tasks import BackgroundTasks
from dockrion.caller import set_current_request
from dockrion.errors import RunNotFound, ServiceUnavailable
from dockrion.runs.agent import Call
from dockrion.runs.job import encode_job
from dockrion.runs.outcome import Stop
from dockrion.runs.recorder import RunRecorder


class QueuedRuns:
    """Enqueues runs, and cancels those whose callers leave.

    Args:
        backend: Stores the runs.
        queue: Its queue.
        recorder: Logs that they are accepted.
        limit: How many runs may wait, over all replicas.
    """

    def __init__(self, backend: Backend, queue: WorkQueue, recorder: RunRecorder, limit: int) -> None:
        self._backend = backend
        self._queue = queue
        self._recorder = recorder
        self._limit = limit
        self._read_by_one: set[str] = set()  # incarnations of runs that end when their callers leave
        self._tasks = BackgroundTasks()

    async def enqueue(
        self, call: Call, record: Run, *, stop_for: Stop | None, repeatable: bool = False
    ) -> None:
        """Create a run that waits until any replica has a free slot. This continues if the caller leaves.

        Args:
            call: The request, validated.
            record: The run's record.
            stop_for: Why the run is cancelled if its caller leaves, None if it is not.
            repeatable: As for `RunManager.start`.

        Raises:
            RunExists: The id is taken.
            TooManyRuns: The queue is full.
            ServiceUnavailable: The storage cannot be reached.
        """
        enqueuing = self._tasks.start(self._enqueue(call, record, repeatable))
        enqueuing.add_done_callback(lambda done: done.cancelled() or done.exception())  # the caller may leave
        if stop_for is not None:
            self._read_by_one.add(record.incarnation)
        run = record.ref
        try:
            await asyncio.shield(enqueuing)
        except asyncio.CancelledError:
            enqueuing.add_done_callback(lambda _: self.caller_left(run, stop_for))
            raise
        except BaseException:
            self._read_by_one.discard(record.incarnation)
            raise

    def caller_returned(self, incarnation: str) -> None:
        """Note that a run, of any replica, has a caller again who is its only reader."""
        self._read_by_one.add(incarnation)

    def caller_left(self, run: RunRef, stop: Stop | None) -> None:
        """Cancel a run of any replica that has a caller who is its only reader.

        Args:
            run: The run. Does nothing if it is not one of those.
            stop: Why it is cancelled, None if it goes on.
        """
        if run.incarnation in self._read_by_one:
            self._read_by_one.discard(run.incarnation)
            if stop is not None:
                self._tasks.start(self._cancel(run, stop))

    async def aclose(self, timeout: float) -> None:  # noqa: ASYNC109  a bound, not a deadline
        """Stop what is under way.

        Args:
            timeout: The longest wait, in seconds.
        """
        await self._tasks.cancel(timeout)

    async def _enqueue(self, call: Call, record: Run, repeatable: bool) -> None:
        job = encode_job(call)
        set_current_request(call.request)  # at the run's place in its trace, for lines of the log
        try:
            await self._queue.enqueue(record, job, self._limit)
        except ServiceUnavailable:
            if repeatable:
                self._queue.begin_if_stored(record, job)
            raise
        self._recorder.accepted(record.run_id)

    async def _cancel(self, run: RunRef, stop: Stop) -> None:
        with suppress(RunNotFound, ServiceUnavailable):
            stored = await self._backend.get(run.run_id)
            if stored.incarnation == run.incarnation and not stored.finished:
                await self._backend.request_cancel(run.run_id, stop.reason, run.incarnation)
