"""The clock of an event loop, which tests can advance instead of waiting for a timer."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tests.support import TIMEOUT_SECONDS


class _AdvancedClock:
    """Replaces the `time` of an event loop."""

    def __init__(self, loop_time: Callable[[], float]) -> None:
        self.passed = 0.0
        self._loop_time = loop_time

    def __call__(self) -> float:
        return self._loop_time() + self.passed


async def advance(seconds: float) -> None:
    """Let the clock of the running event loop jump ahead, and the timers fire that are due then."""
    loop: Any = asyncio.get_running_loop()
    if not isinstance(loop.time, _AdvancedClock):
        loop.time = _AdvancedClock(loop.time)
    loop.time.passed += seconds
    for _ in range(2):  # in a turn of the loop, timers come after the tasks that are ready
        await asyncio.sleep(0)


async def advance_until(condition: Callable[[], Any]) -> None:
    """Advance the clock second by second until a condition holds; each may take the loop several turns."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for {condition}"
        await asyncio.sleep(0.005)
        await advance(1.0)
