"""One agent at work on one payload."""

import asyncio
import time

from dockrion import outcome
from dockrion.agents.base import Agent, Call
from dockrion.context import StreamContext, set_current_context
from dockrion.outcome import Outcome, Stop
from dockrion.redaction import Redactor

STOP_SECONDS = 5.0


class Execution:
    """Runs an agent in a task of its own, from the moment it is made.

    Args:
        agent: Who works.
        call: What on.
        context: Where its events go.
        redactor: Cleans what the agent's exceptions say.
        news: Set when it is decided how it ends, and when it is over.
        streaming: Whether anybody can see the events.
        limit: The time that the agent has, in seconds; None for no limit.

    Attributes:
        task: Done when the agent has really ended.
    """

    def __init__(
        self,
        agent: Agent,
        call: Call,
        context: StreamContext,
        redactor: Redactor,
        news: asyncio.Event,
        *,
        streaming: bool,
        limit: float | None,
    ) -> None:
        self._context = context
        self._redactor = redactor
        self._news = news
        self._stop: Stop | None = None
        self._given_up = False
        self._began = time.perf_counter()
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._work(agent, call, streaming=streaming))
        self._timer = None if limit is None else loop.call_later(limit, self.stop, Stop("timeout"))

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.perf_counter() - self._began

    @property
    def decided(self) -> bool:
        """Whether it is known how it ends: the agent has ended, or was told to."""
        return self._stop is not None or self.task.done()

    @property
    def over(self) -> bool:
        """Whether the agent has ended, or has had the time to after it was told to."""
        return self._given_up or self.task.done()

    def outcome(self) -> Outcome:
        """Return how it ends, once that is decided."""
        result = self.task.result() if self._stop is None else outcome.of_stop(self._stop)
        return outcome.with_denied(result, self._context.denied_tools)

    def stop(self, stop: Stop) -> None:
        """Tell the agent to end; too late if it is decided how it ends.

        Args:
            stop: Why, and so how it ends.
        """
        if self.decided:
            return
        self._stop = stop
        self._set_timer(STOP_SECONDS)
        self.task.add_done_callback(self._end)  # also of a task that has not begun
        self._context.cancel()
        self.task.cancel()
        self._news.set()

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = None if seconds is None else loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self._given_up = True
        self._news.set()

    def _end(self, _task: object = None) -> None:
        self._set_timer(None)
        self._news.set()

    async def _work(self, agent: Agent, call: Call, *, streaming: bool) -> Outcome:
        set_current_context(self._context)
        try:
            output = await agent.run(call, self._context, streaming=streaming)
            result = output if isinstance(output, Outcome) else outcome.of_output(output)
        except BaseException as error:  # an agent's SystemExit must not end the service
            result = outcome.of_exception(error)
        self._end()  # when that is heard, this task is done
        return outcome.cleaned(result, self._redactor)
