"""Carries out runs, from their first event to the terminal one."""

import asyncio
import logging
from contextlib import suppress

from dockrion.backends.run_log import Run, RunLog
from dockrion.errors import BackendError, RunNotFound
from dockrion.logs import log
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs import outcome
from dockrion.runs.agent import Agent, Call
from dockrion.runs.event_buffer import BUFFER_EVENTS, EventBuffer
from dockrion.runs.execution import STOP_SECONDS, Execution
from dockrion.runs.in_flight import InFlightRun
from dockrion.runs.log_writer import LogWriter
from dockrion.runs.outcome import Outcome, Stop
from dockrion.runs.recorder import RunRecorder, RunSettings

_logger = logging.getLogger("dockrion.runs")
_LOST = Stop("lost")
_READERS_LAG = 4  # batches that a reader who keeps up may be behind


class Executor:
    """Lets agents work on runs whose record is stored, and stores what they say and how they end.

    Made on the event loop.

    Args:
        settings: What the Dockfile says.
        backend: Where runs are kept.
        recorder: How runs begin and end.
        metrics: Where their events are counted.
        redactor: Cleans what agents' exceptions say.
    """

    def __init__(
        self,
        settings: RunSettings,
        backend: RunLog,
        recorder: RunRecorder,
        metrics: Metrics,
        redactor: Redactor,
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._recorder = recorder
        self._metrics = metrics
        self._redactor = redactor
        self._loop = asyncio.get_running_loop()  # a system call in Python 3.11, and so made once
        self._batch = max(1, min(BUFFER_EVENTS, settings.max_stored_events // _READERS_LAG))

    async def carry_out(self, agent: Agent, call: Call, in_flight: InFlightRun, run: Run) -> None:
        """Carry out a run, in a task of its own."""
        buffer = EventBuffer(
            run.run_id,
            self._loop,
            in_flight.changed.set,
            in_flight.stop_for,
            batch=self._batch,
            max_event_bytes=self._settings.max_event_bytes,
            max_events=self._settings.max_emitted_events,
            text_filter=self._recorder.new_text_filter(),
        )
        writer = LogWriter(self._backend, run, buffer, self._metrics.count_events)
        self._recorder.accepted(run.run_id)
        try:
            await self._carry_out(agent, call, in_flight, buffer, writer)
        except Exception as error:
            log(_logger, logging.ERROR, "run lost", run_id=run.run_id, error=error)
            await self._save(in_flight, buffer, writer)
        finally:
            buffer.close()
            self._recorder.over()

    async def _carry_out(
        self, agent: Agent, call: Call, in_flight: InFlightRun, buffer: EventBuffer, writer: LogWriter
    ) -> None:
        try:
            await self._work(agent, call, in_flight, buffer, writer)
            result, seconds = await self._conclude(in_flight, buffer)
            await writer.store_rest()
        except (BackendError, RunNotFound) as error:  # another replica has ended it, or nobody can
            log(_logger, logging.WARNING, "run lost", run_id=in_flight.run_id, reason=type(error).__name__)
            await _until_stopped(in_flight)
            if not buffer.ended:
                await self._conclude(in_flight, buffer)
            with suppress(BackendError, RunNotFound):
                await writer.force_close()
        else:
            self._recorder.log_end(in_flight.run_id, result, seconds, buffer.text_filter)

    async def _save(self, in_flight: InFlightRun, buffer: EventBuffer, writer: LogWriter) -> None:
        """End a run that we have failed: nobody may wait for it."""
        await _until_stopped(in_flight)
        if not buffer.ended:
            try:
                await self._conclude(in_flight, buffer)
            except Exception:  # has been told: it failed before
                lost = outcome.of_stop(_LOST)
                await self._recorder.conclude(buffer, lost, 0.0, None, in_flight.metadata)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await _store_what_can_be(writer)
        except Exception as error:
            log(_logger, logging.ERROR, "a run's end cannot be stored", run_id=in_flight.run_id, error=error)

    async def _work(
        self, agent: Agent, call: Call, in_flight: InFlightRun, buffer: EventBuffer, writer: LogWriter
    ) -> None:
        """Let the agent work, and store what it says, until it is over."""
        if not await in_flight.wait_for_slot(None):
            return
        in_flight.session = session = self._recorder.begin(buffer, call.caller)
        in_flight.execution = execution = Execution(
            agent,
            call,
            session,
            self._redactor,
            in_flight.changed,
            self._loop,
            streaming=self._settings.streamed,
        )
        await execution.begin(self._settings.max_run_duration)  # what it says at once is stored together
        while not execution.over:
            await in_flight.wait_changed()
            await writer.store()

    async def _conclude(self, in_flight: InFlightRun, buffer: EventBuffer) -> tuple[Outcome, float]:
        """Publish how the run ends; return that, and the seconds the agent worked."""
        execution = in_flight.execution
        if execution is None:  # it was stopped before it had a slot
            result, seconds, ended_at = outcome.of_stop(in_flight.stop or _LOST), 0.0, None
        else:
            result, seconds, ended_at = execution.outcome(), execution.seconds, execution.ended_at
        conclude = self._recorder.conclude
        return await conclude(buffer, result, seconds, ended_at, in_flight.metadata), seconds


async def _until_stopped(in_flight: InFlightRun) -> None:
    in_flight.stop_for(_LOST)
    while in_flight.execution is not None and not in_flight.execution.over:
        await in_flight.wait_changed()


async def _store_what_can_be(writer: LogWriter) -> None:
    try:
        await writer.store_rest()
    except Exception:  # which the log has already
        await writer.force_close()
