"""What the replicas of a service share beside their runs: counters and a secret."""

from typing import Protocol

import msgspec

SECRET_BYTES = 32


class WindowCount(msgspec.Struct, frozen=True):
    """How often something was counted in its present window of time.

    Attributes:
        count: The number so far, the last one included.
        seconds_left: Until the window is over.
    """

    count: int
    seconds_left: float


class SharedState(Protocol):
    """Counts over all replicas, and keeps their common secret."""

    async def count(self, name: str, window: int) -> WindowCount:
        """Count one occurrence, over all replicas.

        A call that failed may have counted all the same, and counts again when it is repeated.

        Args:
            name: What is counted. The same name with another window is counted separately.
            window: Seconds from the first occurrence until the count starts over.

        Raises:
            ServiceUnavailable: The storage cannot be reached.
        """

    async def secret(self) -> bytes:
        """Return `SECRET_BYTES` random bytes that all replicas share and nobody else knows.

        They stay the same as long as they are requested once a day and the storage keeps them.

        Raises:
            ServiceUnavailable: The storage cannot be reached.
        """
