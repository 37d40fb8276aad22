"""Runs as spans: one `invoke_agent` span each, from when the run is accepted to its terminal event.

Its position is chosen when the run is accepted, and stored with the run. While a process executes the run,
the span is the current one of the agent's code. It is exported by the process that stores the terminal event;
another process that had the run before has only made a span at the same position, and forgets it.
"""

import msgspec
from opentelemetry import trace
from opentelemetry.context import Context

from dockrion.backends.run_log import Run
from dockrion.caller import Caller, CallerRequest
from dockrion.redaction import Redactor
from dockrion.tracing import conventions as names
from dockrion.tracing import positions
from dockrion.tracing.content import ContentMasks
from dockrion.tracing.run_span import SampledRunSpan, UnsampledRunSpan, nanoseconds


class TracedAgent(msgspec.Struct, frozen=True, kw_only=True):
    """What spans say of the agent.

    Attributes:
        name: Its name.
        framework: Its framework.
        description: Its description, or None.
        version: Its version, or None.
        remote: Whether it is another process.
    """

    name: str
    framework: str
    description: str | None = None
    version: str | None = None
    remote: bool = False


class RunTracer:
    """Implements `dockrion.runs.tracing.RunTracer`, whose docstrings apply.

    Args:
        tracer: Starts spans.
        agent: What they say of the agent.
        redactor: Masks secrets.
        masks: Mask what else is not to be shown; None if payloads, outputs and the arguments and results of
            tools are left out.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        agent: TracedAgent,
        redactor: Redactor,
        masks: ContentMasks | None = None,
    ) -> None:
        positions.let_choose_ids(tracer)
        self._tracer = tracer
        self._redactor = redactor
        self._masks = masks
        self._name = f"{names.INVOKE_AGENT} {agent.name}"
        self._kind = trace.SpanKind.CLIENT if agent.remote else trace.SpanKind.INTERNAL
        attributes = {
            names.OPERATION: names.INVOKE_AGENT,
            names.PROVIDER: "dockrion",
            names.AGENT_NAME: agent.name,
            names.AGENT_DESCRIPTION: agent.description,
            names.AGENT_VERSION: agent.version,
            names.FRAMEWORK: agent.framework,
        }
        self._attributes = {name: value for name, value in attributes.items() if value}

    def accept(
        self, request: CallerRequest, run: Run
    ) -> tuple[SampledRunSpan | UnsampledRunSpan, CallerRequest, Run]:
        span = self._start(run, positions.context_at(request.traceparent, request.tracestate))
        context = span.get_span_context()
        position = positions.traceparent_of(context)
        if position is None:  # nobody traces anything
            return UnsampledRunSpan(span), request, run
        parent = request.traceparent or ""
        place = {"traceparent": position, "tracestate": positions.tracestate_of(context)}
        request, run = msgspec.structs.replace(request, **place), msgspec.structs.replace(run, **place)
        if not span.is_recording():
            return UnsampledRunSpan(span), request, run
        return self._followed(span), request, msgspec.structs.replace(run, span_parent=parent)

    def resume(self, request: CallerRequest, run: Run) -> SampledRunSpan | UnsampledRunSpan:
        if (span := self._start_again(run)) is not None:
            return self._followed(span)
        context = positions.context_at(request.traceparent, request.tracestate)
        return UnsampledRunSpan(trace.get_current_span(context))

    def end(self, run: Run) -> None:
        if (span := self._start_again(run)) is not None:
            if run.started_at is not None:
                span.add_event(names.ATTEMPT, {names.RUN_ATTEMPT: 1}, nanoseconds(run.started_at))
            self._followed(span).end_or_discard(run)

    def _start_again(self, run: Run) -> trace.Span | None:
        """Return a span at the position of the run's, None if it has none."""
        if run.span_parent is None or run.traceparent is None:
            return None
        with positions.chosen_position(run.traceparent):
            span = self._start(run, positions.context_at(run.span_parent, run.tracestate))
        return span if span.is_recording() else None

    def _start(self, run: Run, parent: Context) -> trace.Span:
        attributes = {**self._attributes, names.RUN_ID: run.run_id}
        if run.owner is not None and (user_id := Caller.user_id_of(run.owner)) is not None:
            attributes[names.USER_ID] = user_id
        return self._tracer.start_span(
            self._name, parent, self._kind, attributes, start_time=nanoseconds(run.created_at)
        )

    def _followed(self, span: trace.Span) -> SampledRunSpan:
        return SampledRunSpan(self._tracer, span, self._redactor, self._masks)
