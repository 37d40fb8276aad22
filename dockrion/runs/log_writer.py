"""The one writer of a run's log: stores what its buffer holds, in batches."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from dockrion import events
from dockrion.backends.run_log import Run, RunLog
from dockrion.backoff import Backoff
from dockrion.errors import AppendRefused, ServiceUnavailable
from dockrion.events import Entry
from dockrion.runs import outcome
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.outcome import Failed

_FIRST_RETRY_SECONDS = 0.05
_LONGEST_RETRY_SECONDS = 1.0
T = TypeVar("T")


class LogWriter:
    """Moves the events of a buffer to the backend.

    Events that arrive while a batch is being stored form the next batch; a lone event is stored
    at once. While the storage is unreachable, a batch waits for it. A change of the record's `input` comes
    with `on_input_stored`, which is called once it is stored.

    Args:
        backend: Where the run was created.
        run: Its record.
        buffer: Its events.
        on_stored: Called with each batch that was stored.

    Attributes:
        buffer: Its events.
        run: The record as last stored.
    """

    def __init__(
        self, backend: RunLog, run: Run, buffer: EventBuffer, on_stored: Callable[[Sequence[Entry]], None]
    ) -> None:
        self.run = run if run.input is None else msgspec.structs.replace(run, input=None)
        self.buffer = buffer
        self._backend = backend
        self._on_stored = on_stored
        self._on_input_stored: Callable[[], object] = lambda: None
        self._batch: tuple[Run, list[Entry]] = (self.run, [])  # not stored yet

    async def store(self) -> None:
        """Store the next batch, if there is one: events, or a change of the record alone.

        Raises:
            BackendError: The log is closed, or another writer's, or the storage refuses the batch.
            RunNotFound: The log is gone.
        """
        self._extend_batch()
        run, entries = self._batch
        if run is self.run:
            return
        await retry_while_unreachable(lambda: self._backend.append(run, entries))
        self._mark_stored(run, entries)
        if self.buffer.pending:
            self.buffer.wake()
            await asyncio.sleep(0)  # readers get their turn before the window moves on

    async def store_rest(self) -> None:
        """Store all events; the terminal one must have been published.

        Raises:
            BackendError: The log is closed, or another writer's.
            RunNotFound: The log is gone.
        """
        while self.buffer.pending or self._batch[0] is not self.run:
            await self.store()

    async def force_close(self, failure: Failed | None = None) -> None:
        """Store the terminal event alone, in a log that may have lost all others.

        Args:
            failure: Takes the place of the terminal event, except that of a cancel.

        Raises:
            BackendError: The log is closed, or another writer's.
            RunNotFound: The log is gone.
        """
        while self._extend_batch():
            pass
        run, entries = self._batch
        if entries and entries[-1].type in events.TERMINAL:
            last = entries[-1]
            if failure is not None and last.type != "cancelled":
                run, last = _replaced(run, last, failure)
            try:
                await retry_while_unreachable(lambda: self._backend.force_close(run, last))
            except AppendRefused as error:
                if failure is not None:
                    raise
                await self.force_close(outcome.of_refusal(error))
            else:
                self._mark_stored(run, [last])

    def _extend_batch(self) -> bool:
        """Add the next events of the buffer to the batch; return whether there were any."""
        new, changes = self.buffer.pop_batch()
        run, entries = self._batch
        if new:
            changes["last_sequence"] = new[-1].sequence
        elif not changes:
            return False
        if "on_input_stored" in changes:
            self._on_input_stored = changes.pop("on_input_stored")
        run = msgspec.structs.replace(run, **changes)
        self._batch = run, entries + new
        return True

    def _mark_stored(self, run: Run, entries: list[Entry]) -> None:
        if run.input is not None:
            run = msgspec.structs.replace(run, input=None)
            self._on_input_stored()
        self.run = run
        self._batch = run, []
        if entries:
            self._on_stored(entries)


def _replaced(run: Run, last: Entry, failure: Failed) -> tuple[Run, Entry]:
    """Return the record and the terminal event of a run that fails in place of how it ended."""
    kind, fields, changes = outcome.terminal_event(failure, 0.0, run.metadata)
    emitted_at = datetime.fromtimestamp(last.emitted_at, UTC)
    data = events.encode(kind, run.run_id, last.sequence, emitted_at, fields)
    run = msgspec.structs.replace(run, status=failure.status, output=None, **changes)
    return run, Entry(last.sequence, kind, data, last.emitted_at)


async def retry_while_unreachable(operation: Callable[[], Awaitable[T]]) -> T:
    """Return the result of an operation; repeat it while the storage is unreachable."""
    backoff: Backoff | None = None  # made when it is needed, since this runs per batch
    while True:
        try:
            return await operation()
        except ServiceUnavailable:
            backoff = backoff or Backoff(_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS)
            await asyncio.sleep(backoff.next())
