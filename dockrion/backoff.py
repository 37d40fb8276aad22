"""Delays between attempts at an operation that fails temporarily."""

import random


class Backoff:
    """Exponential backoff: delays double from the first to the longest.

    Args:
        first: The first delay, in seconds.
        longest: The longest delay, in seconds.
        jitter: Largest random addition, as a fraction of the delay; 0.5 adds up to half.
    """

    __slots__ = ("_delay", "_first", "_jitter", "_longest")

    def __init__(self, first: float, longest: float, *, jitter: float = 0.0) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._delay = first

    def next(self, at_least: float = 0.0) -> float:
        """Return the delay before the next attempt, in seconds.

        Args:
            at_least: Lower bound, such as a `Retry-After`; the jitter is added to it.
        """
        delay = self._delay
        self._delay = min(delay * 2, self._longest)
        return max(delay, at_least) + delay * random.uniform(0, self._jitter)

    def reset(self) -> None:
        """Restart from the first delay, after a successful attempt."""
        self._delay = self._first
