"""Server spans: one for each request, until its response is complete."""

from contextvars import Token

import msgspec
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode

from dockrion.caller import current_request, set_current_request
from dockrion.tracing import conventions as names
from dockrion.tracing import positions

_SERVER_ERROR = 500
_MAX_TEXT = 1000  # characters of what a caller sends


class RequestSpan:
    """The span of a request, current in the task that handles it.

    Args:
        span: The span.
        token: Undoes that it is the current one.
    """

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span, token: Token[Context]) -> None:
        self._span = span
        self._token = token

    def end(self, status: int, attributes: dict[str, str | int | None]) -> None:
        """End it, in the task that has started it.

        Args:
            status: The status of the response, or what is logged in its place.
            attributes: Those that are known now; None are left out.
        """
        contexts.detach(self._token)
        span = self._span
        if not span.is_recording():
            return
        known = {name: _well_formed(value) for name, value in attributes.items() if value is not None}
        known[names.HTTP_STATUS] = status
        if status >= _SERVER_ERROR:
            known[names.ERROR_TYPE] = str(status)
            span.set_status(Status(StatusCode.ERROR))
        span.set_attributes(known)
        span.end()


class RequestTracer:
    """Starts spans of requests.

    Args:
        tracer: Starts spans.
    """

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start(self, method: str, route: str | None, attributes: dict[str, str]) -> RequestSpan:
        """Start the span of the current request, and make it current, in place of its caller's.

        Args:
            method: The method, `_OTHER` if it is not a known one.
            route: The path's pattern, None if no route matches.
            attributes: Those that a sampler may look at.
        """
        known = {name: _well_formed(text) for name, text in attributes.items()}
        request = current_request()
        named = names.UNNAMED_METHOD if method == names.OTHER_METHOD else method
        known[names.HTTP_METHOD] = method
        if route is not None:
            named = f"{named} {route}"
            known[names.HTTP_ROUTE] = route
        parent = positions.context_at(request.traceparent, request.tracestate)
        span = self._tracer.start_span(named, parent, SpanKind.SERVER, known)
        context = span.get_span_context()
        if (position := positions.traceparent_of(context)) is not None:
            state = positions.tracestate_of(context)
            set_current_request(msgspec.structs.replace(request, traceparent=position, tracestate=state))
        return RequestSpan(span, contexts.attach(trace.set_span_in_context(span, parent)))


def _well_formed(value: str | int) -> str | int:
    """Return what a caller sends without what cannot be encoded: the exporter would drop other spans, too."""
    if isinstance(value, int):
        return value
    text = value[:_MAX_TEXT]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
