"""What a reader of a run's log holds: pages of it, and a watch that says when to look again."""

import asyncio
from collections.abc import Callable, Sequence

from dockrion.events import Entry

PAGE_BYTES = 128 * 1024
PAGE_EVENTS = 512


class Page:
    """What one read of a run's log found, shared by all readers at that position.

    Attributes:
        entries: The next events, in order and without a gap between them.
        closed: The run is over and nothing follows these entries.
        more: There are more already, so that nobody needs to wait for them.
        delivered: Somebody has been sent them.
    """

    __slots__ = ("_encoded", "closed", "delivered", "entries", "more")

    def __init__(self, entries: Sequence[Entry], *, closed: bool = False, more: bool = False) -> None:
        self.entries = entries
        self.closed = closed
        self.more = more
        self.delivered = False
        self._encoded: dict[Callable[[Sequence[Entry]], bytes], bytes] = {}

    def encoded(self, encode: Callable[[Sequence[Entry]], bytes]) -> bytes:
        """Return the entries as a transport writes them, encoded once for all its readers."""
        done = self._encoded.get(encode)
        if done is None:
            done = self._encoded[encode] = encode(self.entries)
        return done


class Watch:
    """Wakes one reader. A wake-up carries no data: it only says "look again".

    Args:
        at_hand: Returns what can be read after a position without waiting, or None.

    Attributes:
        at_hand: That.
        look: Called in place of a wake-up, where there is one; returns whether the reader has seen
            all there is, and may go on waiting.
        until: When a wait is over, in the event loop's time.
    """

    __slots__ = ("_alarm", "_loop", "_news", "_waiting", "at_hand", "look", "until")

    def __init__(self, at_hand: Callable[[int], Page | None]) -> None:
        self.at_hand = at_hand
        self.look: Callable[[], bool] | None = None
        self.until = 0.0
        self._loop = asyncio.get_running_loop()
        self._news = False
        self._waiting: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        if self.look is None or not self._is_waiting or not self.look():
            self._news = True
            self._go_on()

    async def wait(self, seconds: float) -> bool:
        """Wait for a wake-up, at most so many seconds.

        Returns:
            Whether one came.
        """
        if not self._news and seconds > 0:
            self.until = self._loop.time() + seconds
            self._set_alarm()
            self._waiting = self._loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        news, self._news = self._news, False
        return news

    def close(self) -> None:
        """Let go of the loop. Nobody waits any more."""
        if self._alarm is not None:
            self._alarm.cancel()

    @property
    def _is_waiting(self) -> bool:
        return self._waiting is not None and not self._waiting.done()

    def _set_alarm(self) -> None:
        """Have one timer for many waits: it is left where it is, and set anew when it rings too early."""
        if self._alarm is not None and self._alarm.when() > self.until:
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None:
            self._alarm = self._loop.call_at(self.until, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._is_waiting and self._loop.time() < self.until:
            self._set_alarm()
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
