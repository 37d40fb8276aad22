"""How late the event loop is."""

import asyncio
from collections.abc import Callable

_INTERVAL_SECONDS = 1.0


class LoopLag:
    """Measures, every second, by how much the event loop on which it is made is late for a timer.

    Args:
        observe: Called with the seconds.
    """

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + _INTERVAL_SECONDS
        self._timer = self._loop.call_at(self._due, self._on_timer)

    def stop(self) -> None:
        """Measure no more."""
        self._timer.cancel()

    def _on_timer(self) -> None:
        now = self._loop.time()
        self._observe(max(now - self._due, 0.0))
        self._due = now + _INTERVAL_SECONDS
        self._timer = self._loop.call_at(self._due, self._on_timer)
