"""The run manager: admits runs and invocations, cancels them, and ends them with the process."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from dockrion.backends import Backend
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.run_log import Run
from dockrion.backends.work_queue import TakenRun, WorkQueue
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import InvalidRequest, RunNotFound, ServiceUnavailable, TooManyRuns
from dockrion.ids import new_incarnation
from dockrion.json_schema import Schema
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs import outcome
from dockrion.runs.agent import Agent, Call
from dockrion.runs.execution import STOP_SECONDS, Execution
from dockrion.runs.executor import Executor, Rebuild
from dockrion.runs.in_flight import InFlightRun, InFlightRuns, Slot, Slots
from dockrion.runs.job import encode_job
from dockrion.runs.named_locks import NamedLocks
from dockrion.runs.outcome import Cancelled, Completed, Outcome, Stop
from dockrion.runs.queue_taker import QueueTaker
from dockrion.runs.recorder import NO_EVENTS, RunRecorder, RunSettings
from dockrion.runs.session import RunSession

_DISCONNECTED = Stop("cancelled", "the caller disconnected")
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

    Attributes:
        unavailable: Why there is none.
        draining: Whether new work is refused because the service is shutting down.
    """

    def __init__(
        self,
        settings: RunSettings,
        backend: Backend,
        metrics: Metrics,
        redactor: Redactor,
        rebuild: Rebuild = _unavailable,
    ) -> None:
        self._agent: Agent | None = None
        self.unavailable = "the agent is being loaded"
        self.draining = False
        self._settings = settings
        self._backend = backend
        self._redactor = redactor
        self._rebuild = rebuild
        self._loop = asyncio.get_running_loop()
        self._slots = Slots(settings.max_concurrent_runs, settings.max_queued_runs)
        self._in_flight = InFlightRuns(self._slots)
        self._shut_down = False
        self._locks = NamedLocks(backend)
        self._recorder = RunRecorder(settings, metrics, redactor, self._locks)
        self._executor = Executor(settings, backend, self._in_flight, self._recorder, metrics, redactor)
        self._run_tasks = BackgroundTasks()
        self._listeners = BackgroundTasks()
        self._cancels = BackgroundTasks()  # of runs that are not executed here
        self._listeners.start(self._listen_for_cancels())
        self._listeners.start(self._listen_for_losses())
        self._enqueued: set[str] = set()  # incarnations of runs that are cancelled when their callers leave
        self._taker: QueueTaker | None = None
        if backend.queue is not None and settings.max_concurrent_runs:
            self._taker = QueueTaker(backend.queue, self._slots, self._in_flight, self._accepts, self._begin)

    @property
    def agent(self) -> Agent | None:
        """The agent; None while it is being loaded."""
        return self._agent

    @agent.setter
    def agent(self, agent: Agent | None) -> None:
        self._agent = agent
        if self._slots.on_freed is not None:
            self._slots.on_freed()

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
    def free_slots(self) -> int:
        """How many agents could start at once."""
        return self._slots.free

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
        external = agent is not None
        agent, settings = agent or self.ready_agent(), self._settings
        incarnation = incarnation or new_incarnation()
        stored = call.stored_input
        record = Run(
            run_id=run_id,
            incarnation=incarnation,
            status="accepted",
            created_at=datetime.now(UTC),
            metadata=self._recorder.metadata,
            owner=call.caller.owner if call.caller else None,
            input=msgspec.Raw(stored.body) if stored else None,
            input_excerpt=stored.excerpt if stored else None,
            request_digest=call.request_digest,
            unlisted=call.invocation is not None,
            kept_seconds=call.invocation.kept_seconds if call.invocation else None,
            max_attempts=1 if external else settings.max_attempts,
            webhook_url=call.webhook_url,
        )
        if self._backend.queue is not None and not self._slots.free:
            enqueuing = self._run_tasks.start(self._enqueue(self._backend.queue, call, record))
            try:
                await self._shielded(enqueuing, record, cancel_on_disconnect=cancel_on_disconnect)
            except TooManyRuns:
                if self._taker is None or not await self._taker.wait_for_slot():
                    raise
            else:
                return record
        job = encode_job(call) if record.max_attempts > 1 else None
        if call.body is not None:
            call = msgspec.structs.replace(call, body=None)  # it may be large, and the run may last long
        run = self._in_flight.admit(run_id, incarnation)
        run.created.add_done_callback(_retrieve)  # the caller may have left
        self._run_tasks.track(self._loop.create_task(self._executor.execute(agent, call, run, record, job)))
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
            await self._backend.request_cancel(run_id, await self._masked(reason), watch.incarnation)
            while not (run := await self._record(run_id, watch.incarnation)).finished:
                if not await watch.wait(max(deadline - time.monotonic(), 0)):
                    raise ServiceUnavailable("the cancel was passed on, but the run has not ended yet")
        if run.status != "cancelled":
            raise InvalidRequest(f"run {run_id!r} is finished: {run.status}")

    def caller_left(self, run: RunRef, *, cancel: bool) -> None:
        """Note that a caller who is the only reader of its run has disconnected, or has read all of it.

        Args:
            run: The run, started here with `cancel_on_disconnect`.
            cancel: Whether to cancel the run, if it is not finished.
        """
        enqueued = run.incarnation in self._enqueued
        self._enqueued.discard(run.incarnation or "")
        if not cancel:
            return
        if self._in_flight.get(run.run_id, run.incarnation) is not None:
            self._stop(run, _DISCONNECTED)
        elif enqueued:
            self._cancels.start(self._cancel_elsewhere(run))

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
            group.create_task(self._listeners.cancel(STOP_SECONDS))
            group.create_task(self._cancels.cancel(STOP_SECONDS))
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

    async def _enqueue(self, queue: WorkQueue, call: Call, record: Run) -> None:
        """Create a run that waits until any replica has a free slot."""
        await queue.enqueue(record, encode_job(call), self._settings.max_queued_runs)
        self._recorder.accepted(record.run_id)

    async def _shielded(
        self, enqueuing: asyncio.Task[None], record: Run, *, cancel_on_disconnect: bool
    ) -> None:
        """Wait until a run is enqueued; if the caller leaves meanwhile, this continues."""
        run = RunRef(record.run_id, record.incarnation)
        if cancel_on_disconnect:
            self._enqueued.add(record.incarnation)
        try:
            await asyncio.shield(enqueuing)
        except asyncio.CancelledError:
            enqueuing.add_done_callback(lambda _: self.caller_left(run, cancel=cancel_on_disconnect))
            raise
        except BaseException:
            self.caller_left(run, cancel=False)
            raise

    def _accepts(self) -> bool:
        return self.agent is not None and not self.draining

    def _begin(self, taken: TakenRun, slot: Slot) -> None:
        """Execute a run that was taken from the queue."""
        record, agent = taken.run, self.agent
        run = self._in_flight.admit_created(record.run_id, record.incarnation, slot)
        if taken.cancel is not None:
            run.stop_for(Stop("cancelled", taken.cancel.reason))
        work = self._executor.execute_taken(agent or self.ready_agent(), taken, run, self._rebuild)
        self._run_tasks.track(self._loop.create_task(work))

    async def _cancel_elsewhere(self, run: RunRef) -> None:
        with suppress(RunNotFound, ServiceUnavailable):
            stored = await self._backend.get(run.run_id)
            if stored.incarnation == run.incarnation and not stored.finished:
                await self._backend.request_cancel(run.run_id, _DISCONNECTED.reason, run.incarnation)

    async def _masked(self, reason: str | None) -> str | None:
        """Return a reason as it may be stored: a run that waits is ended with it by the backend."""
        text_filter = self._recorder.new_text_filter()
        masked = Cancelled(reason and self._redactor.mask(reason))
        result = masked if text_filter is None else outcome.filtered(masked, text_filter)
        return result.reason if isinstance(result, Cancelled) else None

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
