"""Who may work: so many at once, so many waiting behind them."""

import asyncio
from collections import deque

from dockrion.errors import TooManyRuns

Place = asyncio.Future[None]


class Places:
    """A bounded number of places and a bounded queue for them, first come, first served.

    Made on the event loop.

    Args:
        places: How many may be taken at once.
        queue: How many may wait.
    """

    def __init__(self, places: int, queue: int) -> None:
        self._free = places
        self._queue = queue
        self._waiting: deque[Place] = deque()
        self._loop = asyncio.get_running_loop()
        self._at_once: Place = self._loop.create_future()  # for all who do not wait
        self._at_once.set_result(None)

    def reserve(self) -> Place:
        """Take a place, or one in the queue; the future is done when it is a real one.

        Every place is given back with `release`.

        Raises:
            TooManyRuns: The queue is full.
        """
        if self._free:
            self._free -= 1
            return self._at_once
        if len(self._waiting) >= self._queue:
            raise TooManyRuns(f"{len(self._waiting)} runs are waiting already; try again later")
        place: Place = self._loop.create_future()
        self._waiting.append(place)
        return place

    def release(self, place: Place) -> None:
        """Give a place back, real or in the queue."""
        if not place.done():
            self._waiting.remove(place)
            place.cancel()
        elif self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._free += 1
