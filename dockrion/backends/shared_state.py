"""State that all replicas of a service share besides runs: counters, names that are taken, and a secret."""

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
    """Counters, names that are held or claimed, and a secret, the same for all replicas of a service."""

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

    async def claim(self, name: str, value: bytes, seconds: int, replacing: bytes | None = None) -> bytes:
        """Claim a name with a value, unless it is claimed already.

        Of several calls at once for a free name, one stores its value, and all return that.

        Args:
            name: The name.
            value: The value; not empty.
            seconds: How long the claim lasts. A backend may hold a bounded number of claims only, and drop
                the one that ends first.
            replacing: Replace the claim if it has this value.

        Returns:
            The value with which the name is claimed now, which is another's if `value` was not stored.

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
