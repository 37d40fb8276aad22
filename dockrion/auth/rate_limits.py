"""Rate limits on requests that start work, per caller and shared by all replicas."""

import math
from collections.abc import Iterable, Mapping

import msgspec

from dockrion.backends.shared_state import SharedState

_DEFAULT = "default"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Allowance(msgspec.Struct, frozen=True):
    """A caller's state after a request was counted.

    Attributes:
        limit: Requests allowed per window.
        remaining: Requests left in the current window.
        reset: Seconds until the current window ends.
        window: The length of a window, in seconds.
        exceeded: Whether the counted request was over the limit.
    """

    limit: int
    remaining: int
    reset: int
    window: int
    exceeded: bool


class RateLimiter:
    """Counts requests in fixed windows, each of which starts with the first request in it.

    A caller has one counter, whichever roles they have.

    Args:
        limits: The Dockfile's limits by role; `default` is for callers none of whose roles has one.
        backend: Holds the counters.
    """

    def __init__(self, limits: Mapping[str, str], backend: SharedState) -> None:
        self._limits = {role: _parse(text) for role, text in limits.items()}
        self._backend = backend

    async def count(self, caller_id: str, roles: Iterable[str]) -> Allowance | None:
        """Count one request.

        Args:
            caller_id: Identifies the caller.
            roles: The caller's roles; the most generous of their limits applies.

        Returns:
            What is left, or None if no limit applies.

        Raises:
            ServiceUnavailable: The backend cannot be reached.
        """
        limit = self._limit_of(roles)
        if limit is None:
            return None
        allowed, window = limit
        usage = await self._backend.count(f"rate:{window}:{caller_id}", window)
        reset = max(math.ceil(usage.seconds_left), 1)
        return Allowance(allowed, max(allowed - usage.count, 0), reset, window, usage.count > allowed)

    def _limit_of(self, roles: Iterable[str]) -> tuple[int, int] | None:
        limits = [self._limits[role] for role in roles if role in self._limits and role != _DEFAULT]
        return max(limits, key=_per_second) if limits else self._limits.get(_DEFAULT)


def _parse(text: str) -> tuple[int, int]:
    """Return the requests and the window in seconds of a limit like `10/minute`."""
    count, _, window = text.partition("/")
    return int(count), _SECONDS[window[0]]


def _per_second(limit: tuple[int, int]) -> float:
    count, window = limit
    return count / window
