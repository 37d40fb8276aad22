"""Counters in time windows."""

from collections.abc import Callable
from heapq import heappop, heappush

from dockrion.backends.shared_state import WindowCount

_MAX_COUNTERS = 100_000
_Key = tuple[str, int]


class WindowCounter:
    """Counts in windows that begin with the first increment.

    Holds a bounded number of counters. One too many drops the one whose window ends first.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: dict[_Key, tuple[float, int]] = {}
        self._ends: list[tuple[float, _Key]] = []  # a heap

    def count(self, name: str, window: int) -> WindowCount:
        """Increment a counter; see `SharedState.count`."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            self._drop_first()
        key = name, window
        end, count = self._counts.get(key, (now + window, 0))
        if not count:
            if len(self._counts) >= _MAX_COUNTERS:
                self._drop_first()
            heappush(self._ends, (end, key))
        self._counts[key] = end, count + 1
        return WindowCount(count + 1, end - now)

    def _drop_first(self) -> None:
        _, key = heappop(self._ends)
        del self._counts[key]
