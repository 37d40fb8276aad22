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
        done, _ = await asyncio.wait((self.task, stop), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        ended_elsewhere = stop in done and stop.result().kind == "ended"  # and was told that this counts
        if self.task in done and not ended_elsewhere:
            return self.task.result()
        self.cancel()
        return outcome.of_stop(stop.result() if stop in done else Stop("timeout"))

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

    async def _work(self, agent: Agent, call: Call, *, streaming: bool) -> Outcome:
        set_current_context(self._context)
        try:
            output = await agent.run(call, self._context, streaming=streaming)
            result = output if isinstance(output, Outcome) else outcome.of_output(output)
        except BaseException as error:  # an agent's SystemExit must not end the service
            result = outcome.of_exception(error)
        return outcome.cleaned(result, self._redactor)
