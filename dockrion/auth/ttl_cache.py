"""Remembering for a time."""

import time
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Expiring(Generic[T]):
    """Remembers values for a time, and so many at most: the oldest go first.

    Args:
        seconds: How long.
        most: How many.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._values: OrderedDict[bytes, tuple[float, T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: bytes) -> T | None:
        """Return the value of a key, or None."""
        if (entry := self._values.get(key)) is None:
            return None
        until, value = entry
        return value if time.monotonic() < until else None

    def put(self, key: bytes, value: T) -> None:
        """Remember the value of a key from now on."""
        now = time.monotonic()
        self._values.pop(key, None)
        self._values[key] = now + self._seconds, value
        while len(self._values) > self._most or next(iter(self._values.values()))[0] <= now:
            self._values.popitem(last=False)
