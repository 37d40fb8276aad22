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
from opentelemetry.trace import SpanKind, Status, StatusCode

from dockrion.backends.run_log import Run
from dockrion.events import Entry
from dockrion.redaction import Redactor
from dockrion.tracing import content, positions
from dockrion.tracing import conventions as names
from dockrion.tracing.tool_spans import ToolSpans

MAX_SPANS = 1000  # in a run's span
MAX_CHECKPOINTS = 100
MAX_NAME = 200  # characters of a name that the agent gives
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
    """The span of a run that is not recorded; the spans of the agent's code are not, either.

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
        mask_input: As for `RunTracer`.
    """

    recording = True

    def __init__(
        self,
        tracer: trace.Tracer,
        span: trace.Span,
        redactor: Redactor,
        mask_input: Callable[[Any], Any] | None,
    ) -> None:
        self._tracer = tracer
        self._span = span
        self._redactor = redactor
        self._mask_input = mask_input
        self._shows_content = mask_input is not None
        self._trace_id = span.get_span_context().trace_id
        self._context = trace.set_span_in_context(span, Context())
        self._lock = threading.Lock()
        self._tools = ToolSpans(self)
        self._spans = self._omitted = self._checkpoints = 0
        self._began_at = 0
        self._has_token = self._cancelled = self._ended = False

    @property
    def content_bytes(self) -> int:
        return content.MAX_BYTES if self._shows_content else 0

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
        if self._shows_content:
            text = content.shown(payload, self._redactor, self._mask_input)
            self._span.set_attribute(names.INPUT_MESSAGES, content.messages("user", text))

    def mask_with(self, redactor: Redactor) -> None:
        self._redactor = redactor

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
        span = self._span
        span.set_attribute(names.RUN_STATUS, run.status)
        span.set_attribute(names.RUN_ATTEMPT, run.attempt)
        if self._omitted:
            span.set_attribute(names.OMITTED_SPANS, self._omitted)
        self._set_usage(run.metadata.get("usage"))
        if run.status == "cancelled" and not self._cancelled:
            self._note_cancel(run.metadata.get("reason"), ended_at)
        elif run.status == "failed":
            self._set_error(run.error or {})
        elif run.output is not None and (output := self.shown(run.output)) is not None:
            span.set_attribute(names.OUTPUT_MESSAGES, content.messages("assistant", output))
        span.end(ended_at)

    def start_child(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, Any],
        *,
        parent: Context,
        started_at: int,
    ) -> trace.Span | None:
        """Return a new span in the run's, None if it has too many."""
        with self._lock:
            if self._spans >= MAX_SPANS:
                self._omitted += 1
                return None
            self._spans += 1
        return self._tracer.start_span(name, parent, kind, attributes, start_time=started_at)

    def name(self, text: Any) -> str:
        """Return a name that the agent gave as spans have it."""
        return self._redactor.mask(str(text))[:MAX_NAME]

    def shown(self, value: Any) -> str | None:
        """Return content, None if it is not to be shown."""
        return content.shown(value, self._redactor) if self._shows_content else None

    def _parent(self, *, nested: bool) -> Context:
        """Return the context of a new span: that of the code which emits, if it is in this trace."""
        if nested and trace.get_current_span().get_span_context().trace_id == self._trace_id:
            return contexts.get_current()
        return self._context

    def _add_step(self, fields: Mapping[str, Any], parent: Context) -> None:
        ended_at = time.time_ns()
        name = self.name(fields["node_name"])
        attributes = {names.STEP_NAME: name} | self.source(fields)
        started_at = ended_at - int((fields.get("duration_ms") or 0) * 1_000_000)
        span = self.start_child(
            f"{names.STEP} {name}", SpanKind.INTERNAL, attributes, parent=parent, started_at=started_at
        )
        if span is not None:
            span.end(ended_at)

    def source(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attribute that says where an event comes from, if that is known."""
        source = fields.get("source")
        return {names.SOURCE: self.name(source)} if isinstance(source, str) else {}

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
        attributes: dict[str, Any] = {names.CHECKPOINT_NAME: self.name(name)}
        if (shown := self.shown(data)) is not None:
            attributes[names.CHECKPOINT_DATA] = shown
        self._span.add_event(names.CHECKPOINT, attributes, moment)

    def _note_cancel(self, reason: Any, moment: int) -> None:
        shown = None if reason is None else self.shown(reason)
        self._span.add_event(names.CANCEL, {} if shown is None else {names.CANCEL_REASON: shown}, moment)

    def _set_usage(self, by_model: Any) -> None:
        """Set the tokens of all models together, and the model's name if it is one."""
        if not isinstance(by_model, dict):  # what a pushed event says
            return
        counts = [each for each in by_model.values() if isinstance(each, dict)]
        for field, attribute in _TOKENS.items():
            total = sum(value for each in counts if isinstance(value := each.get(field), int))
            if total:
                self._span.set_attribute(attribute, total)
        if len(by_model) == 1:
            model = self.name(next(iter(by_model)))
            self._span.set_attribute(names.REQUEST_MODEL, model)
            self._span.set_attribute(names.RESPONSE_MODEL, model)

    def _set_error(self, error: Mapping[str, Any]) -> None:
        """Set the error's code. Its message may quote a payload."""
        self._span.set_attribute(names.ERROR_TYPE, self.name(error.get("code") or names.NO_RESULT))
        message = self.shown(error.get("error"))
        self._span.set_status(Status(StatusCode.ERROR, message))
