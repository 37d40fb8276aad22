"""The life of a run, in the order in which it happens.

`Executor.execute` takes these steps, one method each:

1. `_create`: claim the id and store the record.
2. `InFlightRun.wait_for_slot`: wait until the agent may work.
3. `_work`: publish `started`, let the agent work, store what it emits.
4. `_conclude`: publish the terminal event.
5. `LogWriter.store_rest`: store it, with all events before it.
6. `InFlightRuns.release`: forget the run.

What can fail in them, what is logged, and what readers see:

    what fails                      the log                          readers see
    ------------------------------  -------------------------------  ----------------------------------
    the record cannot be stored     nothing: `start` raises it       no such run
    stopped before it has a slot    "run cancelled" or "run failed"  only the terminal event of the stop
    the agent raises, SystemExit    WARNING "run failed"             `error`: AGENT_EXECUTION_ERROR
    included
    its output has no JSON form     WARNING "run failed"             `error`: INVALID_OUTPUT
    a cancel                        INFO "run cancelled"             `cancelled`
    a time limit, a shutdown, too   WARNING "run failed"             `error`: TIMEOUT_ERROR, SHUTDOWN,
    many events, a broken policy                                     LIMIT_EXCEEDED, POLICY_VIOLATION
    the agent ignores its stop      WARNING "agent does not stop"    the stop's terminal event, after
                                                                     STOP_SECONDS; nothing later
    storage is unreachable          nothing: `LogWriter` retries     keep-alives, then everything
    storage does not take an event  WARNING "run lost"               `error`: LIMIT_EXCEEDED, after a gap
    that large
    storage refuses the log, which  WARNING "run lost"               the end that the other writer gave
    is closed, gone, or another                                      it; in a log without one, this
    writer's                                                         run's terminal event
    a defect of this service        ERROR "run lost"                 the agent's outcome if it can be
                                                                     stored, else `error`: INTERNAL_ERROR
    the terminal event cannot be    ERROR "a run's end cannot be     no end, until the lease of the run
    stored either                   stored"                          expires (Redis)
    this process is closed while    nothing                          no end, until the lease of the run
    storage is unreachable                                           expires (Redis)

In each case the agent is stopped, its slot is released, and there is at most one terminal event.

A run is two tasks, this one and the agent's. Whatever the agent emits in its first turn is stored as
one batch, and a finished run leaves no reference cycles; both were measured.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec

from dockrion.backends import Backend
from dockrion.backends.run_log import Run
from dockrion.backends.work_queue import TakenRun
from dockrion.caller import set_current_request
from dockrion.errors import AppendRefused, BackendError, DockrionError, RunNotFound, ServiceUnavailable
from dockrion.logs import log
from dockrion.metrics import RunMetrics
from dockrion.redaction import Redactor
from dockrion.runs import outcome
from dockrion.runs.agent import Agent, Call
from dockrion.runs.event_buffer import BUFFER_EVENTS, EventBuffer
from dockrion.runs.execution import STOP_SECONDS, Execution, time_left
from dockrion.runs.filtered_buffer import FilteredEventBuffer
from dockrion.runs.hand_over import hand_over
from dockrion.runs.in_flight import InFlightRun, InFlightRuns
from dockrion.runs.log_writer import LogWriter, retry_while_unreachable
from dockrion.runs.outcome import Failed, Outcome, Stop
from dockrion.runs.recorder import RunRecorder
from dockrion.runs.settings import RunSettings
from dockrion.runs.tracing import RunTracer, recall_attempts

_logger = logging.getLogger("dockrion.runs")
_LOST = Stop("lost")
_TIMEOUT = Stop("timeout")
_UNUSABLE = Failed("the stored request cannot be used; start the run again", DockrionError.code)
_WINDOW_BATCHES = 4  # a reader that keeps up may be so many batches behind and lose nothing
Rebuild = Callable[[TakenRun], Awaitable[tuple[Agent | None, Call]]]


class Executor:
    """Executes runs. Must be made on the event loop.

    Args:
        settings: What the Dockfile says.
        backend: Stores the runs.
        in_flight: The runs of this process.
        recorder: Writes their start and their end.
        metrics: Counts their events, and measures how long agents work.
        redactor: Masks secrets in agents' exceptions.
        tracer: Follows runs in traces, None if nobody does.
    """

    def __init__(
        self,
        settings: RunSettings,
        backend: Backend,
        in_flight: InFlightRuns,
        recorder: RunRecorder,
        metrics: RunMetrics,
        redactor: Redactor,
        tracer: RunTracer | None = None,
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._in_flight = in_flight
        self._recorder = recorder
        self._metrics = metrics
        self._redactor = redactor
        self._tracer = tracer
        self._loop = asyncio.get_running_loop()  # a system call in Python 3.11, so not once per run
        self._batch = max(1, min(BUFFER_EVENTS, settings.max_stored_events // _WINDOW_BATCHES))

    async def execute(
        self,
        agent: Agent,
        call: Call,
        run: InFlightRun,
        record: Run,
        job: bytes | None,
        later_job: Callable[[], bytes] | None = None,
    ) -> None:
        """Execute a new run. Runs in its own task.

        Args:
            agent: Works on it.
            call: What it works on.
            run: The run, admitted; its `created` is resolved here.
            record: Its record, not stored yet.
            job: What another replica needs to begin it again, None if that must not be.
            later_job: Returns what a replica needs to begin it, should it be stored without a confirmation;
                None if it is ended then.
        """
        run.unlisted = record.unlisted
        set_current_request(call.request)  # at the run's place in its trace, for lines of the log
        try:
            created = await self._create(run, record, job, later_job)
            del later_job  # it refers to the request's body
            if created:
                self._recorder.accepted(run.run_id)
                await self._run_to_end(agent, call, run, record, len(job or b""))
        finally:
            self._in_flight.release(run)

    async def execute_taken(self, agent: Agent, taken: TakenRun, run: InFlightRun, rebuild: Rebuild) -> None:
        """Execute a run that was taken from the queue. Runs in its own task.

        Args:
            agent: Works on it, unless its job names another.
            taken: The run.
            run: The run, admitted.
            rebuild: Returns what the agent works on.
        """
        record, call = taken.run, Call(None)
        try:
            try:
                other, call = await retry_while_unreachable(lambda: rebuild(taken))
                agent = other or agent
                call = msgspec.structs.replace(call, attempt=record.attempt, previous=record.previous)
            except Exception as error:
                log(_logger, logging.ERROR, "stored request unusable", run_id=run.run_id, error=error)
                run.stop_for(Stop("refused", outcome=_UNUSABLE))
            if self._tracer is not None:
                run.span = self._tracer.resume(call.request, record)
                await recall_attempts(run.span, self._backend, record)
            job_bytes = len(taken.job) if record.max_attempts > 1 else 0
            await self._run_to_end(agent, call, run, record, job_bytes)
        finally:
            self._in_flight.release(run)

    async def _create(
        self, run: InFlightRun, record: Run, job: bytes | None, later_job: Callable[[], bytes] | None
    ) -> bool:
        """Store the record; return whether that worked. `RunManager.start` raises the error."""
        try:
            await self._in_flight.claim_id(run)
            await self._backend.create(record, job)
        except Exception as error:
            if isinstance(error, ServiceUnavailable) and later_job and self._backend.queue is not None:
                self._backend.queue.begin_if_stored(record, later_job())
            run.created.set_exception(error)
            return False
        except asyncio.CancelledError:  # this process is closed
            run.created.cancel()
            raise
        run.created.set_result(None)
        return True

    async def _run_to_end(
        self, agent: Agent, call: Call, run: InFlightRun, record: Run, job_bytes: int
    ) -> None:
        """Take a run that is created, and whose job is kept until its end, to its terminal event."""
        buffer = self._new_buffer(run, record.last_sequence)
        count = self._metrics.event_counter(record.created_at, record.attempt)
        writer = LogWriter(self._backend, record, buffer, count)
        self._recorder.admitted(job_bytes)
        try:
            try:
                if await run.wait_for_slot(None if call.invocation is None else call.invocation.limit):
                    await self._work(agent, call, run, writer)
                else:
                    run.stop_for(_TIMEOUT)  # unless there is another reason already
                if await hand_over(self._backend.queue, run, writer):
                    return
                result, seconds = await self._conclude(run, buffer)
                await writer.store_rest()
                redactor = self._redactor if run.session is None else run.session.redactor
                self._recorder.log_end(run.run_id, result, seconds, buffer.text_filter, redactor)
            except (BackendError, RunNotFound) as error:
                reason = str(error) if isinstance(error, AppendRefused) else type(error).__name__
                log(_logger, logging.WARNING, "run lost", run_id=run.run_id, reason=reason)
                await self._close_refused_log(run, writer, error)
        except Exception as error:
            log(_logger, logging.ERROR, "run lost", run_id=run.run_id, error=error)
            await self._close_after_defect(run, writer)
        finally:
            buffer.close()
            if run.span is not None:
                run.span.end_or_discard(writer.run)
            self._recorder.over(job_bytes)

    def _new_buffer(self, run: InFlightRun, last_sequence: int) -> EventBuffer:
        settings, text_filter = self._settings, self._recorder.new_text_filter()
        make = EventBuffer if text_filter is None else partial(FilteredEventBuffer, text_filter=text_filter)
        return make(
            run.run_id,
            self._loop,
            run.changed.set,
            run.stop_for,
            batch=self._batch,
            max_event_bytes=settings.max_event_bytes,
            max_events=settings.max_emitted_events,
            last_sequence=last_sequence,
        )

    async def _work(self, agent: Agent, call: Call, run: InFlightRun, writer: LogWriter) -> None:
        """Let the agent work, and store what it emits, until the execution is over."""
        if run.waited:
            self._recorder.waited(writer.run)
        run.session = session = self._recorder.start(writer.buffer, call, run.incarnation, run.span)
        streaming = self._settings.streamed and call.invocation is None
        run.execution = execution = Execution(
            agent, call, session, run.changed.set, self._loop, streaming=streaming
        )
        settings = self._settings
        counts = settings.waiting_counts
        left = time_left(call, writer.run, settings.max_run_duration, waiting_counts=counts)
        await execution.begin(left, waiting_counts=counts)
        while not execution.over:
            await run.wait_changed()
            await writer.store()

    async def _conclude(self, run: InFlightRun, buffer: EventBuffer) -> tuple[Outcome, float]:
        """Publish the terminal event; return the outcome, and the seconds that the agent worked."""
        execution = run.execution
        if execution is None:  # it was stopped before it had a slot
            result, seconds, ended_at = outcome.of_stop(run.stop or _LOST), 0.0, None
        else:
            result, seconds, ended_at = execution.outcome(), execution.seconds, execution.ended_at
        result = await self._recorder.conclude(buffer, result, seconds, ended_at, run.metadata)
        if execution is not None:
            self._metrics.count_duration(result.status, seconds)
        return result, seconds

    async def _close_refused_log(self, run: InFlightRun, writer: LogWriter, error: Exception) -> None:
        """End a run whose log the backend refuses: with its terminal event alone, if that is possible."""
        failure = outcome.of_refusal(error) if isinstance(error, AppendRefused) else None
        await run.wait_until_stopped(_LOST if failure is None else Stop("refused", outcome=failure))
        if not writer.buffer.ended:
            await self._conclude(run, writer.buffer)
        with suppress(BackendError, RunNotFound):
            await writer.force_close(failure)

    async def _close_after_defect(self, run: InFlightRun, writer: LogWriter) -> None:
        """End a run that failed through a defect of this service, so that no reader waits for it."""
        await run.wait_until_stopped(_LOST)
        if not writer.buffer.ended:
            try:
                await self._conclude(run, writer.buffer)
            except Exception:  # the defect, which is logged already
                lost = outcome.of_stop(_LOST)
                await self._recorder.conclude(writer.buffer, lost, 0.0, None, run.metadata)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                try:
                    await writer.store_rest()
                except Exception:  # as above
                    await writer.force_close()
        except Exception as error:
            log(_logger, logging.ERROR, "a run's end cannot be stored", run_id=run.run_id, error=error)
