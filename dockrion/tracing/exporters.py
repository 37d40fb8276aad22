"""What sends spans to a collector, to Langfuse or to the log."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

from dockrion.dockfile import Dockfile
from dockrion.dockfile.credentials import LangfuseKeys
from dockrion.dockfile.observability_structs import TracingSpec
from dockrion.logs import log
from dockrion.tracing import conventions as names
from dockrion.tracing.http_session import ExporterSession
from dockrion.tracing.masking import with_fields

SCOPE = "dockrion"  # of the spans that this service makes
_logger = logging.getLogger(__name__)
_TRACES_PATH = "/v1/traces"  # OTLP specification, OTLP/HTTP request
_LANGFUSE_PATH = "/api/public/otel/v1/traces"  # https://langfuse.com/integrations/native/opentelemetry
_LANGFUSE_VERSION = {"x-langfuse-ingestion-version": "4"}  # spans are shown at once
_STANDARD_VARIABLES = "OTEL_EXPORTER_OTLP_"
_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")


class HttpExporter(SpanExporter):
    """Sends spans by OTLP over HTTP.

    Args:
        endpoint: Where to; None to do as the standard variables say.
        headers: The headers of its requests, beside those of the standard variables.
        view: Returns what it sends of a span, None for nothing.
    """

    def __init__(
        self,
        endpoint: str | None,
        headers: dict[str, str] | None,
        view: Callable[[ReadableSpan], ReadableSpan | None] = lambda span: span,
    ) -> None:
        self._session = ExporterSession()
        self._exporter = OTLPSpanExporter(endpoint, headers=headers, session=self._session)
        self._view = view
        self._closed = False

    @property
    def unreachable(self) -> bool:
        """Whether nobody has accepted the last connection."""
        return self._session.unreachable

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._closed:
            return SpanExportResult.FAILURE
        sent = [each for each in map(self._view, spans) if each is not None]
        return self._exporter.export(sent) if sent else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()


def collector_exporter(spec: TracingSpec, headers: dict[str, str] | None) -> HttpExporter:
    """Return what sends spans to a collector: to the Dockfile's, or else to the standard variables'.

    Args:
        spec: The Dockfile's section.
        headers: The headers of its variable, instead of those of the standard variables; None without one.
    """
    endpoint = None
    if spec.endpoint is not None:
        endpoint = spec.endpoint.removesuffix("/").removesuffix(_TRACES_PATH) + _TRACES_PATH
    with _without_variables(*(_HEADERS if headers is not None else ())):
        return HttpExporter(endpoint, headers)


def langfuse_exporter(dockfile: Dockfile, keys: LangfuseKeys) -> HttpExporter:
    """Return what sends the spans of runs to Langfuse."""
    endpoint = dockfile.observability.langfuse.host.removesuffix("/") + _LANGFUSE_PATH
    headers = {"authorization": f"Basic {keys.basic}", **_LANGFUSE_VERSION}
    # The standard variables are about a collector, whose credentials and certificates are not Langfuse's.
    with _without_variables(*(name for name in os.environ if name.startswith(_STANDARD_VARIABLES))):
        return HttpExporter(endpoint, headers, partial(_langfuse_view, dockfile))


class LogExporter(SpanExporter):
    """Writes each span as a line of the log."""

    unreachable = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            log(_logger, logging.INFO, "span", **_fields(span))
        return SpanExportResult.SUCCESS


def _langfuse_view(dockfile: Dockfile, span: ReadableSpan) -> ReadableSpan | None:
    """Return a span as Langfuse gets it, which is about runs, and counts every span.

    It gets none of requests, so that a trace begins with the run there, and is named after the agent.
    """
    scope, attributes = span.instrumentation_scope, span.attributes or {}
    if scope is None or scope.name != SCOPE:
        return span
    if span.kind is SpanKind.SERVER:
        return None
    if attributes.get(names.OPERATION) != names.INVOKE_AGENT:
        return span
    of_trace: dict[str, Any] = {names.LANGFUSE_NAME: dockfile.agent.name}
    if dockfile.metadata.tags:
        of_trace[names.LANGFUSE_TAGS] = dockfile.metadata.tags
    return with_fields(span, parent=None, attributes={**attributes, **of_trace})


def _fields(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.context, span.parent
    fields: dict[str, Any] = {
        "name": span.name,
        "kind": span.kind.name.lower(),
        "trace_id": format_trace_id(context.trace_id) if context is not None else None,
        "span_id": format_span_id(context.span_id) if context is not None else None,
        "parent_span_id": None if parent is None else format_span_id(parent.span_id),
        "seconds": round(((span.end_time or 0) - (span.start_time or 0)) / 1e9, 6),
        "status": span.status.status_code.name.lower(),
        "attributes": dict(span.attributes or {}),
    }
    if span.status.description:
        fields["reason"] = span.status.description
    if span.events:
        fields["events"] = [{"name": each.name, **(each.attributes or {})} for each in span.events]
    return fields


@contextmanager
def _without_variables(*names: str) -> Iterator[None]:
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
