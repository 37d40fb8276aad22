"""How long to wait before trying again, and when to give up."""

import random
import time

LONGEST_PAUSE_SECONDS = 30.0
_SHORTEST_PAUSE_SECONDS = 0.01
_FIRST_PAUSE_SECONDS = 1.0
_JITTER = 0.5  # of a pause, so that those who lost a service together do not come back together
_MOST_DOUBLINGS = 10


class Patience:
    """The pauses of one who waits for a service that is away or busy.

    Args:
        seconds: After so many without a sign of life there is no further try.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._base = _FIRST_PAUSE_SECONDS
        self._tries = 0
        self._since: float | None = None

    def wants(self, seconds: float) -> None:
        """Let the first pause be as long as the service asks for (`retry:`)."""
        self._base = min(max(seconds, _SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)

    def renew(self) -> None:
        """Start anew: the service has shown that it is there."""
        self._tries = 0
        self._since = None

    def pause(self, at_least: float = 0.0) -> float | None:
        """Return how many seconds to wait before the next try, None to give up.

        Args:
            at_least: What the service asked for (`Retry-After`).
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
        doubled = self._base * 2 ** min(self._tries, _MOST_DOUBLINGS)
        usual = min(doubled, LONGEST_PAUSE_SECONDS)
        seconds = max(usual, at_least) + usual * random.uniform(0, _JITTER)
        self._tries += 1
        return seconds if now + seconds - self._since <= self._seconds else None

    def rest(self, lasted: float) -> float:
        """Return how many seconds to wait after a connection that ended as planned.

        Args:
            lasted: The seconds it was open: connections begin no faster than one each first pause.
        """
        return max(self._base - lasted, 0.0)
