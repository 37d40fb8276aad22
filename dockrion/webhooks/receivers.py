"""What this process knows of receivers: how many requests each of them has, and which are gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

_REQUESTS = 16  # to one receiver at once
_WAITING = 256  # deliveries that wait for one of these
_WAIT_SECONDS = 5.0


class Busy(Exception):
    """A receiver has as many requests as it may have."""


class _Slots(msgspec.Struct, eq=False):
    semaphore: asyncio.Semaphore
    users: int = 0


class Receivers:
    """Bounds the requests to each receiver, so that a slow one does not occupy everything.

    Attributes:
        gone: The names of targets that do not want to be asked again.
    """

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self._slots: dict[str, _Slots] = {}

    @asynccontextmanager
    async def slot(self, receiver: str) -> AsyncIterator[None]:
        """Wait for a slot of a receiver, and occupy it.

        Raises:
            Busy: There is none for a while.
        """
        slots = self._slots.setdefault(receiver, _Slots(asyncio.Semaphore(_REQUESTS)))
        if slots.users >= _REQUESTS + _WAITING:
            raise Busy
        slots.users += 1
        try:
            try:
                async with asyncio.timeout(_WAIT_SECONDS):
                    await slots.semaphore.acquire()
            except TimeoutError:
                raise Busy from None
            try:
                yield
            finally:
                slots.semaphore.release()
        finally:
            slots.users -= 1
            if not slots.users:
                del self._slots[receiver]
