"""When a message is sent again."""

import random
from collections.abc import Sequence

from dockrion.backends.outbox import Failures

_HOUR = 3600.0
# Pauses in seconds, which add up to a day; similar to those of the specification's example.
PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 8 * _HOUR)
SECONDS = 26 * _HOUR
_JITTER = 0.1


class Schedule:
    """Growing pauses between attempts, until it is time to give up.

    Args:
        pauses: The pause after each failure; after one more failure it is time.
        seconds: After how many it is time in any case, which bounds what a receiver may ask for.
    """

    def __init__(self, pauses: Sequence[float] = PAUSES, seconds: float = SECONDS) -> None:
        self._pauses = pauses
        self._seconds = seconds

    def is_over(self, since: float, now: float) -> bool:
        """Return whether it is time to give up on what has waited since a time."""
        return now - since > self._seconds

    def pause(self, failures: Failures, now: float, retry_after: float) -> float | None:
        """Return the seconds until the next attempt, None to give up.

        Args:
            failures: The failures until now, at least one.
            now: On the clock that those were recorded with.
            retry_after: What the receiver asks for; respected as long as there is time.
        """
        left = failures.since + self._seconds - now
        if failures.count > len(self._pauses) or left <= 0:
            return None
        pause = self._pauses[failures.count - 1] * random.uniform(1, 1 + _JITTER)
        return min(max(pause, retry_after), left)
