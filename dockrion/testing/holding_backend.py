"""The backend of recorded runs, which can hold an agent where a test wants to look at it."""

import asyncio
from collections.abc import Sequence

from dockrion.backends.memory import MemoryBackend
from dockrion.backends.run_log import Run
from dockrion.events import Entry

_STORED_SECONDS = 604_800.0  # longer than any test


class HoldingBackend(MemoryBackend):
    """Stores a run until there is an event of some type, and nothing more until it is released.

    Meanwhile the run's buffer is full, so the agent waits in its next emit.

    Args:
        max_events: How many of the run's newest events are stored.
        hold_at: The type; None not to hold.
    """

    def __init__(self, max_events: int, hold_at: str | None) -> None:
        super().__init__(max_events=max_events, ttl=_STORED_SECONDS)
        self._hold_at = hold_at
        self._released = asyncio.Event()

    def release(self, hold_at: str | None) -> None:
        """Let the run go on, to the next event of a type."""
        self._hold_at = hold_at
        self._released.set()

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        self._released.clear()
        await super().append(run, entries)
        if any(entry.type == self._hold_at for entry in entries):
            await self._released.wait()
