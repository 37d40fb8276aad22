"""Time limits that may pause."""

import asyncio
from typing import cast

import pytest

from dockrion.runs.time_limit import TimeLimit
from tests.support import TIMEOUT_SECONDS


class Clock:
    """The time and the timer of an event loop."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: float | None = None

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, _callback: object) -> "Clock":
        self.due = when
        return self

    def cancel(self) -> None:
        self.due = None

    def limit(self, *, waiting_counts: bool) -> TimeLimit:
        loop = cast("asyncio.AbstractEventLoop", self)
        return TimeLimit(loop, 10, self.now, waiting_counts=waiting_counts)


def started(*, waiting_counts: bool) -> tuple[Clock, TimeLimit]:
    clock = Clock()
    limit = clock.limit(waiting_counts=waiting_counts)
    limit.start(lambda: None)
    return clock, limit


@pytest.mark.parametrize("waiting_counts", [True, False])
def test_a_limit_is_due_that_long_after_its_start(waiting_counts: bool) -> None:
    clock, limit = started(waiting_counts=waiting_counts)
    clock.now += 4
    assert (clock.due, limit.seconds_left) == (110, 6)
    clock.now += 20
    assert limit.seconds_left == 0


def test_time_that_counts_is_not_paused() -> None:
    clock, limit = started(waiting_counts=True)
    limit.pause()
    clock.now += 4
    limit.resume()
    assert (clock.due, limit.seconds_left) == (110, 6)


def test_time_that_does_not_count_moves_the_limit() -> None:
    clock, limit = started(waiting_counts=False)
    for _ in range(2):
        clock.now += 1
        limit.pause()
        limit.pause()
        clock.now += 5
        assert clock.due is None
        limit.resume()
        limit.resume()
    assert (clock.due, limit.seconds_left) == (120, 8)


def test_a_pause_may_begin_before_the_start() -> None:
    clock = Clock()
    limit = clock.limit(waiting_counts=False)
    limit.pause()
    limit.start(lambda: None)
    clock.now += 3
    assert clock.due is None
    limit.resume()
    assert clock.due == 113


def test_a_cancelled_limit_is_never_due() -> None:
    clock, limit = started(waiting_counts=False)
    limit.pause()
    limit.cancel()
    limit.resume()
    assert clock.due is None


async def test_a_limit_calls_back() -> None:
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()
    limit = TimeLimit(loop, 0.01, loop.time(), waiting_counts=False)
    limit.start(reached.set)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await reached.wait()
