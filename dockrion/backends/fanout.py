"""Fan-out: events that were just stored are written to waiting readers by the call that stored them.

Otherwise a reader pulls (`follow.py`): it reads after its position and, when there is nothing more,
waits until an append wakes its task. Waking 100 tasks per event, each to read the same page and to
write it, costs several times what the writes cost. So a wake-up first tries to do without the task.

Who calls, and on which task:
    `RunLog.append` calls `Watch.wake` of each watch of the run, on the task of the run's log writer.
    `wake` calls `peek`, the backend's, and then `deliver`, the consumer's (`Connection` in
    `web/streams.py`). None of them may block or await; an exception in `deliver` stays with its reader.

When a page is delivered, and the reader's task sleeps on:
    - The task waits in `Watch.wait`, so the reader has all events up to `position`, and no other code
      writes events to its connection.
    - `peek` returns the page after `position` without I/O. In memory that is always so. Over Redis it
      is so where the append was made, on the replica that owns the run; on others readers pull.
      Readers at one position get one `Page`, which each transport encodes once.
    - The page is small and not the last: the end of a run is for the task to handle.
    - `deliver` returns True: the connection has written the page. It does so only if its transport
      has sent everything else and the page fits into its buffer, so that the write cannot wait.

Otherwise the task is woken and pulls. In particular there is no back-pressure here: a slow reader's
transport has unsent bytes, so `deliver` returns False, and the reader's own task reads on at its own
pace, waits until the transport drains, and gives up on a reader that takes nothing for too long. The
append and the other readers never wait for it.

Nothing is lost or sent twice, because both ways advance the same `position`, and never at once: a
delivery needs a waiting task, and whatever was not delivered is what the task reads next.
"""

import asyncio
from collections.abc import Callable

from dockrion.backends.pages import Page

_MAX_EVENTS = 32  # a larger page is a burst: woken readers write it together with what follows


class Watch:
    """One reader's watch on a run, woken by each append.

    Args:
        peek: Returns the page after a position if that needs no I/O, else None.

    Attributes:
        deliver: Writes a page at once and returns True, or returns False. None: always wake the task.
        idle: Seconds without events after which the reader has to send a keepalive.
        idle_at: When that time is over, on the event loop's clock.
        position: The sequence of the last event that the reader has.
    """

    __slots__ = (
        "_changed",
        "_deadline",
        "_loop",
        "_peek",
        "_timer",
        "_waiter",
        "deliver",
        "idle",
        "idle_at",
        "position",
    )

    def __init__(self, peek: Callable[[int], Page | None]) -> None:
        self.deliver: Callable[[Page], bool] | None = None
        self.idle = 0.0
        self.idle_at = 0.0
        self.position = 0
        self._peek = peek
        self._loop = asyncio.get_running_loop()
        self._changed = False
        self._deadline = 0.0  # of the wait, on the event loop's clock
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Deliver what was appended, or wake the reader's task. Called by the backend."""
        if self._is_waiting and self._delivered():
            return
        self._changed = True
        self._resume()

    async def wait(self, seconds: float) -> bool:
        """Wait until an append wakes the task, at most so many seconds since the last delivery.

        Returns:
            Whether an append has woken it, now or since the last wait.
        """
        if not self._changed and seconds > 0:
            self._deadline = self._loop.time() + seconds
            self._set_timer()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        changed, self._changed = self._changed, False
        return changed

    def restart_idle(self) -> None:
        """Note that the reader has just been sent something."""
        self.idle_at = self._loop.time() + self.idle

    def close(self) -> None:
        """Cancel the timer. The watch cannot be used afterwards."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def _is_waiting(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _delivered(self) -> bool:
        if self.deliver is None:
            return False
        page = self._peek(self.position)
        if page is None or not 0 < len(page.entries) <= _MAX_EVENTS or page.closed or page.more:
            return False
        try:
            if not self.deliver(page):
                return False
        except Exception:  # not the writer's: the reader's task will meet it too, and handle it
            return False
        self.position = page.entries[-1].sequence
        self.restart_idle()
        self._deadline = self.idle_at
        return True

    def _set_timer(self) -> None:
        # A timer per wait would cost more than the wait: an early one stays, and is set anew when it fires.
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._is_waiting and self._loop.time() < self._deadline:
            self._set_timer()
        else:
            self._resume()

    def _resume(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
