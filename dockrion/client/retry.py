"""When to try again, and when to give up."""

import time

from dockrion.backoff import Backoff

LONGEST_DELAY_SECONDS = 30.0
_SHORTEST_DELAY_SECONDS = 0.01
_FIRST_DELAY_SECONDS = 1.0
_JITTER = 0.5  # spreads the clients that lost a service at the same time


class RetrySchedule:
    """The delays between attempts to reach a service that is away or busy.

    Args:
        timeout: Seconds of failing attempts after which there is no further one.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._first = _FIRST_DELAY_SECONDS
        self._backoff = Backoff(self._first, LONGEST_DELAY_SECONDS, jitter=_JITTER)
        self._failing_since: float | None = None

    def set_first_delay(self, seconds: float) -> None:
        """Start with the delay that the service asks for (`retry:` of an event stream)."""
        first = min(max(seconds, _SHORTEST_DELAY_SECONDS), LONGEST_DELAY_SECONDS)
        if first != self._first:
            self._first = first
            self._backoff = Backoff(first, LONGEST_DELAY_SECONDS, jitter=_JITTER)

    def reset(self) -> None:
        """Start again with the first delay: the service has responded."""
        self._backoff.reset()
        self._failing_since = None

    def next_delay(self, at_least: float = 0.0) -> float | None:
        """Return the seconds to wait before the next attempt, None to give up.

        Args:
            at_least: The delay that the service asks for (`Retry-After`).
        """
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        delay = self._backoff.next(at_least)
        return delay if now + delay - self._failing_since <= self._timeout else None

    def delay_after(self, open_seconds: float) -> float:
        """Return the seconds to wait after a connection that ended as announced.

        Args:
            open_seconds: How long it was open: there is at most one such connection per first delay.
        """
        return max(self._first - open_seconds, 0.0)
