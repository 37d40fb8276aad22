"""Delays between attempts at something that is away for a time."""

import random


class Backoff:
    """Delays that double from the first to the longest.

    Args:
        first: The first delay, in seconds.
        longest: The longest delay, in seconds.
        jitter: The part of a delay that is added at random, at most; 0.5 adds up to half.
    """

    __slots__ = ("_delay", "_first", "_jitter", "_longest")

    def __init__(self, first: float, longest: float, *, jitter: float = 0.0) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._delay = first

    def next(self, at_least: float = 0.0) -> float:
        """Return how long to wait before the next attempt, in seconds.

        Args:
            at_least: A longer delay that the other side asks for, to which the jitter is added.
        """
        delay = self._delay
        self._delay = min(delay * 2, self._longest)
        return max(delay, at_least) + delay * random.uniform(0, self._jitter)

    def reset(self) -> None:
        """Begin again with the first delay, after an attempt that succeeded."""
        self._delay = self._first
