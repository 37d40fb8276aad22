"""What a run's context and its session share: where events go, and what is recorded of them."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dockrion.events import CUSTOM_PREFIX, EventFilter, validation
from dockrion.events.validation import BuildFields
from dockrion.logs import log
from dockrion.redaction import Redactor
from dockrion.runs.event_buffer import BUFFER_EVENTS, EventBuffer
from dockrion.runs.tool_policy import ToolDenied, ToolPolicy
from dockrion.runs.tracing import RunSpan
from dockrion.runs.usage import Usage

_logger = logging.getLogger("dockrion.runs")
ENVELOPE_BYTES = 1024  # for the other fields of an event that has a large one
_MAX_DENIED_TOOLS = 100
_MAX_OPEN_CALLS = 1000
_TOOL_DENIED = CUSTOM_PREFIX + "tool_denied"


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
        tools: Which tools the agent may call.
        redactor: Masks secrets.

    Attributes:
        redactor: Masks secrets in the run's exceptions and log, also those that were answers.
        cancelled: Whether the run was stopped.
        denied_tools: The first of the tools whose calls were denied, in order.
        usage: The tokens that the agent's models took.
    """

    __slots__ = (
        "_loop_thread",
        "_open_calls",
        "_since_yield",
        "buffer",
        "cancelled",
        "denied_tools",
        "events_filter",
        "redactor",
        "run_id",
        "tools",
        "usage",
    )

    def __init__(
        self,
        run_id: str,
        events_filter: EventFilter,
        buffer: EventBuffer | None,
        tools: ToolPolicy,
        redactor: Redactor,
    ) -> None:
        self.run_id = run_id
        self.events_filter = events_filter
        self.buffer = buffer
        self.tools = tools
        self.redactor = redactor
        self.cancelled = False
        self.denied_tools: dict[str, None] = {}  # an ordered set
        self.usage = Usage()
        self._open_calls: dict[str, tuple[str, float]] = {}  # name and start of each, by id
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

    def emit_after_stop(self, event_type: str, build: BuildFields, *arguments: Any) -> None:
        """Emit an event as long as the log is open, without waiting, also from a thread of a stopped run."""
        if self.buffer is not None and self.events_filter.allows(event_type):
            self.buffer.publish(event_type, build(*arguments))

    def max_bytes(self, event_type: str) -> int:
        """Return how large an event of a type may be, as JSON; 0 if nobody gets it."""
        if self.buffer is None or not self.events_filter.allows(event_type):
            return 0
        return self.buffer.max_event_bytes

    def hide(self, answer: Any) -> None:
        """Mask the texts and integers of an answer from now on.

        Args:
            answer: A decoded JSON value.
        """
        self.redactor = self.redactor.masking_also(_texts(answer))

    def check_tool(self, name: str) -> None:
        """Raise `ToolDenied`, and emit an event for it, if the agent may not call a tool."""
        if not self.tools.allows(name):
            self.deny_tool(name)
            raise ToolDenied(name)

    def deny_tool(self, name: str) -> None:
        """Record and log that a call of a tool was denied, and emit an event for it."""
        log(_logger, logging.WARNING, "tool denied", run_id=self.run_id, tool=name)
        self.tools.on_denied()
        if len(self.denied_tools) < _MAX_DENIED_TOOLS:
            self.denied_tools[name] = None
        self.sync_emit(_TOOL_DENIED, validation.custom, {"name": name})

    def begin_tool_call(self, name: str, tool_call_id: str | None) -> str:
        """Record the start of a tool's call, and return its id.

        Raises:
            ToolDenied: The agent may not call it.
        """
        self.check_tool(name)
        if tool_call_id is None:
            tool_call_id = f"call_{os.urandom(8).hex()}"
        if len(self._open_calls) >= _MAX_OPEN_CALLS:
            self._open_calls.pop(next(iter(self._open_calls)), None)
        self._open_calls[tool_call_id] = name, time.perf_counter()
        return tool_call_id

    def end_tool_call(
        self, tool_call_id: str, name: str | None, duration_ms: float | None
    ) -> tuple[str | None, float | None]:
        """Return the name and the duration of a tool's call; those given come first."""
        began = self._open_calls.pop(tool_call_id, None)
        if began is None:
            return name, duration_ms
        if duration_ms is None:
            duration_ms = (time.perf_counter() - began[1]) * 1000
        return name or began[0], duration_ms

    def enter_tool_call(self, tool_call_id: str) -> Callable[[], None] | None:  # noqa: ARG002
        """Make a tool's call the current span of a trace; return what undoes that, None without one."""
        return None

    def observe_pushed(
        self, pushed: Iterable[tuple[str, dict[str, Any]]]
    ) -> Iterable[tuple[str, dict[str, Any]]]:
        """Return events of another process, which are traced as they are taken out."""
        return pushed

    def count_usage(self, *arguments: Any) -> dict[str, Any]:
        """Add the tokens of one request to the sum, and return the fields of its event.

        Args:
            arguments: Those of `validation.usage`.
        """
        fields = validation.usage(*arguments)
        self.usage.add(fields)
        return fields

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


def emitter_for(span: RunSpan | None, *arguments: Any) -> Emitter:
    """Return the emitter of a run.

    Args:
        span: Its span, None if nobody follows it in a trace.
        arguments: Those of `Emitter`.
    """
    if span is None or not span.recording:
        return Emitter(*arguments)
    from dockrion.runs.traced_emitter import TracedEmitter  # noqa: PLC0415  memory, and it imports this module

    return TracedEmitter(span, *arguments)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case bool():  # `True` in a log line gives nothing away
            return
        case str() | int():
            yield str(value)
        case dict():
            for part in value.values():
                yield from _texts(part)
        case list():
            for part in value:
                yield from _texts(part)
