"""Runs whose events other processes push, and the idle timeout that ends them if no one does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dockrion.errors import PRODUCER_TIMEOUT
from dockrion.runs.agent import Call, InProcess
from dockrion.runs.outcome import Failed, Outcome
from dockrion.runs.session import RunSession

_GRACE_SECONDS = 0.05


class IdleTimeout:
    """Limits how long a run may go without activity. Events that are pushed for it count as activity.

    Args:
        session: The run.
        seconds: The limit.
    """

    def __init__(self, session: RunSession, seconds: float) -> None:
        self.seconds = seconds
        self._session = session
        self._timeout = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def expired(self) -> bool:
        return self._timeout.expired()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Raise `TimeoutError` in the body of this context when the limit is reached."""
        async with self._timeout:
            self.restart()
            self._session.from_process.on_push = self._on_push
            try:
                yield
            finally:
                self._session.from_process.on_push = None
                self.pause()

    def restart(self) -> None:
        """Start to count from zero."""
        self.pause()
        self._timer = asyncio.get_running_loop().call_later(self.seconds, self._on_timer)

    def pause(self) -> None:
        """Stop counting until the next `restart`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_push(self) -> None:
        if self._timer is not None:
            self.restart()

    def _on_timer(self) -> None:
        loop = asyncio.get_running_loop()
        left = self._session.asking.waited_until + self.seconds - loop.time()
        if left > 0:  # while it waits for an answer, the process need not do anything
            self._timer = loop.call_later(left, self._on_timer)
            return
        # If this process itself was stalled, activity may be waiting in its sockets: read that first.
        self._timer = loop.call_later(_GRACE_SECONDS, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._timeout.reschedule(asyncio.get_running_loop().time())


async def until_idle(session: RunSession, seconds: float) -> Outcome:
    """Wait until no event has been pushed for a run for too long.

    Args:
        session: The run.
        seconds: The idle timeout.

    Returns:
        The outcome of the run that timed out.
    """
    try:
        async with IdleTimeout(session, seconds).running():
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never done
    except TimeoutError:
        return Failed(f"no event was pushed for {seconds:g} s", PRODUCER_TIMEOUT)


class ExternalAgent(InProcess):
    """The agent of a run that its creator feeds and ends by pushing events.

    Args:
        idle_timeout: The longest time without a pushed event, in seconds.
    """

    def __init__(self, idle_timeout: float) -> None:
        self._idle_timeout = idle_timeout

    async def run(self, call: Call, session: RunSession, *, streaming: bool) -> Any:  # noqa: ARG002
        return await until_idle(session, self._idle_timeout)
