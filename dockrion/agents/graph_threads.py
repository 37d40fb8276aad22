"""Conversation threads of a graph, of which each has one run at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec


class _Thread(msgspec.Struct, eq=False):
    """A thread that runs work on or wait for.

    Attributes:
        lock: Held by the run that works on it; others get it in the order in which they came.
        runs: How many work on it or wait.
    """

    lock: asyncio.Lock
    runs: int = 0


class GraphThreads:
    """Lets the runs of one thread work one after another.

    Two at once would both continue from the same checkpoint, and the thread would lose what one did.
    """

    def __init__(self) -> None:
        self._threads: dict[str, _Thread] = {}

    @asynccontextmanager
    async def alone_in(self, thread_id: str | int | None) -> AsyncIterator[None]:
        """Wait until no other run works on a thread, and keep others waiting until the end.

        Args:
            thread_id: The thread as the checkpointer knows it; None if nothing is stored.
        """
        if thread_id is None:
            yield
            return
        key = str(thread_id)
        thread = self._threads.setdefault(key, _Thread(asyncio.Lock()))
        thread.runs += 1
        try:
            async with thread.lock:
                yield
        finally:
            thread.runs -= 1
            if not thread.runs:
                del self._threads[key]
