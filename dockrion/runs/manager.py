"""The run manager: takes payloads, lets agents work on them, and ends what it began."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from dockrion.backends import Backend
from dockrion.backends.run_log import Run
from dockrion.errors import InvalidRequest, RunExists, ServiceUnavailable
from dockrion.events import EventFilter
from dockrion.metrics import Metrics
from dockrion.redaction import Redactor
from dockrion.runs import outcome
from dockrion.runs.agent import Agent, Call
from dockrion.runs.context import RunSession
from dockrion.runs.execution import STOP_SECONDS, Execution
from dockrion.runs.executor import Executor
from dockrion.runs.in_flight import InFlightRun
from dockrion.runs.outcome import Completed, Stop
from dockrion.runs.recorder import RunRecorder, RunSettings
from dockrion.runs.slots import Slots

_NO_EVENTS = EventFilter([])
_LEFT = Stop("cancelled", "the caller disconnected")
_CANCEL_SECONDS = STOP_SECONDS + 5.0


class RunManager:
    """Owns every run of this process, whatever happens to the connections that asked for them.

    Args:
        settings: What the Dockfile says.
        backend: Where runs are kept.
        metrics: Where they are counted.
        redactor: Cleans what agents' exceptions say.

    Attributes:
        agent: Who works; None while it is being loaded.
        draining: Whether new work is refused because the service is about to end.
    """

    def __init__(self, settings: RunSettings, backend: Backend, metrics: Metrics, redactor: Redactor) -> None:
        self.agent: Agent | None = None
        self.draining = False
        self._settings = settings
        self._backend = backend
        self._redactor = redactor
        self._slots = Slots(settings.max_concurrent_runs, settings.max_queued_runs)
        self._in_flight: set[InFlightRun] = set()
        self._runs: dict[str, InFlightRun] = {}
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._run_tasks: set[asyncio.Task[Any]] = set()
        self._recorder = RunRecorder(settings, metrics, redactor)
        self._executor = Executor(settings, backend, self._recorder, metrics, redactor)
        self._listeners = [
            self._loop.create_task(self._listen_for_cancels()),
            self._loop.create_task(self._listen_for_losses()),
        ]

    def ready_agent(self) -> Agent:
        """Return the agent that takes new work.

        Raises:
            ServiceUnavailable: There is none yet, or no more.
        """
        if self.draining:
            raise ServiceUnavailable("the service is shutting down")
        if self.agent is None:
            raise ServiceUnavailable("the agent is being loaded")
        return self.agent

    def find(self, run_id: str) -> InFlightRun | None:
        """Return a run of this process that is not over."""
        return self._runs.get(run_id)

    async def start(
        self, call: Call, run_id: str, *, abandon: bool = False, agent: Agent | None = None
    ) -> Run:
        """Begin a run. It goes on whatever happens to the caller.

        Args:
            call: What the caller wants, valid.
            run_id: Its id, valid.
            abandon: Cancel it after all if the caller leaves before this returns.
            agent: Who works on it, the service's agent if None.

        Returns:
            Its record, stored.

        Raises:
            RunExists: The id is taken.
            TooManyRuns: The queue is full.
            ServiceUnavailable: The agent is not loaded, or the service is draining.
        """
        agent, in_flight = agent or self.ready_agent(), self._begin(run_id)
        run = Run(
            run_id=in_flight.run_id,
            status="accepted",
            created_at=datetime.now(UTC),
            metadata=self._recorder.metadata,
            owner=call.caller.owner if call.caller else None,
        )
        in_flight.created.add_done_callback(_look_at)  # the caller may have left
        self._keep(self._loop.create_task(self._carry_out(agent, in_flight, run, call)), self._run_tasks)
        try:
            await asyncio.shield(in_flight.created)
        except asyncio.CancelledError:
            if abandon:
                in_flight.stop_for(_LEFT)
            raise
        return run

    async def invoke(self, call: Call, run_id: str, limit: float | None) -> tuple[Completed, float]:
        """Let the agent work on a payload without keeping a run.

        Args:
            call: What the caller wants, valid.
            run_id: What the agent and the log call this.
            limit: Seconds until there must be an answer, waiting for a slot included.

        Returns:
            The outcome, and the seconds the agent worked.

        Raises:
            AgentFailed: The agent raised.
            InvalidOutput: Its output cannot be JSON.
            AgentTimedOut: It took longer than `limit`; it is stopped.
            TooManyRuns: The queue is full.
            ServiceUnavailable: The agent is not loaded, or the service is draining.
        """
        agent = self.ready_agent()
        in_flight = self._begin(run_id)
        deadline = None if limit is None else time.monotonic() + limit
        execution = None
        try:
            if await in_flight.wait_for_slot(limit):
                session = RunSession(in_flight.run_id, _NO_EVENTS, None, call.caller, self._settings.tools)
                left = None if deadline is None else max(deadline - time.monotonic(), 0)
                in_flight.execution = execution = Execution(
                    agent, call, session, self._redactor, in_flight.changed, self._loop, streaming=False
                )
                await execution.begin(left)
                while not execution.decided:
                    await in_flight.wait_changed()
                result = execution.outcome()
            else:
                result = outcome.of_stop(in_flight.stop or Stop("timeout"))
        except asyncio.CancelledError:  # the caller left: nobody else can have the output
            if execution is not None:
                execution.stop(_LEFT)
            raise
        finally:
            if execution is None or execution.over:
                self._end(in_flight)
            else:
                self._keep(self._loop.create_task(self._end_when_over(in_flight, execution)), self._tasks)
        seconds = execution.seconds if execution else 0.0
        text_filter = self._recorder.new_text_filter()
        result = await self._recorder.checked(in_flight.run_id, result, text_filter)
        if isinstance(result, Completed):
            return result, seconds
        self._recorder.log_end(in_flight.run_id, result, seconds, text_filter)
        raise outcome.as_exception(result)

    async def cancel(self, run_id: str, reason: str | None) -> None:
        """Cancel a run, here or on another replica, and wait until it is over.

        Raises:
            RunNotFound: No such run.
            InvalidRequest: The run is finished.
            ServiceUnavailable: Whoever runs it has not ended it in time.
        """
        deadline = time.monotonic() + _CANCEL_SECONDS
        async with self._backend.watch(run_id) as watch:
            run = await self._backend.get(run_id)
            if run.finished:
                raise InvalidRequest(f"run {run_id!r} is finished: {run.status}")
            await self._backend.request_cancel(run_id, reason)
            while not (run := await self._backend.get(run_id)).finished:
                if not await watch.wait(max(deadline - time.monotonic(), 0)):
                    raise ServiceUnavailable("the cancel was passed on, but the run has not ended yet")
        if run.status != "cancelled":
            raise InvalidRequest(f"run {run_id!r} is finished: {run.status}")

    def abandon(self, run_id: str) -> None:
        """Cancel a run of this process whose only listener has left."""
        if (in_flight := self._runs.get(run_id)) is not None:
            in_flight.stop_for(_LEFT)

    async def drain(self, grace: float) -> None:
        """Refuse new work, give what is there some time, then end it.

        Args:
            grace: Seconds that running agents get.
        """
        self.draining = True
        if await self._is_idle(grace) or self._stopped:
            return
        self._stopped = True
        for in_flight in list(self._in_flight):
            in_flight.stop_for(Stop("shutdown"))
        await self._is_idle(_CANCEL_SECONDS)

    async def aclose(self) -> None:
        """Stop everything without grace."""
        await self.drain(0)
        unstored = list(self._run_tasks)  # their storage is away
        for task in (*self._listeners, *unstored):
            task.cancel()
        await asyncio.wait((*self._listeners, *unstored), timeout=STOP_SECONDS)

    def _begin(self, run_id: str) -> InFlightRun:
        in_flight = InFlightRun(run_id, self._slots.reserve(), self._loop.create_future())
        self._in_flight.add(in_flight)
        self._idle.clear()
        return in_flight

    def _end(self, in_flight: InFlightRun) -> None:
        """Let go of what has ended. An agent that has not keeps its slot until it has."""
        execution = in_flight.execution
        if execution is None or execution.task.done():
            self._slots.release(in_flight.slot)
        else:
            self._keep(execution.task, self._tasks)
            execution.task.add_done_callback(lambda _: self._slots.release(in_flight.slot))
        in_flight.drop_execution()
        self._in_flight.discard(in_flight)
        if not self._in_flight:
            self._idle.set()

    async def _end_when_over(self, in_flight: InFlightRun, execution: Execution) -> None:
        """End an invocation, whose answer does not wait for a stopped agent to clean up."""
        while not execution.over:
            await in_flight.wait_changed()
        self._end(in_flight)

    async def _carry_out(self, agent: Agent, in_flight: InFlightRun, run: Run, call: Call) -> None:
        """Do all of a run, from its record to its terminal event."""
        try:
            await self._create(run, in_flight)
        except Exception as error:
            in_flight.created.set_exception(error)
            self._end(in_flight)
            return
        except asyncio.CancelledError:  # the service ends
            in_flight.created.cancel()
            self._end(in_flight)
            raise
        in_flight.created.set_result(None)
        try:
            await self._executor.carry_out(agent, call, in_flight, run)
        finally:
            del self._runs[run.run_id]
            self._end(in_flight)

    async def _create(self, run: Run, in_flight: InFlightRun) -> None:
        while (other := self._runs.get(run.run_id)) is not None:
            await asyncio.wait((other.created,))
            if other.created.exception() is None:
                raise RunExists(run.run_id)
        self._runs[run.run_id] = in_flight  # before others can know of it, and cancel it
        try:
            await self._backend.create(run)
        except BaseException:
            del self._runs[run.run_id]
            raise

    async def _is_idle(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    @staticmethod
    def _keep(task: asyncio.Task[Any], tasks: set[asyncio.Task[Any]]) -> None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _listen_for_losses(self) -> None:
        async for run_id in self._backend.lost_runs():
            if (in_flight := self._runs.get(run_id)) is not None:
                in_flight.stop_for(Stop("lost"))

    async def _listen_for_cancels(self) -> None:
        async for run_id, reason in self._backend.cancel_requests():
            if (in_flight := self._runs.get(run_id)) is not None:
                in_flight.stop_for(Stop("cancelled", reason and self._redactor.mask(reason)))


def _look_at(created: asyncio.Future[None]) -> None:
    if not created.cancelled():
        created.exception()
