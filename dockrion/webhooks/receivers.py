"""What this process knows of receivers: how many requests each has, which are away, and which are gone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dockrion.backoff import Backoff

_REQUESTS = 16  # to one receiver at once
_WAITING = 256  # deliveries that wait for one of these
_WAIT_SECONDS = 5.0
_FAILURES = 8  # in succession, from which on a receiver is away
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_KNOWN = 1000  # receivers, since callers name theirs


class Busy(Exception):
    """A receiver cannot be asked now.

    Attributes:
        seconds: When it may be asked.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Receiver:
    """A receiver of requests.

    After some failures in succession it counts as away: then it has a single request now and then, whatever
    waits for it, until that succeeds.
    """

    def __init__(self) -> None:
        self.users = 0
        self._slots = asyncio.Semaphore(_REQUESTS)
        self._failures = 0
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, jitter=0.2)
        self._away_until = 0.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot, and occupy it.

        Raises:
            Busy: There is none for a while, or the receiver is away.
        """
        self._check_away()
        if self.users >= _REQUESTS + _WAITING:
            raise Busy(_WAIT_SECONDS)
        self.users += 1
        try:
            try:
                async with asyncio.timeout(_WAIT_SECONDS):
                    await self._slots.acquire()
            except TimeoutError:
                raise Busy(_FIRST_PAUSE_SECONDS) from None
            try:
                self._check_away()
                if self._failures >= _FAILURES:  # one request finds out whether it is back
                    self._away_until = time.monotonic() + self._backoff.next()
                yield
            finally:
                self._slots.release()
        finally:
            self.users -= 1

    def responded(self, *, successfully: bool) -> None:
        """Record how a request has ended."""
        if successfully:
            self._failures, self._away_until = 0, 0.0
            self._backoff.reset()
        else:
            self._failures += 1

    def _check_away(self) -> None:
        left = self._away_until - time.monotonic()
        if left > 0:
            raise Busy(left)


class Receivers:
    """The receivers, each known by a text.

    Attributes:
        gone: The names of targets that do not want to be asked again.
    """

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self._known: dict[str, Receiver] = {}

    def get(self, text: str) -> Receiver:
        """Return a receiver."""
        receiver = self._known.get(text)
        if receiver is None:
            if len(self._known) >= _KNOWN:
                self._known = {name: each for name, each in self._known.items() if each.users}
            receiver = self._known[text] = Receiver()
        return receiver
