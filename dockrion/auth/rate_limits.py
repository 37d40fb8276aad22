"""How often callers may begin work."""

import math
from collections.abc import Iterable, Mapping

import msgspec

from dockrion.backends.protocol import Backend

_DEFAULT = "default"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Allowance(msgspec.Struct, frozen=True):
    """What a caller has left.

    Attributes:
        limit: How often they may in a window.
        remaining: How often they still may in this one.
        reset: Seconds until the next one begins.
        window: How long each is, in seconds.
        exceeded: Whether this request was one too many.
    """

    limit: int
    remaining: int
    reset: int
    window: int
    exceeded: bool


class RateLimits:
    """Counts what callers begin, together with all replicas.

    A caller has one count, whatever their roles. The window begins with the first request in it.

    Args:
        limits: The Dockfile's: by role, or `default` for those whose roles have none.
        backend: Where it is counted.
    """

    def __init__(self, limits: Mapping[str, str], backend: Backend) -> None:
        self._limits = {role: _parsed(text) for role, text in limits.items()}
        self._backend = backend

    async def count(self, who: str, roles: Iterable[str]) -> Allowance | None:
        """Count one request that begins work.

        Args:
            who: The caller.
            roles: Their roles; of several limits the most generous one holds.

        Returns:
            What is left to them, None where they have no limit.

        Raises:
            ServiceUnavailable: It cannot be counted now.
        """
        limit = self._of(roles)
        if limit is None:
            return None
        most, window = limit
        usage = await self._backend.count(f"rate:{window}:{who}", window)
        reset = max(math.ceil(usage.seconds_left), 1)
        return Allowance(most, max(most - usage.count, 0), reset, window, usage.count > most)

    def _of(self, roles: Iterable[str]) -> tuple[int, int] | None:
        own = [self._limits[role] for role in roles if role in self._limits and role != _DEFAULT]
        return max(own, key=_per_second) if own else self._limits.get(_DEFAULT)


def _parsed(text: str) -> tuple[int, int]:
    """Return how often, and in how many seconds."""
    count, _, window = text.partition("/")
    return int(count), _SECONDS[window[0]]


def _per_second(limit: tuple[int, int]) -> float:
    count, window = limit
    return count / window
