"""The context of a run: what agent code sees of it, and what the service does with it."""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Never

from dockrion import events
from dockrion.caller import Caller
from dockrion.events import EventFilter, validation
from dockrion.runs.emitter import Emitter, RunCancelled
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.external_events import ExternalEvent
from dockrion.runs.tool_policy import ToolPolicy

__all__ = ["RunCancelled", "RunSession", "StreamContext", "current_session", "get_current_context"]
_MAX_DENIED_TOOLS = 100


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

    async def emit(self, event_type: str, data: Any = None, /, **fields: Any) -> None:
        """Emit a custom event.

        Args:
            event_type: Its name, with or without `custom:` before it.
            data: A mapping of fields; anything else becomes the field `data`.
            fields: More fields.

        Raises:
            ValueError: The name is malformed, or a field would hide a common field of events.
        """
        await self._emitter.emit(events.custom_type(event_type), validation.custom, data, fields)

    def sync_emit(self, event_type: str, data: Any = None, /, **fields: Any) -> None:
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


class RunSession:
    """The service's side of a run's context.

    Args:
        run_id: The run.
        events_filter: Which events pass.
        buffer: Takes the events; None where no one can read them.
        caller: The authenticated caller, or None.
        tools: Which tools the agent may call, every one by default.

    Attributes:
        context: The same run for agent code.
        on_push: Called when another process has pushed events into the run.
        ended_elsewhere: Whether another process has ended the run.
    """

    __slots__ = (
        "_buffer",
        "_denied_tools",
        "_emitter",
        "context",
        "ended_elsewhere",
        "events_filter",
        "on_push",
        "run_id",
    )

    def __init__(
        self,
        run_id: str,
        events_filter: EventFilter,
        buffer: EventBuffer | None,
        caller: Caller | None = None,
        tools: ToolPolicy | None = None,
    ) -> None:
        self.run_id = run_id
        self.events_filter = events_filter
        self.on_push: Callable[[], None] | None = None
        self.ended_elsewhere = False
        self._buffer = buffer
        self._emitter = Emitter(run_id, events_filter, buffer)
        self._denied_tools: dict[str, None] = {}  # an ordered set
        self.context = StreamContext(self._emitter, caller, tools or ToolPolicy())

    def activate(self) -> None:
        """Make this the current run of this task, and of all tasks and threads that it starts."""
        _current.set(self)

    def cancel(self) -> None:
        """Mark the run as stopped, and wake the threads that wait for room in the buffer."""
        self._emitter.cancelled = True
        if self._buffer is not None:
            self._buffer.stop()

    def seal(self) -> None:
        """Accept no more events from the agent."""
        if self._buffer is not None:
            self._buffer.seal()

    @property
    def closed(self) -> bool:
        """Whether no more events are accepted."""
        return self._buffer is not None and self._buffer.closed

    async def emit_event(self, event: Mapping[str, Any]) -> None:
        """Emit an event that a generator yielded: a mapping with a `type`, see `validation.is_event`."""
        await self._emitter.emit(validation.type_of(event), validation.from_mapping, event)

    def sync_emit_event(self, event: Mapping[str, Any]) -> None:
        self._emitter.sync_emit(validation.type_of(event), validation.from_mapping, event)

    async def emit_external(self, event: ExternalEvent) -> None:
        """Emit an event of another process that is not terminal.

        Raises:
            ValueError: A field is wrong.
        """
        await self._emitter.emit(event.type, event.fields)

    def push(self, pushed: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Publish events of another process, as (type, validated fields), whether or not there is room."""
        for event_type, fields in pushed:
            if self._buffer is not None and self.events_filter.allows(event_type):
                self._buffer.publish(event_type, fields)
        if self.on_push is not None:
            self.on_push()

    async def wait_for_room(self) -> None:
        """Wait until the buffer has room for pushed events."""
        if self._buffer is not None and self._buffer.full:
            await self._buffer.wait_for_room()

    @property
    def denied_tools(self) -> list[str]:
        """The first of the tools whose calls were denied."""
        return list(self._denied_tools)

    def deny_tool(self, name: str) -> None:
        """Record that a call of a tool was denied, and emit an event for it."""
        if len(self._denied_tools) < _MAX_DENIED_TOOLS:
            self._denied_tools[name] = None
        self.context.sync_emit("tool_denied", name=name)


_current: ContextVar[RunSession | None] = ContextVar("dockrion_run", default=None)


def current_session() -> RunSession | None:
    """Return the run that this code works for, or None outside a run. For the service."""
    return _current.get()


def get_current_context() -> StreamContext | None:
    """Return the context of the run that this code works for, or None outside a run."""
    session = _current.get()
    return None if session is None else session.context


def _refuse(event_type: str, moment: str) -> Never:
    raise RuntimeError(f"`{event_type}` is the service's own event; it is emitted when {moment}")
