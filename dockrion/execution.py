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
        streaming: Whether anybody can see them.
        redactor: Cleans what the agent's exceptions say.

    Attributes:
        task: Done when the agent has really ended.
    """

    def __init__(
        self, agent: Agent, call: Call, context: StreamContext, redactor: Redactor, *, streaming: bool
    ) -> None:
        self._context = context
        self._redactor = redactor
        self._began = time.perf_counter()
        self._waiting: asyncio.Future[None] | None = None
        self.task = asyncio.create_task(self._work(agent, call, streaming=streaming))

    @property
    def seconds(self) -> float:
        """How long it has been at work."""
        return time.perf_counter() - self._began

    async def outcome(self, stop: asyncio.Future[Stop], limit: float | None) -> Outcome:
        """Wait until the agent is done, is to stop, or its time is over; then stop it.

        Args:
            stop: Set when the agent is to stop.
            limit: The time it has, in seconds.
        """
        await self._first_of(stop, limit)
        ended_elsewhere = stop.done() and stop.result().kind == "ended"  # and was told that this counts
        if self.task.done() and not ended_elsewhere:
            result = self.task.result()
        else:
            self.cancel()
            result = outcome.of_stop(stop.result() if stop.done() else Stop("timeout"))
        return outcome.with_denied(result, self._context.denied_tools)

    def cancel(self) -> None:
        """Tell the agent to stop."""
        self._context.cancel()
        self.task.cancel()

    async def settled(self) -> bool:
        """Wait until the agent has ended, for as long as one that was told to stop may take.

        Returns:
            Whether it has.
        """
        if not self.task.done():
            await asyncio.wait((self.task,), timeout=STOP_SECONDS)
        return self.task.done()

    async def _first_of(self, stop: asyncio.Future[Stop], limit: float | None) -> None:
        """Wait for the end, the stop, or the limit. `asyncio.wait` takes another turn of the loop."""
        if self.task.done() or stop.done():
            return
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        stop.add_done_callback(self._go_on)
        timer = None if limit is None else loop.call_later(limit, self._go_on)
        try:
            await self._waiting
        finally:
            stop.remove_done_callback(self._go_on)
            if timer is not None:
                timer.cancel()

    def _go_on(self, _stop: object = None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _work(self, agent: Agent, call: Call, *, streaming: bool) -> Outcome:
        set_current_context(self._context)
        try:
            output = await agent.run(call, self._context, streaming=streaming)
            result = output if isinstance(output, Outcome) else outcome.of_output(output)
        except BaseException as error:  # an agent's SystemExit must not end the service
            result = outcome.of_exception(error)
        self._go_on()  # when that is heard, this task is done
        return outcome.cleaned(result, self._redactor)
