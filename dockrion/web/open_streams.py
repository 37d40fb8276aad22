"""The responses that wait for a run, and how they end when the service shuts down."""

import asyncio
from contextlib import suppress


class OpenStreams:
    """Holds the deadline of each open stream, or each invocation, and brings them forward at shutdown."""

    def __init__(self) -> None:
        self._deadlines: set[asyncio.Timeout] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, deadline: asyncio.Timeout) -> None:
        """Register the deadline of a stream that has begun."""
        self._deadlines.add(deadline)
        self._empty.clear()

    def remove(self, deadline: asyncio.Timeout) -> None:
        """Deregister the deadline of a stream that has ended."""
        self._deadlines.discard(deadline)
        if not self._deadlines:
            self._empty.set()

    async def end(self, wait: float) -> None:
        """Wait for streams to end with their runs, then end the rest as if their timeout were over.

        Args:
            wait: How long to wait, in seconds.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._empty.wait()
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(now)
