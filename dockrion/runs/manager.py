"""The run manager: admits runs and invocations, cancels them, and ends them with the process."""

import asyncio
import time
from datetime import UTC, datetime

import msgspec

from dockrion.backends import Backend
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import Run
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import InvalidRequest, RunNotFound, ServiceUnavailable
from dockrion.json_schema import Schema
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs import outcome
from dockrion.runs.agent import Agent, Call
from dockrion.runs.execution import STOP_SECONDS, Execution
from dockrion.runs.executor import Executor
from dockrion.runs.in_flight import InFlightRun, InFlightRuns, Slots
from dockrion.runs.named_locks import NamedLocks
from dockrion.runs.outcome import Completed, Outcome, Stop
from dockrion.runs.recorder import NO_EVENTS, RunRecorder, RunSettings
from dockrion.runs.session import RunSession

_DISCONNECTED = Stop("cancelled", "the caller disconnected")
_CANCEL_SECONDS = STOP_SECONDS + 5.0


class RunManager:
    """Owns every run of this process, whatever happens to the connections that requested them.

    Must be made on the event loop.

    Args:
        settings: What the Dockfile says.
        backend: Stores the runs.
        metrics: Counts them.
        redactor: Masks secrets in agents' exceptions and in reasons.

    Attributes:
        agent: The agent; None while it is being loaded.
        unavailable: Why there is none.
        draining: Whether new work is refused because the service is shutting down.
    """

    def __init__(self, settings: RunSettings, backend: Backend, metrics: Metrics, redactor: Redactor) -> None:
        self.agent: Agent | None = None
        self.unavailable = "the agent is being loaded"
        self.draining = False
        self._settings = settings
        self._backend = backend
        self._redactor = redactor
        self._loop = asyncio.get_running_loop()
        self._in_flight = InFlightRuns(Slots(settings.max_concurrent_runs, settings.max_queued_runs))
        self._shut_down = False
        self._locks = NamedLocks(backend)
        self._recorder = RunRecorder(settings, metrics, redactor, self._locks)
        self._executor = Executor(settings, backend, self._in_flight, self._recorder, metrics, redactor)
        self._run_tasks = BackgroundTasks()
        self._listeners = BackgroundTasks()
        self._listeners.start(self._listen_for_cancels())
        self._listeners.start(self._listen_for_losses())

    def ready_agent(self) -> Agent:
        """Return the agent for new work.

        Raises:
            ServiceUnavailable: It is not loaded yet, or the service is draining.
        """
        if self.draining:
            raise ServiceUnavailable("the service is shutting down")
        if self.agent is None:
            raise ServiceUnavailable(self.unavailable)
        return self.agent

    def validate_outputs(self, schema: Schema | None) -> None:
        """Validate outputs against another schema from now on, None for none."""
        self._recorder.output_schema = schema

    @property
    def in_flight_ids(self) -> list[str]:
        """The ids of the runs and invocations of this process that are not over."""
        return [run.run_id for run in self._in_flight]

    def find(self, run_id: str, incarnation: str | None = None) -> InFlightRun | None:
        """Return a run of this process that is not over and not unlisted, None for any incarnation."""
        run = self._in_flight.get(run_id, incarnation)
        return None if run is None or run.unlisted else run

    async def start(
        self,
        call: Call,
        run_id: str,
        incarnation: str | None = None,
        *,
        cancel_on_disconnect: bool = False,
        agent: Agent | None = None,
    ) -> Run:
        """Start a run. It continues whatever happens to the caller.

        Args:
            call: The request, validated.
            run_id: Its id, validated.
            incarnation: Its incarnation, None for a new one.
            cancel_on_disconnect: Cancel the run if the caller disconnects before this returns.
            agent: Works on it; the service's agent if None.

        Returns:
            Its record, stored.

        Raises:
            RunExists: The id is taken.
            TooManyRuns: The queue is full.
            ServiceUnavailable: The agent is not loaded, or the service is draining.
        """
        agent, run = agent or self.ready_agent(), self._in_flight.admit(run_id, incarnation)
        stored = call.stored_input
        record = Run(
            run_id=run_id,
            incarnation=run.incarnation,
            status="accepted",
            created_at=datetime.now(UTC),
            metadata=self._recorder.metadata,
            owner=call.caller.owner if call.caller else None,
            input=msgspec.Raw(stored.body) if stored else None,
            input_excerpt=stored.excerpt if stored else None,
            request_digest=call.request_digest,
            unlisted=call.invocation is not None,
            kept_seconds=call.invocation.kept_seconds if call.invocation else None,
        )
        run.created.add_done_callback(_retrieve)  # the caller may have left
        self._run_tasks.track(self._loop.create_task(self._executor.execute(agent, call, run, record)))
        try:
            await asyncio.shield(run.created)
        except asyncio.CancelledError:
            if cancel_on_disconnect:
                run.stop_for(_DISCONNECTED)
            raise
        return record

    async def invoke(self, call: Call, run_id: str, limit: float | None) -> tuple[Completed, float]:
        """Let the agent work on a call without storing a run.

        Args:
            call: The request, validated.
            run_id: Its id for the agent and the log.
            limit: Seconds until this returns or raises, the wait for a slot included.

        Returns:
            The outcome, and the seconds that the agent worked.

        Raises:
            AgentFailed: The agent raised.
            InvalidOutput: Its output has no JSON form.
            AgentTimedOut: It took longer than `limit`; it is stopped.
            TooManyRuns: The queue is full.
            ServiceUnavailable: The agent is not loaded, or the service is draining.
        """
        agent = self.ready_agent()
        run = self._in_flight.admit(run_id)
        try:
            result, seconds = await self._invoke(agent, call, run, limit)
        except asyncio.CancelledError:  # the caller left, and nobody else can get the output
            if run.execution is not None:
                run.execution.stop(_DISCONNECTED)
            raise
        finally:
            self._in_flight.release_when_over(run)
        text_filter = self._recorder.new_text_filter()
        result = await self._recorder.finalize(run_id, result, text_filter)
        if isinstance(result, Completed):
            return result, seconds
        self._recorder.log_end(run_id, result, seconds, text_filter, self._redactor)
        raise outcome.to_exception(result)

    async def cancel(self, run_id: str, reason: str | None, incarnation: str | None = None) -> None:
        """Cancel a run, here or on another replica, and wait until it is over.

        Args:
            run_id: The run.
            reason: Why, for its readers.
            incarnation: The run's incarnation, None for the run that has the id now.

        Raises:
            RunNotFound: No such run.
            InvalidRequest: The run is finished.
            ServiceUnavailable: Its owner has not ended it in time.
        """
        deadline = time.monotonic() + _CANCEL_SECONDS
        async with self._backend.watch(run_id, incarnation) as watch:
            run = await self._record(run_id, watch.incarnation)
            if run.finished:
                raise InvalidRequest(f"run {run_id!r} is finished: {run.status}")
            await self._backend.request_cancel(run_id, reason, watch.incarnation)
            while not (run := await self._record(run_id, watch.incarnation)).finished:
                if not await watch.wait(max(deadline - time.monotonic(), 0)):
                    raise ServiceUnavailable("the cancel was passed on, but the run has not ended yet")
        if run.status != "cancelled":
            raise InvalidRequest(f"run {run_id!r} is finished: {run.status}")

    def cancel_disconnected(self, run_id: str, incarnation: str | None = None) -> None:
        """Cancel a run of this process whose caller, its only reader, has disconnected."""
        self._stop(RunRef(run_id, incarnation), _DISCONNECTED)

    async def drain(self, grace: float) -> None:
        """Refuse new work, give running agents some time, then stop them.

        Args:
            grace: Seconds that running agents get.
        """
        self.draining = True
        if await self._in_flight.wait_idle(grace) or self._shut_down:
            return
        self._shut_down = True
        for run in self._in_flight:
            run.stop_for(Stop("shutdown"))
        await self._in_flight.wait_idle(_CANCEL_SECONDS)

    async def aclose(self) -> None:
        """Stop everything without a grace period."""
        await self.drain(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listeners.cancel(STOP_SECONDS))
            group.create_task(self._run_tasks.cancel(STOP_SECONDS))  # those whose storage is away

    async def _invoke(
        self, agent: Agent, call: Call, run: InFlightRun, limit: float | None
    ) -> tuple[Outcome, float]:
        deadline = None if limit is None else time.monotonic() + limit
        if not await run.wait_for_slot(limit):
            return outcome.of_stop(run.stop or Stop("timeout")), 0.0
        session = RunSession(
            run.run_id,
            NO_EVENTS,
            None,
            call.caller,
            self._settings.tools,
            call.request,
            locks=self._locks,
            redactor=self._redactor,
        )
        run.execution = execution = Execution(
            agent, call, session, run.changed.set, self._loop, streaming=False
        )
        await execution.begin(None if deadline is None else max(deadline - time.monotonic(), 0))
        while not execution.decided:
            await run.wait_changed()
        return execution.outcome(), execution.seconds

    async def _listen_for_losses(self) -> None:
        async for run in self._backend.lost_runs():
            self._stop(run, Stop("lost"))

    async def _listen_for_cancels(self) -> None:
        async for request in self._backend.cancel_requests():
            reason = request.reason and self._redactor.mask(request.reason)
            self._stop(request, Stop("cancelled", reason))

    async def _record(self, run_id: str, incarnation: str) -> Run:
        run = await self._backend.get(run_id)
        if run.incarnation != incarnation:
            raise RunNotFound(run_id)
        return run

    def _stop(self, which: RunRef, stop: Stop) -> None:
        if (run := self._in_flight.get(which.run_id, which.incarnation)) is not None:
            run.stop_for(stop)


def _retrieve(created: asyncio.Future[None]) -> None:
    """Keep asyncio from reporting an exception that nobody awaits."""
    if not created.cancelled():
        created.exception()
