"""What agent code sees of its run: the context, which emits events from any thread or event loop."""

import asyncio
import threading
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, Never

from dockrion import events
from dockrion.caller import Caller
from dockrion.events import EventFilter, validation
from dockrion.events.validation import BuildFields
from dockrion.runs.event_buffer import BUFFER_EVENTS, EventBuffer
from dockrion.runs.tool_policy import ToolPolicy


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
            if buffer.text_filter is None:
                buffer.publish(event_type, build(*arguments))
            else:
                await buffer.publish_async(event_type, build(*arguments))
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


class StreamContext:
    """Emits the events of one run, from async code, from threads, and from sync code on an event loop.

    Each async method has a sync twin with the same arguments. An event that the filter drops
    costs next to nothing. While the buffer is full, emitting waits.

    Every emit raises `TypeError` or `ValueError` for a wrong field, `json_encoding.NotJSON` for
    a value that has no JSON form, and, in a thread, `RunCancelled` once the run was stopped. A
    sync twin on an event loop, where it cannot wait, raises `BufferError` when too many events
    are buffered.

    Args:
        emitter: Takes the events.
        caller: The authenticated caller, or None.
        tools: Which tools the agent may call.
    """

    def __init__(self, emitter: Emitter, caller: Caller | None, tools: ToolPolicy) -> None:
        self._emitter = emitter
        self._caller = caller
        self._tools = tools

    @property
    def run_id(self) -> str:
        return self._emitter.run_id

    @property
    def cancelled(self) -> bool:
        """Whether the run was stopped: by a cancel, a time limit, or a shutdown."""
        return self._emitter.cancelled

    @property
    def events_filter(self) -> EventFilter:
        return self._emitter.events_filter

    @property
    def caller(self) -> Caller | None:
        """The authenticated caller who asked for the run; None without authentication."""
        return self._caller

    def raise_if_cancelled(self) -> None:
        """Raise `RunCancelled` if the run was stopped."""
        self._emitter.raise_if_cancelled()

    def is_tool_allowed(self, name: str) -> bool:
        """Return whether `policies.tools` lets the agent call a tool."""
        return self._tools.allows(name)

    async def emit_progress(self, step: str, progress: float, message: str | None = None) -> None:
        """Report the progress of a step.

        Args:
            step: The step's name.
            progress: From 0.0 to 1.0; values outside are clamped.
            message: A text to show.
        """
        await self._emitter.emit("progress", validation.progress, step, progress, message)

    def sync_emit_progress(self, step: str, progress: float, message: str | None = None) -> None:
        self._emitter.sync_emit("progress", validation.progress, step, progress, message)

    async def emit_token(self, content: str, finish_reason: str | None = None) -> None:
        """Stream a piece of the output text.

        Args:
            content: The text.
            finish_reason: Why the text ends; given with its last piece.
        """
        await self._emitter.emit("token", validation.token, content, finish_reason)

    def sync_emit_token(self, content: str, finish_reason: str | None = None) -> None:
        self._emitter.sync_emit("token", validation.token, content, finish_reason)

    async def emit_step(
        self,
        node_name: str,
        duration_ms: float | None = None,
        input_keys: Iterable[str] | None = None,
        output_keys: Iterable[str] | None = None,
    ) -> None:
        """Report that a step of the agent's work is done.

        Args:
            node_name: The step's name.
            duration_ms: Its duration in milliseconds.
            input_keys: The names of the values that it read.
            output_keys: The names of the values that it wrote.
        """
        await self._emitter.emit("step", validation.step, node_name, duration_ms, input_keys, output_keys)

    def sync_emit_step(
        self,
        node_name: str,
        duration_ms: float | None = None,
        input_keys: Iterable[str] | None = None,
        output_keys: Iterable[str] | None = None,
    ) -> None:
        self._emitter.sync_emit("step", validation.step, node_name, duration_ms, input_keys, output_keys)

    async def checkpoint(self, name: str, data: Any) -> None:
        """Share an intermediate result.

        Args:
            name: Its name.
            data: Any value that can be encoded as JSON.
        """
        await self._emitter.emit("checkpoint", validation.checkpoint, name, data)

    def sync_checkpoint(self, name: str, data: Any) -> None:
        self._emitter.sync_emit("checkpoint", validation.checkpoint, name, data)

    async def emit(self, /, event_type: str, data: Any = None, **fields: Any) -> None:
        """Emit a custom event.

        Args:
            event_type: Its name, with or without `custom:` before it.
            data: A mapping of fields, of any names; anything else becomes the field `data`.
            fields: More fields.

        Raises:
            ValueError: The name is malformed, or a field would hide a common field of events.
        """
        await self._emitter.emit(events.custom_type(event_type), validation.custom, data, fields)

    def sync_emit(self, /, event_type: str, data: Any = None, **fields: Any) -> None:
        self._emitter.sync_emit(events.custom_type(event_type), validation.custom, data, fields)

    async def emit_heartbeat(self) -> None:
        """Emit a numbered heartbeat event. The service keeps connections open by itself."""
        await self._emitter.emit("heartbeat", dict)

    def sync_emit_heartbeat(self) -> None:
        self._emitter.sync_emit("heartbeat", dict)

    async def emit_started(self, *_args: Any, **_fields: Any) -> Never:
        """Refuse: the service emits this itself, when the agent starts."""
        _refuse("started", "the agent starts")

    async def emit_complete(self, *_args: Any, **_fields: Any) -> Never:
        """Refuse: the service emits this itself, when the agent returns."""
        _refuse("complete", "the agent returns its output")

    async def emit_error(self, *_args: Any, **_fields: Any) -> Never:
        """Refuse: the service emits this itself, when the agent raises."""
        _refuse("error", "the agent raises")

    async def emit_cancelled(self, *_args: Any, **_fields: Any) -> Never:
        """Refuse: the service emits this itself, when the run is cancelled."""
        _refuse("cancelled", "the run is cancelled")


_current: ContextVar[StreamContext | None] = ContextVar("dockrion_context", default=None)


def get_current_context() -> StreamContext | None:
    """Return the context of the run that this code works for, or None outside a run."""
    return _current.get()


def set_current_context(context: StreamContext) -> None:
    """Make a context that of this task, and of all tasks and threads that it starts."""
    _current.set(context)


def _refuse(event_type: str, moment: str) -> Never:
    raise RuntimeError(f"`{event_type}` is the service's own event; it is emitted when {moment}")
