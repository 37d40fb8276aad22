"""One agent at work on one payload."""

import asyncio
import logging
from datetime import UTC, datetime

from dockrion.logs import log
from dockrion.redaction import Redactor
from dockrion.runs import outcome
from dockrion.runs.agent import Agent, Call
from dockrion.runs.context import RunSession
from dockrion.runs.outcome import Outcome, Stop

_logger = logging.getLogger("dockrion.runs")
STOP_SECONDS = 5.0
_TIMEOUT = Stop("timeout")


class Execution:
    """Runs an agent in a task of its own, from the moment it is made.

    Args:
        agent: Who works.
        call: What on.
        session: The run for which it works.
        redactor: Cleans what the agent's exceptions say.
        changed: Set when it is decided how it ends, and when it is over.
        loop: The running event loop.
        streaming: Whether anybody can see the events.

    Attributes:
        task: Done when the agent has really ended.
        ended_at: When it was over, None until then.
    """

    def __init__(
        self,
        agent: Agent,
        call: Call,
        session: RunSession,
        redactor: Redactor,
        changed: asyncio.Event,
        loop: asyncio.AbstractEventLoop,
        *,
        streaming: bool,
    ) -> None:
        self._session = session
        self._redactor = redactor
        self._changed = changed
        self._stop: Stop | None = None
        self._given_up = False
        self.ended_at: datetime | None = None
        self._seconds: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = loop
        self._began = loop.time()
        self.task = loop.create_task(self._work(agent, call, streaming=streaming))

    @property
    def seconds(self) -> float:
        """How long it has been at work, or was."""
        return self._loop.time() - self._began if self._seconds is None else self._seconds

    @property
    def decided(self) -> bool:
        """Whether it is known how it ends: the agent has ended, or was told to."""
        return self._stop is not None or self.task.done()

    @property
    def over(self) -> bool:
        """Whether the agent has ended, or has had the time to after it was told to."""
        return self._given_up or self.task.done()

    async def begin(self, limit: float | None) -> None:
        """Give the agent its first turn; many are done with that, and the others have a limit.

        Args:
            limit: The time that it has, in seconds; None for no limit.
        """
        await asyncio.sleep(0)
        if limit is not None and not self.decided:
            self._timer = self._loop.call_at(self._began + limit, self.stop, _TIMEOUT)

    def outcome(self) -> Outcome:
        """Return how it ends, once that is decided."""
        if self._stop is not None:
            result = outcome.of_stop(self._stop)
        elif self.task.cancelled():  # by itself, in its last step
            result = outcome.of_exception(asyncio.CancelledError())
        else:
            result = self.task.result()
        return outcome.with_denied(result, self._session.denied_tools)

    def stop(self, stop: Stop) -> None:
        """Tell the agent to end; too late if it is decided how it ends.

        Args:
            stop: Why, and so how it ends.
        """
        if self.decided:
            return
        self._stop = stop
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(STOP_SECONDS, self._give_up)
        self.task.add_done_callback(self._end)  # also of a task that has not begun
        self._session.cancel()
        self._loop.call_soon(self.task.cancel)  # what is cancelled is the agent's, and may raise
        self._changed.set()

    def _give_up(self) -> None:
        log(_logger, logging.WARNING, "agent does not stop", run_id=self._session.run_id)
        self._given_up = True
        self._end()

    def _end(self, _task: object = None) -> None:
        """Note that it is over, whatever the agent still says. The first time counts."""
        if self._timer is not None:
            self._timer.cancel()
        if self._seconds is None:
            self._seconds = self.seconds
            self.ended_at = datetime.now(UTC)
            self._session.seal()
        self._changed.set()

    async def _work(self, agent: Agent, call: Call, *, streaming: bool) -> Outcome:
        self._session.activate()
        try:
            output = await agent.run(call, self._session, streaming=streaming)
            result = output if isinstance(output, Outcome) else outcome.of_output(output)
        except BaseException as error:  # an agent's SystemExit must not end the service
            result = outcome.of_exception(error)
        self._end()  # when that is heard, this task is done
        return outcome.cleaned(result, self._redactor)
