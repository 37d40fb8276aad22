"""Invocations that last no longer than their request: nothing of them is stored."""

import asyncio
import time

import msgspec

from dockrion.caller import working_for
from dockrion.redaction import Redactor
from dockrion.runs import outcome
from dockrion.runs.agent import Agent, Call
from dockrion.runs.execution import Execution
from dockrion.runs.in_flight import InFlightRun, InFlightRuns
from dockrion.runs.named_locks import NamedLocks
from dockrion.runs.outcome import Completed, Outcome, Stop
from dockrion.runs.recorder import NO_EVENTS, RunRecorder
from dockrion.runs.session import RunSession
from dockrion.runs.settings import RunSettings
from dockrion.runs.tracing import RunTracer

DISCONNECTED = Stop("cancelled", "the caller disconnected")


class Invoker:
    """Lets the agent work on invocations. Must be made on the event loop.

    Args:
        settings: What the Dockfile says.
        in_flight: The runs and invocations of this process.
        recorder: Finalizes and logs their outcomes.
        locks: Shared by all runs.
        redactor: Masks secrets in agents' exceptions.
        tracer: Follows invocations in traces, None if nobody does.
    """

    def __init__(
        self,
        settings: RunSettings,
        in_flight: InFlightRuns,
        recorder: RunRecorder,
        locks: NamedLocks,
        redactor: Redactor,
        tracer: RunTracer | None = None,
    ) -> None:
        self._settings = settings
        self._in_flight = in_flight
        self._recorder = recorder
        self._locks = locks
        self._redactor = redactor
        self._tracer = tracer
        self._loop = asyncio.get_running_loop()

    async def invoke(
        self, agent: Agent, call: Call, run_id: str, limit: float | None
    ) -> tuple[Completed, float]:
        """Let an agent work on a call; see `RunManager.invoke`."""
        run = self._in_flight.admit(run_id)
        record = None
        if self._tracer is not None:
            record = self._recorder.new_record(call, run_id, run.incarnation, max_attempts=1)
            run.span, request, record = self._tracer.accept(call.request, record)
            call = msgspec.structs.replace(call, request=request)
        try:
            result, seconds = await self._invoke(agent, call, run, limit)
        except asyncio.CancelledError:  # the caller left, and nobody else can get the output
            if run.execution is not None:
                run.execution.stop(DISCONNECTED)
            if run.span is not None and record is not None:
                run.span.end_or_discard(self._recorder.finished(record, outcome.of_stop(DISCONNECTED)))
            raise
        finally:
            self._in_flight.release_when_over(run)
        text_filter = self._recorder.new_text_filter()
        result = await self._recorder.finalize(run_id, result, text_filter)
        if run.span is not None and record is not None:
            run.span.end_or_discard(self._recorder.finished(record, result))
        if isinstance(result, Completed):
            return result, seconds
        with working_for(call.request):
            self._recorder.log_end(run_id, result, seconds, text_filter, self._redactor)
        raise outcome.to_exception(result)

    async def _invoke(
        self, agent: Agent, call: Call, run: InFlightRun, limit: float | None
    ) -> tuple[Outcome, float]:
        deadline = None if limit is None else time.monotonic() + limit
        if not await run.wait_for_slot(limit):
            return outcome.of_stop(run.stop or Stop("timeout")), 0.0
        if run.span is not None:
            run.span.begin(call.payload, call.attempt, call.previous)
        session = RunSession(
            run.run_id,
            NO_EVENTS,
            None,
            call.caller,
            self._settings.tools,
            call.request,
            locks=self._locks,
            redactor=self._redactor,
            span=run.span,
        )
        run.execution = execution = Execution(
            agent, call, session, run.changed.set, self._loop, streaming=False
        )
        await execution.begin(None if deadline is None else max(deadline - time.monotonic(), 0))
        while not execution.decided:
            await run.wait_changed()
        return execution.outcome(), execution.seconds
