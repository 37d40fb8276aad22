"""The `execute_tool` spans of one run."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode

from dockrion.tracing import conventions as names
from dockrion.tracing.child_spans import ChildSpans

_MAX_OPEN = 1000


class _OpenCall(msgspec.Struct, eq=False):
    """A call without a result so far.

    Attributes:
        name: The tool's name.
        attributes: Those of its span.
        parent: The context of the code that calls it.
        called_at: When that was.
        span: Its span; made before the result only if it is the current one of the tool's code.
    """

    name: str
    attributes: dict[str, Any]
    parent: Context
    called_at: int
    span: trace.Span | None = None


class ToolSpans:
    """Makes a span of each call and its result.

    Args:
        children: Starts the spans in that of the run.
    """

    def __init__(self, children: ChildSpans) -> None:
        self._children = children
        self._open: dict[str, _OpenCall] = {}
        self._lock = threading.Lock()  # tools may be called in several threads

    def called(self, fields: Mapping[str, Any], parent: Context) -> None:
        """Note the fields of a `tool_call` event, and the context of the code that calls."""
        name, call_id = self._children.name(fields["name"]), fields["tool_call_id"]
        attributes = {
            names.OPERATION: names.EXECUTE_TOOL,
            names.TOOL_NAME: name,
            names.TOOL_TYPE: "function",
            names.TOOL_CALL_ID: self._children.name(call_id),
        } | self._children.source(fields)
        if (arguments := self._children.shown(fields.get("arguments"))) is not None:
            attributes[names.TOOL_ARGUMENTS] = arguments
        with self._lock:
            self._open[call_id] = _OpenCall(name, attributes, parent, time.time_ns())
            oldest = self._open.pop(next(iter(self._open))) if len(self._open) > _MAX_OPEN else None
        self._finish(oldest, error=names.NO_RESULT)

    def enter(self, tool_call_id: str) -> Callable[[], None] | None:
        """Make a call's span the current one; return what undoes that."""
        call = self._open.get(tool_call_id)
        if call is None:
            return None
        span = call.span = self._start(call, call.called_at)
        if span is None:
            self._open.pop(tool_call_id, None)
            return None
        before = contexts.get_current()
        within = trace.set_span_in_context(span, before)
        contexts.attach(within)

        def leave() -> None:
            if contexts.get_current() is within:  # not if another context of Python is current now
                contexts.attach(before)

        return leave

    def returned(self, fields: Mapping[str, Any]) -> None:
        """End the span of a call, by the fields of its `tool_result` event."""
        call = self._open.pop(fields["tool_call_id"], None)
        if call is None:
            return
        if (result := self._children.shown(fields.get("result"))) is not None:
            call.attributes[names.TOOL_RESULT] = result
        error = names.TOOL_ERROR if fields.get("is_error") else None
        self._finish(call, error=error, duration_ms=fields.get("duration_ms"))

    def close(self) -> None:
        """End the spans of all calls that have no result."""
        with self._lock:
            unfinished, self._open = self._open, {}
        for call in unfinished.values():
            self._finish(call, error=names.NO_RESULT)

    def _start(self, call: _OpenCall, started_at: int) -> trace.Span | None:
        name = f"{names.EXECUTE_TOOL} {call.name}"
        return self._children.start(name, call.attributes, parent=call.parent, started_at=started_at)

    def _finish(self, call: _OpenCall | None, *, error: str | None, duration_ms: float | None = None) -> None:
        if call is None:
            return
        ended_at, span = time.time_ns(), call.span
        if span is None:
            # The tool may have begun to work some time after it was asked for.
            began_at = self._children.beginning(ended_at, duration_ms)
            started_at = call.called_at if duration_ms is None else max(began_at, call.called_at)
            span = self._start(call, started_at)
            if span is None:
                return
        elif names.TOOL_RESULT in call.attributes:
            span.set_attribute(names.TOOL_RESULT, call.attributes[names.TOOL_RESULT])
        if error is not None:
            span.set_attribute(names.ERROR_TYPE, error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended_at)
