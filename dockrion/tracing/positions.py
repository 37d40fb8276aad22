"""Positions in traces (W3C Trace Context): parsing, formatting, and spans at a position that was chosen."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator

_EMPTY = Context()


def context_at(traceparent: str | None, tracestate: str | None = None) -> Context:
    """Return the context whose current span is at a position, an empty one without a position.

    OpenTelemetry's own propagator takes five times as long, since it checks what is checked already.

    Args:
        traceparent: The position, well-formed.
        tracestate: What vendors add to it, well-formed.
    """
    if not traceparent:
        return Context()
    _, trace_id, span_id, flags = traceparent.split("-")[:4]
    context = trace.SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(flags, 16)),
        trace_state=trace.TraceState.from_header([tracestate]) if tracestate else None,
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(context), _EMPTY)


def traceparent_of(context: trace.SpanContext) -> str | None:
    """Return the position of a span, None if it has none."""
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def tracestate_of(context: trace.SpanContext) -> str | None:
    """Return what vendors add to the position of a span, None for nothing."""
    return context.trace_state.to_header() or None


def current_traceparent() -> str | None:
    """Return the position of the span that this code works in, None outside a span."""
    return traceparent_of(trace.get_current_span().get_span_context())


class ChosenIds(IdGenerator):
    """Makes random ids, except for a span whose position was chosen before.

    Args:
        random: Makes the random ids.
    """

    def __init__(self, random: IdGenerator) -> None:
        self._random = random

    def generate_span_id(self) -> int:
        chosen = _chosen.get()
        return self._random.generate_span_id() if chosen is None else chosen.span_id

    def generate_trace_id(self) -> int:
        chosen = _chosen.get()
        return self._random.generate_trace_id() if chosen is None else chosen.trace_id

    def is_trace_id_random(self) -> bool:  # since version 1.41
        is_random = getattr(self._random, "is_trace_id_random", None)
        return is_random is not None and is_random()


_chosen: ContextVar[trace.SpanContext | None] = ContextVar("dockrion_chosen_span", default=None)


def let_choose_ids(tracer: trace.Tracer) -> None:
    """Let `chosen_position` choose the ids of a tracer's spans; tracers of other SDKs cannot."""
    if isinstance(tracer, Tracer) and not isinstance(tracer.id_generator, ChosenIds):
        tracer.id_generator = ChosenIds(tracer.id_generator)


@contextmanager
def chosen_position(traceparent: str) -> Iterator[None]:
    """Give the span that is started in this block a position."""
    token = _chosen.set(trace.get_current_span(context_at(traceparent)).get_span_context())
    try:
        yield
    finally:
        _chosen.reset(token)
