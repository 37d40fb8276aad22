"""The one writer of a run's log: stores what is published, in batches."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from dockrion import events
from dockrion.backends.run_log import Run, RunLog
from dockrion.errors import ServiceUnavailable
from dockrion.events import Entry
from dockrion.runs.event_buffer import EventBuffer

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class LogWriter:
    """Moves what a buffer has taken into the backend.

    What arrives while a batch is on its way forms the next batch; a lone event goes at once.
    While the storage is away, a batch waits for it.

    Args:
        backend: Where the run was created.
        run: Its record.
        buffer: Takes its events.
        on_stored: Called with each batch that the backend has.

    Attributes:
        run: The record as last stored.
    """

    def __init__(
        self,
        backend: RunLog,
        run: Run,
        buffer: EventBuffer,
        on_stored: Callable[[Sequence[Entry]], None],
    ) -> None:
        self.run = run
        self._backend = backend
        self._buffer = buffer
        self._on_stored = on_stored
        self._batch: tuple[Run, list[Entry]] = (run, [])  # not stored yet

    async def store(self) -> None:
        """Store the next batch, if there is one.

        Raises:
            BackendError: The log is not ours to write any more.
            RunNotFound: The log is gone.
        """
        self._take()
        run, entries = self._batch
        if not entries:
            return
        await _patiently(lambda: self._backend.append(run, entries))
        self.run = run
        self._batch = run, []
        self._on_stored(entries)
        if self._buffer.pending:
            self._buffer.wake()
            await asyncio.sleep(0)  # the readers' turn, before the window moves on

    async def store_rest(self) -> None:
        """Store all that was published; its end must have been.

        Raises:
            BackendError: The log is not ours to write any more.
            RunNotFound: The log is gone.
        """
        while self._buffer.pending or self._batch[1]:
            await self.store()

    async def force_close(self) -> None:
        """Store the terminal event alone, in a log that may have lost all others.

        Raises:
            BackendError: Somebody else has ended the run.
            RunNotFound: The log is gone.
        """
        while self._take():
            pass
        run, entries = self._batch
        if entries and entries[-1].type in events.TERMINAL:
            await _patiently(lambda: self._backend.force_close(run, entries[-1]))
            self._on_stored(entries[-1:])

    def _take(self) -> bool:
        """Add the next events to what is not stored yet; tell whether there were some."""
        taken, changes = self._buffer.pop_batch()
        if not taken:
            return False
        run, entries = self._batch
        run = msgspec.structs.replace(run, last_sequence=taken[-1].sequence, **changes)
        self._batch = run, entries + taken
        return True


async def _patiently(store: Callable[[], Awaitable[None]]) -> None:
    """Repeat what the storage could not do because it was away, until it is done."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await store()
        except ServiceUnavailable:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
