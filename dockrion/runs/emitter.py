"""From an agent's emit to the event buffer, whatever thread or event loop the agent emits on."""

import asyncio
import threading
from typing import Any

from dockrion.events import EventFilter
from dockrion.events.validation import BuildFields
from dockrion.runs.event_buffer import BUFFER_EVENTS, EventBuffer


class RunCancelled(asyncio.CancelledError):
    """Raised in sync agent code whose run was stopped. `except Exception` does not catch it."""


class Emitter:
    """The state that a run's `StreamContext` and its `RunSession` share.

    It refers to neither of them, so that a finished run leaves no reference cycle to the
    garbage collector.

    Args:
        run_id: The run.
        events_filter: Which events pass.
        buffer: Takes the events; None where no one can read them.

    Attributes:
        cancelled: Whether the run was stopped.
    """

    __slots__ = ("_loop_thread", "_since_yield", "buffer", "cancelled", "events_filter", "run_id")

    def __init__(self, run_id: str, events_filter: EventFilter, buffer: EventBuffer | None) -> None:
        self.run_id = run_id
        self.events_filter = events_filter
        self.buffer = buffer
        self.cancelled = False
        self._since_yield = 0
        self._loop_thread = threading.get_ident()

    def raise_if_cancelled(self) -> None:
        """Raise `RunCancelled` if the run was stopped."""
        if self.cancelled:
            raise RunCancelled(f"run {self.run_id} was stopped")

    async def emit(self, event_type: str, build: BuildFields, *arguments: Any) -> None:
        """Emit an event from async code; wait while the buffer is full.

        Args:
            event_type: Its type.
            build: Makes the event's fields of `arguments`, if the event passes the filter.
            arguments: The arguments of `build`.
        """
        self._since_yield += 1
        if self._since_yield >= BUFFER_EVENTS:  # a tight loop must not hold the event loop
            self._since_yield = 0
            await asyncio.sleep(0)
        if self._passes(event_type) and (buffer := self.buffer) is not None:
            buffer.publish(event_type, build(*arguments))
            if buffer.full:
                await buffer.wait_for_room()

    def sync_emit(self, event_type: str, build: BuildFields, *arguments: Any) -> None:
        """Emit an event from sync code; block the thread while the buffer is full."""
        if self._passes(event_type) and self.buffer is not None:
            self.buffer.publish_blocking(event_type, build(*arguments))

    def _passes(self, event_type: str) -> bool:
        if self.cancelled and self._must_raise():
            self.raise_if_cancelled()
        return self.events_filter.allows(event_type)

    def _must_raise(self) -> bool:
        """Return whether an emit of a stopped run raises.

        Async code has its cancellation already, and may emit while it cleans up.
        """
        in_thread = threading.get_ident() != self._loop_thread
        return in_thread or (self.buffer is not None and self.buffer.closed)
