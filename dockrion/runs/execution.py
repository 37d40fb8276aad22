"""One agent at work on one call.

An execution is in one of four phases, and never goes back:

    phase      its outcome                  its agent               left when
    WORKING    not decided                  works                   it is stopped; its agent ends
    STOPPING   decided: that of the stop    was cancelled, and may  its agent ends; STOP_SECONDS
                                            clean up and emit       are over
    ENDED      decided                      has ended               -
    ABANDONED  decided: that of the stop    does not end; what it   -
                                            emits is dropped
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum, auto
from functools import partial

from dockrion.backends.run_log import Run
from dockrion.errors import clear_tracebacks
from dockrion.logs import log
from dockrion.runs import outcome
from dockrion.runs.agent import Agent, Call
from dockrion.runs.outcome import Outcome, Stop
from dockrion.runs.outcome_redaction import redacted
from dockrion.runs.session import RunSession
from dockrion.runs.time_limit import TimeLimit

_logger = logging.getLogger("dockrion.runs")
STOP_SECONDS = 5.0
_TIMEOUT = Stop("timeout")


class Phase(IntEnum):  # whose members hash faster than those of Enum
    """How far an execution is; see the module's docstring."""

    WORKING = auto()
    STOPPING = auto()
    ENDED = auto()
    ABANDONED = auto()


_WORKING, _STOPPING, _ENDED, _ABANDONED = Phase
# The transitions, by signal; a phase that a signal does not name stays as it is.
_STOP = {_WORKING: _STOPPING}
_AGENT_ENDED = {_WORKING: _ENDED, _STOPPING: _ENDED}
_GRACE_OVER = {_STOPPING: _ABANDONED}


class Execution:
    """Runs an agent in its own task, from the moment this is made.

    Args:
        agent: The agent.
        call: What it works on.
        session: The run it works for.
        notify: Called when the outcome is decided, and when the execution is over.
        loop: The running event loop.
        streaming: Whether anyone can read its events.

    Attributes:
        call: What it works on.
        task: Done when the agent has really ended.
        ended_at: When the execution was over, None until then.
    """

    def __init__(
        self,
        agent: Agent,
        call: Call,
        session: RunSession,
        notify: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        *,
        streaming: bool,
    ) -> None:
        self.call = call
        self._session = session
        self._notify = notify
        self._loop = loop
        self._phase = _WORKING
        self._stop: Stop | None = None
        self._limit: TimeLimit | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._started = loop.time()
        self._seconds: float | None = None
        self.ended_at: datetime | None = None
        self.task = loop.create_task(self._work(agent, call, streaming=streaming))

    @property
    def seconds(self) -> float:
        """How long the agent has worked so far, or did."""
        return self._loop.time() - self._started if self._seconds is None else self._seconds

    @property
    def decided(self) -> bool:
        """Whether the outcome is decided."""
        return self._phase is not _WORKING

    @property
    def over(self) -> bool:
        """Whether the agent has ended, or has had the time to after a stop."""
        return self._phase is _ENDED or self._phase is _ABANDONED

    def stopped_by(self, kind: str) -> bool:
        """Return whether a stop of a kind decided the outcome."""
        return self._stop is not None and self._stop.kind == kind

    async def begin(self, seconds: float | None, *, waiting_counts: bool = True) -> None:
        """Give the agent its first turn. Many agents end in it, and need no timer.

        Args:
            seconds: How long it may work; None for no limit.
            waiting_counts: Whether that includes the time in which it waits for answers.
        """
        limit: TimeLimit | None = None
        if seconds is not None and self._session.answerable:  # it may ask in its first turn
            limit = TimeLimit(self._loop, seconds, self._started, waiting_counts=waiting_counts)
            self._session.asking.limit = limit
        await asyncio.sleep(0)
        if seconds is not None and not self.decided:
            self._limit = limit or TimeLimit(self._loop, seconds, self._started)
            self._limit.start(partial(self.stop, _TIMEOUT))

    def outcome(self) -> Outcome:
        """Return the outcome, once it is decided."""
        if self._stop is not None:
            result = redacted(outcome.of_stop(self._stop), self._session.redactor)  # it may be pushed
        elif self.task.cancelled():  # by the agent itself, in its last step
            result = outcome.of_exception(asyncio.CancelledError())
        else:
            result = self.task.result()
        result = outcome.with_usage(result, self._session.usage)
        return outcome.with_denied(result, self._session.denied_tools)

    def stop(self, stop: Stop) -> None:
        """Stop the agent. Does nothing once the outcome is decided.

        Args:
            stop: The reason, which decides the outcome.
        """
        if self.decided:
            return
        self._stop = stop
        self._advance(_STOP)
        self._timer = self._loop.call_later(STOP_SECONDS, self._abandon)
        self.task.add_done_callback(lambda _: self._advance(_AGENT_ENDED))  # if it never began
        self._session.cancel()
        self._loop.call_soon(self.task.cancel)  # apart, since awaitables of agents may raise in it

    def _abandon(self) -> None:
        log(_logger, logging.WARNING, "agent does not stop", run_id=self._session.run_id)
        self._advance(_GRACE_OVER)

    def _advance(self, transitions: dict[Phase, Phase]) -> None:
        phase = transitions.get(self._phase)
        if phase is None:
            return
        self._phase = phase
        if self._limit is not None:
            self._limit.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if phase is not _STOPPING:
            self._seconds = self.seconds
            self.ended_at = datetime.now(UTC)
            self._session.seal()
        self._notify()

    async def _work(self, agent: Agent, call: Call, *, streaming: bool) -> Outcome:
        self._session.activate()
        try:
            output = await agent.run(call, self._session, streaming=streaming)
            result = output if isinstance(output, Outcome) else outcome.of_output(output)
        except BaseException as error:  # an agent's SystemExit must not end the service
            result = outcome.of_exception(error)
            if self.decided:
                clear_tracebacks(error)  # which nobody gets
        self._advance(_AGENT_ENDED)  # before anyone is woken by it, this task is done
        return redacted(result, self._session.redactor)


def time_left(call: Call, record: Run, limit: float, *, waiting_counts: bool = True) -> float | None:
    """Return how long an agent may work, None for no limit.

    An invocation's limit counts from its request. That of other runs counts from when their agent was first
    started, so attempts before this one count; unless the time in which they waited for answers does not,
    since it is not known.

    Args:
        call: What the agent works on.
        record: The run's record, whose log may not have this start yet.
        limit: How long runs may take.
        waiting_counts: Whether that includes the time in which the agent waits for answers.
    """
    if call.invocation is None:
        since = record.started_at if waiting_counts else None
    elif call.invocation.limit is None:
        return None
    else:
        limit, since = call.invocation.limit, record.created_at
    return limit if since is None else max(limit - (datetime.now(UTC) - since).total_seconds(), 0)
