"""The run manager: admits runs and invocations, cancels them, and ends them with the process."""

import asyncio
from functools import partial

import msgspec

from dockrion.backends import Backend
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import Run
from dockrion.backends.work_queue import TakenRun
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import ServiceUnavailable, TooManyRuns
from dockrion.ids import new_incarnation
from dockrion.json_schema import Schema
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs.agent import Agent, Call
from dockrion.runs.cancel import cancel_run
from dockrion.runs.execution import STOP_SECONDS
from dockrion.runs.executor import Executor, Rebuild
from dockrion.runs.in_flight import InFlightRun, InFlightRuns, Slot, Slots
from dockrion.runs.invoker import DISCONNECTED, Invoker
from dockrion.runs.job import encode_job
from dockrion.runs.named_locks import NamedLocks
from dockrion.runs.outcome import Completed, Stop
from dockrion.runs.queue_taker import QueueTaker
from dockrion.runs.queued_runs import QueuedRuns
from dockrion.runs.recorder import RunRecorder
from dockrion.runs.settings import RunSettings
from dockrion.runs.stop_requests import StopRequests
from dockrion.runs.tracing import RunSpan, RunTracer

_CANCEL_SECONDS = STOP_SECONDS + 5.0


async def _unavailable(_taken: TakenRun) -> tuple[Agent | None, Call]:
    raise ServiceUnavailable("this process has no queue")


class RunManager:
    """Owns every run of this process, whatever happens to the connections that requested them.

    Must be made on the event loop.

    Args:
        settings: What the Dockfile says.
        backend: Stores the runs.
        metrics: Counts them.
        redactor: Masks secrets in agents' exceptions and in reasons.
        rebuild: Returns what the agent works on from a job that a replica has stored.
        tracer: Follows runs in traces, None if nobody does.

    Attributes:
        unavailable: Why there is no agent.
        slots: Where the agents of this process work.
        draining: Whether new work is refused because the service is shutting down.
    """

    def __init__(
        self,
        settings: RunSettings,
        backend: Backend,
        metrics: Metrics,
        redactor: Redactor,
        rebuild: Rebuild = _unavailable,
        tracer: RunTracer | None = None,
    ) -> None:
        self._agent: Agent | None = None
        self.unavailable = "the agent is being loaded"
        self.draining = False
        self._settings = settings
        self._backend = backend
        self._redactor = redactor
        self._rebuild = rebuild
        self._tracer = tracer
        self._loop = asyncio.get_running_loop()
        self.slots = Slots(settings.max_concurrent_runs, settings.max_queued_runs)
        self._in_flight = InFlightRuns(self.slots)
        self._shut_down = False
        self._locks = NamedLocks(backend)
        self._recorder = RunRecorder(settings, metrics, redactor, self._locks)
        self._executor = Executor(
            settings, backend, self._in_flight, self._recorder, metrics.runs, redactor, tracer
        )
        self._invoker = Invoker(settings, self._in_flight, self._recorder, self._locks, redactor, tracer)
        self._run_tasks = BackgroundTasks()
        self._stop_requests = StopRequests(self._in_flight, backend, self._recorder)
        self._queued: QueuedRuns | None = None
        self._taker: QueueTaker | None = None
        if (queue := backend.queue) is not None:
            self._queued = QueuedRuns(backend, queue, self._recorder, settings.max_queued_runs)
            if settings.max_concurrent_runs:
                self._taker = QueueTaker(queue, self.slots, self._in_flight, self._accepts, self._begin)

    @property
    def agent(self) -> Agent | None:
        """The agent; None while it is being loaded."""
        return self._agent

    @agent.setter
    def agent(self, agent: Agent | None) -> None:
        self._agent = agent
        if self.slots.on_freed is not None:
            self.slots.on_freed()

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
        repeatable: bool = False,
        agent: Agent | None = None,
    ) -> Run:
        """Start a run. It continues whatever happens to the caller.

        Args:
            call: The request, validated.
            run_id: Its id, validated.
            incarnation: Its incarnation, None for a new one.
            cancel_on_disconnect: Cancel the run if the caller disconnects before this returns.
            repeatable: The request can be sent again, and finds the run if it is stored. So if the storage
                does not confirm that, a stored run is begun instead of ended.
            agent: Works on it; the service's agent if None.

        Returns:
            Its record, stored.

        Raises:
            RunExists: The id is taken.
            TooManyRuns: The queue is full.
            ServiceUnavailable: The agent is not loaded, the service is draining, or the storage does not
                confirm that the run is stored.
        """
        external = agent is not None
        agent = agent or self.ready_agent()
        incarnation = incarnation or new_incarnation()
        record = self._recorder.new_record(
            call, run_id, incarnation, max_attempts=1 if external else self._settings.max_attempts
        )
        span: RunSpan | None = None
        if self._tracer is not None:
            span, traced, record = self._tracer.accept(call.request, record)
            call = msgspec.structs.replace(call, request=traced)
        if self._queued is not None and not self.slots.free:
            try:
                stop_for = DISCONNECTED if cancel_on_disconnect else None
                await self._queued.enqueue(call, record, stop_for=stop_for, repeatable=repeatable)
            except TooManyRuns:
                if self._taker is None or not await self._taker.wait_for_slot():
                    raise
            else:
                return record
        job = encode_job(call) if record.max_attempts > 1 else None
        later_job = partial(encode_job, call) if repeatable else None
        if call.body is not None:
            call = msgspec.structs.replace(call, body=None)  # it may be large, and the run may last long
        run = self._in_flight.admit(run_id, incarnation)
        run.span = span
        run.created.add_done_callback(_retrieve)  # the caller may have left
        work = self._executor.execute(agent, call, run, record, job, later_job)
        self._run_tasks.track(self._loop.create_task(work))
        try:
            await asyncio.shield(run.created)
        except asyncio.CancelledError:
            if cancel_on_disconnect:
                run.stop_for(DISCONNECTED)
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
        return await self._invoker.invoke(self.ready_agent(), call, run_id, limit)

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
        reason = self._recorder.masked_reason(reason)
        await cancel_run(self._backend, run_id, reason, incarnation, _CANCEL_SECONDS)

    def caller_returned(self, incarnation: str) -> None:
        """Note that a run, of any replica, has a caller again who is its only reader.

        Args:
            incarnation: The run's incarnation. `caller_left` follows.
        """
        if self._queued is not None:
            self._queued.caller_returned(incarnation)

    def caller_left(self, run: RunRef, *, cancel: bool) -> None:
        """Note that a caller who is the only reader of its run has disconnected, or has read all of it.

        Args:
            run: The run, started here with `cancel_on_disconnect`, or noted by `caller_returned`.
            cancel: Whether to cancel the run, if it is not finished.
        """
        stop = DISCONNECTED if cancel else None
        if self._queued is not None:
            self._queued.caller_left(run, stop)
        if stop is not None:
            self._in_flight.stop(run, stop)

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
        self.draining = True
        if self._taker is not None:
            await self._taker.aclose(STOP_SECONDS)
        await self.drain(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stop_requests.aclose(STOP_SECONDS))
            if self._queued is not None:
                group.create_task(self._queued.aclose(STOP_SECONDS))
            group.create_task(self._run_tasks.cancel(STOP_SECONDS))  # those whose storage is away

    def _accepts(self) -> bool:
        return self.agent is not None and not self.draining

    def _begin(self, taken: TakenRun, slot: Slot) -> None:
        """Execute a run that was taken from the queue."""
        record, agent = taken.run, self._agent
        run = self._in_flight.admit_created(record.run_id, record.incarnation, slot)
        if taken.cancel is not None:
            run.stop_for(Stop("cancelled", self._recorder.masked_reason(taken.cancel.reason)))
        work = self._executor.execute_taken(agent or self.ready_agent(), taken, run, self._rebuild)
        self._run_tasks.track(self._loop.create_task(work))


def _retrieve(created: asyncio.Future[None]) -> None:
    """Keep asyncio from reporting an exception that nobody awaits."""
    if not created.cancelled():
        created.exception()
