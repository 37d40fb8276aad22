"""How long an agent may work on a run, with or without the time in which it waits for an answer."""

import asyncio
from collections.abc import Callable


class TimeLimit:
    """A deadline that may move while the agent waits. Must be used on the event loop.

    Args:
        loop: The running event loop.
        seconds: The limit.
        started: When the agent started, on the loop's clock.
        waiting_counts: Whether the time in which the agent waits for an answer counts.
    """

    __slots__ = ("_deadline", "_loop", "_on_reached", "_paused_at", "_timer", "seconds", "waiting_counts")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, started: float, *, waiting_counts: bool = True
    ) -> None:
        self.seconds = seconds
        self.waiting_counts = waiting_counts
        self._loop = loop
        self._deadline = started + seconds
        self._paused_at: float | None = None
        self._on_reached: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seconds_left(self) -> float:
        """Seconds until the limit is reached, if the agent does not wait meanwhile."""
        now = self._loop.time() if self._paused_at is None else self._paused_at
        return max(self._deadline - now, 0)

    def start(self, on_reached: Callable[[], object]) -> None:
        """Call a function when the limit is reached."""
        self._on_reached = on_reached
        self._schedule()

    def pause(self) -> None:
        """The agent begins to wait for an answer."""
        if not self.waiting_counts and self._paused_at is None:
            self._paused_at = self._loop.time()
            self._unschedule()

    def resume(self) -> None:
        """The agent waits no more."""
        if self._paused_at is not None:
            self._deadline += self._loop.time() - self._paused_at
            self._paused_at = None
            self._schedule()

    def cancel(self) -> None:
        """Never call the function."""
        self._on_reached = None
        self._unschedule()

    def _schedule(self) -> None:
        if self._on_reached is not None and self._paused_at is None:
            self._timer = self._loop.call_at(self._deadline, self._on_reached)

    def _unschedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
