"""State that all replicas of a service share besides runs: counters, names that one holds, and a secret."""

from typing import Protocol

import msgspec

SECRET_BYTES = 32


class WindowCount(msgspec.Struct, frozen=True):
    """The state of a counter after an increment.

    Attributes:
        count: Increments in the current window, this one included.
        seconds_left: Seconds until the window ends.
    """

    count: int
    seconds_left: float


class SharedState(Protocol):
    """Counters, names that one holds, and a secret, the same for all replicas of a service."""

    async def count(self, name: str, window: int) -> WindowCount:
        """Increment a counter.

        Not idempotent: a call that raised may have counted, and counts again when it is repeated.

        Args:
            name: The counter. The same name with another window is another counter.
            window: Its length in seconds. It begins with the first increment, and then the count
                starts over.

        Raises:
            ServiceUnavailable: The storage cannot be reached.
        """

    async def hold(self, name: str, holder: str, seconds: int) -> bool:
        """Hold a name, hold it longer, or release it. Only one holder can hold a name.

        Args:
            name: The name.
            holder: Identifies the holder, unlike all others.
            seconds: How long to hold it from now on; 0 to release it.

        Returns:
            Whether that is done; False if another holds the name.

        Raises:
            ServiceUnavailable: The storage cannot be reached.
        """

    async def secret(self) -> bytes:
        """Return `SECRET_BYTES` random bytes, the same for all replicas of this service.

        They do not change as long as they are requested at least once a day and the storage keeps
        its data.

        Raises:
            ServiceUnavailable: The storage cannot be reached.
        """
