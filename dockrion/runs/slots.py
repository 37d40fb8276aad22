"""Who may work: so many at once, so many waiting behind them."""

import asyncio
from collections import deque

from dockrion.errors import TooManyRuns

Slot = asyncio.Future[None]


class Slots:
    """A bounded number of slots and a bounded queue for them, first come, first served.

    Made on the event loop.

    Args:
        slots: How many may be taken at once.
        queue: How many may wait.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self._free = slots
        self._queue = queue
        self._waiting: deque[Slot] = deque()
        self._loop = asyncio.get_running_loop()
        self._at_once: Slot = self._loop.create_future()  # for all who do not wait
        self._at_once.set_result(None)

    def reserve(self) -> Slot:
        """Take a slot, or one in the queue; the future is done when it is a real one.

        Every slot is given back with `release`.

        Raises:
            TooManyRuns: The queue is full.
        """
        if self._free:
            self._free -= 1
            return self._at_once
        if len(self._waiting) >= self._queue:
            raise TooManyRuns(f"{len(self._waiting)} runs are waiting already; try again later")
        slot: Slot = self._loop.create_future()
        self._waiting.append(slot)
        return slot

    def release(self, slot: Slot) -> None:
        """Give a slot back, real or in the queue."""
        if not slot.done():
            self._waiting.remove(slot)
            slot.cancel()
        elif self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._free += 1
