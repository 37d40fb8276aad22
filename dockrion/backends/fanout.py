"""Fan-out: the call that stores events also writes them to the readers that wait for them.

This is the one exception to the pull loop of `follow.py`, in which a reader reads after its position
and, when there is nothing more, waits until an append wakes its task. For 100 readers that costs 0.4 ms
of CPU time per event, most of it for switching tasks; writing from here costs 0.1 ms (both without the
kernel's share).

Who calls, and on which task:
    `RunLog.append` calls `Watch.wake` of each watch of the run, on the task of the run's log writer.
    `wake` calls `peek` of the backend and then `deliver` of the consumer, which is `Connection` in
    `web/streams.py`. None of them awaits. An exception in `deliver` does not reach the writer.

A page is delivered, and the reader's task sleeps on, if all of this holds:
    - The task waits in `Watch.wait`: the reader has all events up to `position`, and nothing else is
      writing events to its connection.
    - `peek` returns the page after `position` without I/O. In memory it always does. Over Redis it does
      on the replica that owns the run, which has just appended the page; readers on others pull.
      All readers at one position get the same `Page`, so that each transport encodes it once.
    - The page is small, and not the run's last: ending the stream is up to the task.
    - `deliver` returns True, having written the page. It does that only if the transport has sent
      everything before it and buffers all of the page, so that the write cannot wait.

Otherwise the task is woken and pulls. That is also all there is to back-pressure: a slow reader's
transport has unsent bytes, so `deliver` returns False. The reader's own task then reads at the pace at
which the transport drains, and aborts the connection if it does not drain for too long. Neither the
append nor any other reader waits.

No event is lost or sent twice: both ways advance the same `position`, and never at the same time, since
a delivery needs a waiting task, which reads whatever was not delivered.
"""

import asyncio
from collections.abc import Callable

from dockrion.backends.pages import Page

_MAX_EVENTS = 32  # a larger page is a burst: woken tasks write it together with what follows


class Watch:
    """One reader's watch on a run, woken by each append.

    Args:
        peek: Returns the page after a position if that needs no I/O, else None.

    Attributes:
        deliver: Writes a page at once and returns True, or returns False. None: always wake the task.
        incarnation: The run's incarnation, once the watch is entered.
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
        "incarnation",
        "position",
    )

    def __init__(self, peek: Callable[[int], Page | None]) -> None:
        self.deliver: Callable[[Page], bool] | None = None
        self.incarnation = ""
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
        if self._is_waiting and self._try_deliver():
            return
        self._changed = True
        self._resume()

    async def wait(self, seconds: float) -> bool:
        """Wait until an append wakes the task, or for so many seconds, which a delivery extends to `idle_at`.

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
        """Start the idle time over, since something has been sent."""
        self.idle_at = self._loop.time() + self.idle

    def close(self) -> None:
        """Cancel the timer. The watch cannot be used afterwards."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def _is_waiting(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _try_deliver(self) -> bool:
        if self.deliver is None:
            return False
        page = self._peek(self.position)
        if page is None or not 0 < len(page.entries) <= _MAX_EVENTS or page.closed or page.more:
            return False
        try:
            if not self.deliver(page):
                return False
        except Exception:  # the reader's task will meet it again, and handle it
            return False
        self.position = page.entries[-1].sequence
        self.restart_idle()
        self._deadline = self.idle_at
        return True

    def _set_timer(self) -> None:
        # One timer serves many waits, since setting one per wait costs more than the wait: a timer that
        # is too early stays, and is set again when it fires.
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
