"""The span of one run, with those of its steps and tool calls in it."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode

from dockrion.backends.run_log import Run
from dockrion.events import Entry
from dockrion.redaction import Redactor
from dockrion.tracing import content, positions
from dockrion.tracing import conventions as names
from dockrion.tracing.child_spans import ChildSpans
from dockrion.tracing.content import ContentMasks
from dockrion.tracing.tool_spans import ToolSpans

MAX_CHECKPOINTS = 100
_MAX_INTEGER = 2**63 - 1  # of an attribute: the exporter drops all its spans for a larger one
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TOKENS = {"input_tokens": names.INPUT_TOKENS, "output_tokens": names.OUTPUT_TOKENS}


def nanoseconds(moment: datetime) -> int:
    """Return a time as spans have it."""
    return (moment - _EPOCH) // _MICROSECOND * 1000


class _Recalled(msgspec.Struct):
    """What spans have of an event in the log."""

    attempt: int = 1
    previous: str | None = None
    name: str = ""
    data: Any = None


_recalled = msgspec.json.Decoder(_Recalled)


class UnsampledRunSpan:
    """The span of a run that is not sampled; the spans of the agent's code are not, either.

    Args:
        span: Its position.
    """

    recording = False
    content_bytes = 0

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def activate(self) -> None:
        contexts.attach(trace.set_span_in_context(self._span))

    def current_traceparent(self) -> str | None:
        return positions.traceparent_of(self._span.get_span_context())

    def recall(self, entries: Sequence[Entry]) -> None:
        pass

    def begin(self, payload: Any, attempt: int, previous: str | None) -> None:
        pass

    def note_conversation(self, conversation_id: str) -> None:
        pass

    def mask_with(self, redactor: Redactor) -> None:
        pass

    def observe(self, event_type: str, fields: Mapping[str, Any], *, nested: bool) -> None:
        pass

    def enter_tool_call(self, tool_call_id: str) -> None:
        pass

    def cancel(self, reason: str | None) -> None:
        pass

    def end_or_discard(self, run: Run) -> None:
        pass


class SampledRunSpan:
    """Implements `dockrion.runs.tracing.RunSpan`, whose docstrings apply.

    Args:
        tracer: Starts the spans in it.
        span: The span.
        redactor: Masks secrets.
        masks: As for `RunTracer`.
    """

    recording = True

    def __init__(
        self,
        tracer: trace.Tracer,
        span: trace.Span,
        redactor: Redactor,
        masks: ContentMasks | None,
    ) -> None:
        self._span = span
        self._masks = masks
        self._trace_id = span.get_span_context().trace_id
        self._context = trace.set_span_in_context(span, Context())
        self._lock = threading.Lock()
        self._children = ChildSpans(tracer, redactor, None if masks is None else masks.output)
        self._tools = ToolSpans(self._children)
        self._checkpoints = 0
        self._began_at = 0
        self._has_token = self._cancelled = self._ended = False

    @property
    def content_bytes(self) -> int:
        return 0 if self._masks is None else content.MAX_BYTES

    def activate(self) -> None:
        contexts.attach(trace.set_span_in_context(self._span))

    def current_traceparent(self) -> str | None:
        current = trace.get_current_span().get_span_context()
        is_within = current.trace_id == self._trace_id
        return positions.traceparent_of(current if is_within else self._span.get_span_context())

    def recall(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            moment = int(entry.emitted_at * 1e9)
            match entry.type:
                case "started":
                    started = _recalled.decode(entry.data)
                    self._note_attempt(started.attempt, started.previous, moment)
                case "token":
                    self._note_first_token(moment)
                case "checkpoint":
                    checkpoint = _recalled.decode(entry.data)
                    self._note_checkpoint(checkpoint.name, checkpoint.data, moment)

    def begin(self, payload: Any, attempt: int, previous: str | None) -> None:
        self._note_attempt(attempt, previous, time.time_ns())
        if self._masks is not None:
            text = content.shown(payload, self._children.redactor, self._masks.payload)
            self._span.set_attribute(names.INPUT_MESSAGES, content.messages("user", text))

    def note_conversation(self, conversation_id: str) -> None:
        self._span.set_attribute(names.CONVERSATION, self._children.name(conversation_id))

    def mask_with(self, redactor: Redactor) -> None:
        self._children.redactor = redactor

    def observe(self, event_type: str, fields: Mapping[str, Any], *, nested: bool) -> None:
        if self._ended:
            return
        match event_type:
            case "tool_call":
                self._tools.called(fields, self._parent(nested=nested))
            case "tool_result":
                self._tools.returned(fields)
            case "step":
                self._add_step(fields, self._parent(nested=nested))
            case "token":
                self._note_first_token(time.time_ns())
            case "checkpoint":
                self._note_checkpoint(fields["name"], fields["data"], time.time_ns())

    def enter_tool_call(self, tool_call_id: str) -> Callable[[], None] | None:
        return None if self._ended else self._tools.enter(tool_call_id)

    def cancel(self, reason: str | None) -> None:
        if self._ended:
            return
        self._cancelled = True
        self._note_cancel(reason, time.time_ns())

    def end_or_discard(self, run: Run) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._tools.close()
        if not run.finished:
            return
        ended_at = max(nanoseconds(run.completed_at or datetime.now(UTC)), nanoseconds(run.created_at))
        attributes: dict[str, Any] = {names.RUN_STATUS: run.status, names.RUN_ATTEMPT: run.attempt}
        if self._children.omitted:
            attributes[names.OMITTED_SPANS] = self._children.omitted
        attributes |= self._usage(run.metadata.get("usage"))
        if run.status == "cancelled" and not self._cancelled:
            self._note_cancel(run.metadata.get("reason"), ended_at)
        elif run.status == "failed":
            error = run.error or {}
            attributes[names.ERROR_TYPE] = self._children.name(error.get("code"))
            details = error.get("details")  # any JSON, if a process has reported the error
            kind = details.get("type") if isinstance(details, dict) else None
            if isinstance(kind, str) and kind.isidentifier():
                attributes[names.EXCEPTION_TYPE] = self._children.name(kind)
            # The message may quote a payload.
            self._span.set_status(Status(StatusCode.ERROR, self._children.shown(error.get("error"))))
        elif run.output is not None and (output := self._children.shown(run.output)) is not None:
            attributes[names.OUTPUT_MESSAGES] = content.messages("assistant", output)
        self._span.set_attributes(attributes)
        self._span.end(ended_at)

    def _parent(self, *, nested: bool) -> Context:
        """Return the context of a new span: that of the code which emits, if it is in this trace."""
        if nested and trace.get_current_span().get_span_context().trace_id == self._trace_id:
            return contexts.get_current()
        return self._context

    def _add_step(self, fields: Mapping[str, Any], parent: Context) -> None:
        ended_at = time.time_ns()
        name = self._children.name(fields["node_name"])
        attributes = {names.STEP_NAME: name} | self._children.source(fields)
        started_at = self._children.beginning(ended_at, fields.get("duration_ms"))
        span = self._children.start(f"{names.STEP} {name}", attributes, parent=parent, started_at=started_at)
        if span is not None:
            span.end(ended_at)

    def _note_attempt(self, attempt: int, previous: str | None, moment: int) -> None:
        self._began_at = moment
        attributes: dict[str, Any] = {names.RUN_ATTEMPT: attempt}
        if previous is not None:
            attributes[names.PREVIOUS_END] = previous
        self._span.add_event(names.ATTEMPT, attributes, moment)

    def _note_first_token(self, moment: int) -> None:
        if self._has_token:
            return
        self._has_token = True
        self._span.add_event(names.FIRST_TOKEN, timestamp=moment)
        self._span.set_attribute(names.FIRST_TOKEN_SECONDS, max(moment - self._began_at, 0) / 1e9)

    def _note_checkpoint(self, name: Any, data: Any, moment: int) -> None:
        self._checkpoints += 1
        if self._checkpoints > MAX_CHECKPOINTS:
            return
        attributes: dict[str, Any] = {names.CHECKPOINT_NAME: self._children.name(name)}
        if (shown := self._children.shown(data)) is not None:
            attributes[names.CHECKPOINT_DATA] = shown
        self._span.add_event(names.CHECKPOINT, attributes, moment)

    def _note_cancel(self, reason: Any, moment: int) -> None:
        shown = None if reason is None else self._children.shown(reason)
        self._span.add_event(names.CANCEL, {} if shown is None else {names.CANCEL_REASON: shown}, moment)

    def _usage(self, by_model: Any) -> dict[str, Any]:
        """Return the tokens of all models together, and the model's name if it is one."""
        if not isinstance(by_model, dict):  # what a pushed event says
            return {}
        attributes: dict[str, Any] = {}
        counts = [each for each in by_model.values() if isinstance(each, dict)]
        for field, attribute in _TOKENS.items():
            if total := sum(value for each in counts if isinstance(value := each.get(field), int)):
                attributes[attribute] = min(total, _MAX_INTEGER)
        if len(by_model) == 1:
            model = self._children.name(next(iter(by_model)))
            attributes |= {names.REQUEST_MODEL: model, names.RESPONSE_MODEL: model}
        return attributes
