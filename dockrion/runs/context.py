"""What agent code sees of the service."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Never

from dockrion import events
from dockrion.caller import Caller
from dockrion.events import EventFilter
from dockrion.events import validation as checked
from dockrion.events.validation import Fields
from dockrion.runs.event_buffer import BUFFER_EVENTS, EventBuffer
from dockrion.runs.tool_policy import ToolPolicy

_MOST_DENIED = 100


class RunCancelled(asyncio.CancelledError):
    """Raised in sync agent code whose run was stopped. `except Exception` does not catch it."""


class StreamContext:
    """Emits the events of one run, from async code, threads, and sync code on an event loop.

    Made on the event loop that serves the run.

    Each async method has a sync twin with the same arguments. A filtered event is dropped at
    once. Where the buffer is full, emitting waits.

    Every emit raises `TypeError` or `ValueError` for a field that is wrong, `jsonable.NotJSON`
    for one that cannot be JSON, and, in a thread, `RunCancelled` once the run was stopped. A
    sync twin on an event loop, where it cannot wait, raises `BufferError` when far too much
    is buffered.

    Args:
        run_id: The run.
        events_filter: Which events pass.
        buffer: Where they go; None where nobody can listen.
        caller: Who asked for the run, None where callers do not say.
        tools: Which tools the agent may call, every one by default.

    Attributes:
        on_push: Called when another process has pushed something for the run. For the service.
        ended_elsewhere: Whether another process has ended the run. For the service.
    """

    def __init__(
        self,
        run_id: str,
        events_filter: EventFilter,
        buffer: EventBuffer | None,
        caller: Caller | None = None,
        tools: ToolPolicy | None = None,
    ) -> None:
        self._run_id = run_id
        self._caller = caller
        self._filter = events_filter
        self._buffer = buffer
        self._tools = tools or ToolPolicy()
        self._denied_tools: dict[str, None] = {}
        self._cancelled = False
        self._unyielding = 0
        self._loop_thread = threading.get_ident()
        self.on_push: Callable[[], None] | None = None
        self.ended_elsewhere = False

    @property
    def run_id(self) -> str:
        return self._run_id

    @property
    def cancelled(self) -> bool:
        """Whether the run was stopped: by a cancel, a time limit, or a shutdown."""
        return self._cancelled

    @property
    def events_filter(self) -> EventFilter:
        return self._filter

    @property
    def caller(self) -> Caller | None:
        """Who asked for the run, None where callers do not have to say who they are."""
        return self._caller

    def raise_if_cancelled(self) -> None:
        """Raise `RunCancelled` if the run was stopped."""
        if self._cancelled:
            raise RunCancelled(f"run {self._run_id} was stopped")

    def is_tool_allowed(self, name: str) -> bool:
        """Tell whether `policies.tools` lets the agent call a tool."""
        return self._tools.allows(name)

    async def emit_progress(self, step: str, progress: float, message: str | None = None) -> None:
        """Say how far a step is.

        Args:
            step: The step's name.
            progress: From 0.0 to 1.0; what is outside is clamped.
            message: Anything to show.
        """
        await self._emit("progress", checked.progress, step, progress, message)

    def sync_emit_progress(self, step: str, progress: float, message: str | None = None) -> None:
        self._sync_emit("progress", checked.progress, step, progress, message)

    async def emit_token(self, content: str, finish_reason: str | None = None) -> None:
        """Stream a piece of text.

        Args:
            content: The text.
            finish_reason: Why the text ends, with its last piece.
        """
        await self._emit("token", checked.token, content, finish_reason)

    def sync_emit_token(self, content: str, finish_reason: str | None = None) -> None:
        self._sync_emit("token", checked.token, content, finish_reason)

    async def emit_step(
        self,
        node_name: str,
        duration_ms: float | None = None,
        input_keys: Iterable[str] | None = None,
        output_keys: Iterable[str] | None = None,
    ) -> None:
        """Say that a step of the agent's work is done.

        Args:
            node_name: The step's name.
            duration_ms: How long it took, in milliseconds.
            input_keys: The names of what it read.
            output_keys: The names of what it wrote.
        """
        await self._emit("step", checked.step, node_name, duration_ms, input_keys, output_keys)

    def sync_emit_step(
        self,
        node_name: str,
        duration_ms: float | None = None,
        input_keys: Iterable[str] | None = None,
        output_keys: Iterable[str] | None = None,
    ) -> None:
        self._sync_emit("step", checked.step, node_name, duration_ms, input_keys, output_keys)

    async def checkpoint(self, name: str, data: Any) -> None:
        """Share an intermediate result.

        Args:
            name: What it is.
            data: Any value that can be JSON.
        """
        await self._emit("checkpoint", checked.checkpoint, name, data)

    def sync_checkpoint(self, name: str, data: Any) -> None:
        self._sync_emit("checkpoint", checked.checkpoint, name, data)

    async def emit(self, event_type: str, data: Any = None, /, **fields: Any) -> None:
        """Emit an event of the agent's own.

        Args:
            event_type: Its name, with or without `custom:` before it.
            data: A mapping of fields; anything else becomes the field `data`.
            fields: More fields.

        Raises:
            ValueError: The name is malformed, or a field would hide one that every event has.
        """
        await self._emit(events.custom_type(event_type), checked.custom, data, fields)

    def sync_emit(self, event_type: str, data: Any = None, /, **fields: Any) -> None:
        self._sync_emit(events.custom_type(event_type), checked.custom, data, fields)

    async def emit_heartbeat(self) -> None:
        """Emit a numbered sign of life. The service keeps connections open by itself."""
        await self._emit("heartbeat", dict)

    def sync_emit_heartbeat(self) -> None:
        self._sync_emit("heartbeat", dict)

    async def emit_event(self, event: Mapping[str, Any]) -> None:
        """Emit what a generator yielded: a mapping whose `type` `is_event` knows."""
        await self._emit(checked.type_of(event), checked.from_mapping, event)

    def sync_emit_event(self, event: Mapping[str, Any]) -> None:
        self._sync_emit(checked.type_of(event), checked.from_mapping, event)

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

    def cancel(self) -> None:
        """Tell the agent that its run is stopped. For the service."""
        self._cancelled = True
        if self._buffer is not None:
            self._buffer.release_threads()

    def seal(self) -> None:
        """Take nothing more from the agent: it is over. For the service."""
        if self._buffer is not None:
            self._buffer.seal()

    @property
    def denied_tools(self) -> list[str]:
        """The first of the tools whose calls were stopped. For the service."""
        return list(self._denied_tools)

    def deny_tool(self, name: str) -> None:
        """Note, and say, that a call of a tool was stopped. For the service."""
        if len(self._denied_tools) < _MOST_DENIED:
            self._denied_tools[name] = None
        self.sync_emit("tool_denied", name=name)

    @property
    def closed(self) -> bool:
        """Whether nothing can be emitted any more. For the service."""
        return self._buffer is not None and self._buffer.closed

    def push(self, pushed: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Publish what another process emitted, as (type, checked fields). For the service."""
        for event_type, given in pushed:
            if self._buffer is not None and self._filter.allows(event_type):
                self._buffer.publish(event_type, given)
        if self.on_push is not None:
            self.on_push()

    async def room(self) -> None:
        """Wait until there is room for what another process emitted. For the service."""
        if self._buffer is not None and self._buffer.full:
            await self._buffer.wait_for_room()

    def _passes(self, event_type: str) -> bool:
        if self._cancelled and self._is_over():
            self.raise_if_cancelled()
        return self._filter.allows(event_type)

    def _is_over(self) -> bool:
        """Tell whether a stopped agent has nothing more to say.

        Async code was told by its cancellation, and may emit while it cleans up.
        """
        in_thread = threading.get_ident() != self._loop_thread
        return in_thread or (self._buffer is not None and self._buffer.closed)

    async def _emit(self, event_type: str, build: Fields, *given: Any) -> None:
        self._unyielding += 1
        if self._unyielding >= BUFFER_EVENTS:  # a tight loop must not hold the event loop
            self._unyielding = 0
            await asyncio.sleep(0)
        if self._passes(event_type) and self._buffer is not None:
            self._buffer.publish(event_type, build(*given))
            if self._buffer.full:
                await self._buffer.wait_for_room()

    def _sync_emit(self, event_type: str, build: Fields, *given: Any) -> None:
        if self._passes(event_type) and self._buffer is not None:
            self._buffer.publish_blocking(event_type, build(*given))


_current: ContextVar[StreamContext | None] = ContextVar("dockrion_context", default=None)


def get_current_context() -> StreamContext | None:
    """Return the context of the run this code works for, or None outside a run."""
    return _current.get()


def set_current_context(context: StreamContext) -> None:
    """Make a context the current one of this task and all it starts. For the service."""
    _current.set(context)


def _refuse(event_type: str, moment: str) -> Never:
    raise RuntimeError(f"`{event_type}` is the service's own event; it is emitted when {moment}")
