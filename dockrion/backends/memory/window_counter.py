"""How often what was used."""

from collections.abc import Callable
from heapq import heappop, heappush

from dockrion.backends.shared_state import WindowCount

_NAMES = 100_000
_Name = tuple[str, int]


class Uses:
    """Counts uses in windows of time that begin with the first. Of too many names some are forgotten.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counts: dict[_Name, tuple[float, int]] = {}
        self._ends: list[tuple[float, _Name]] = []

    def count(self, name: str, window: int) -> WindowCount:
        """Count one use; see `Backend.count`."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            self._forget_first()
        end, used = self._counts.get((name, window), (now + window, 0))
        if not used:
            if len(self._counts) >= _NAMES:
                self._forget_first()
            heappush(self._ends, (end, (name, window)))
        self._counts[name, window] = end, used + 1
        return WindowCount(used + 1, end - now)

    def _forget_first(self) -> None:
        """Forget the name whose window ends first."""
        _, name = heappop(self._ends)
        del self._counts[name]
