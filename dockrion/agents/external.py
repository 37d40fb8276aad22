"""Runs that other processes feed with events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dockrion.errors import PRODUCER_TIMEOUT
from dockrion.runs.agent import Call, InProcess
from dockrion.runs.context import StreamContext
from dockrion.runs.outcome import Failed, Outcome

_HEARING_SECONDS = 0.05


class Silence:
    """Limits the time in which nothing is heard of a run. What others push for it counts as heard.

    Args:
        context: The run's.
        seconds: The limit.
    """

    def __init__(self, context: StreamContext, seconds: float) -> None:
        self.seconds = seconds
        self._context = context
        self._deadline = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def too_long(self) -> bool:
        """Whether the limit was reached."""
        return self._deadline.expired()

    @asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """Raise `TimeoutError` in what happens here once nothing was heard for too long."""
        async with self._deadline:
            self.listen()
            self._context.on_push = self._broken
            try:
                yield
            finally:
                self._context.on_push = None
                self.pause()

    def listen(self) -> None:
        """Begin to count, anew."""
        self.pause()
        self._timer = asyncio.get_running_loop().call_later(self.seconds, self._doubt)

    def pause(self) -> None:
        """Do not count: nobody listens at present."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _broken(self) -> None:
        if self._timer is not None:
            self.listen()

    def _doubt(self) -> None:
        # If it was this process that was held up, what came meanwhile is heard first.
        self._timer = asyncio.get_running_loop().call_later(_HEARING_SECONDS, self._end)

    def _end(self) -> None:
        self._timer = None
        self._deadline.reschedule(asyncio.get_running_loop().time())


async def until_silent(context: StreamContext, seconds: float) -> Outcome:
    """Wait while others feed a run; what they end is ended without this.

    Args:
        context: The run's.
        seconds: How long nothing may come.

    Returns:
        How the run ends when nothing came for so long.
    """
    try:
        async with Silence(context, seconds).limited():
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never done
    except TimeoutError:
        return Failed(f"nothing has come for {seconds:g} s", PRODUCER_TIMEOUT)


class FedAgent(InProcess):
    """Stands for an agent that is none of ours: whoever opened the run feeds and ends it.

    Args:
        idle_timeout: Seconds in which nothing may come.
    """

    def __init__(self, idle_timeout: float) -> None:
        self._idle_timeout = idle_timeout

    async def run(self, call: Call, context: StreamContext, *, streaming: bool) -> Any:  # noqa: ARG002
        return await until_silent(context, self._idle_timeout)
