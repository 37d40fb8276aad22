"""What sends spans to a collector, to Langfuse or to the log."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

from dockrion.dockfile.credentials import LangfuseKeys
from dockrion.dockfile.observability_structs import LangfuseSpec, TracingSpec
from dockrion.logs import log

SCOPE = "dockrion"  # of the spans that this service makes
_logger = logging.getLogger(__name__)
_TRACES_PATH = "/v1/traces"  # OTLP specification, OTLP/HTTP request
_LANGFUSE_PATH = "/api/public/otel/v1/traces"  # https://langfuse.com/integrations/native/opentelemetry
_LANGFUSE_VERSION = {"x-langfuse-ingestion-version": "4"}  # spans are shown at once
_STANDARD_VARIABLES = "OTEL_EXPORTER_OTLP_"
_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_MAX_RESPONSE = 64 * 1024  # bytes; a response says at most how many spans were refused


def collector_exporter(spec: TracingSpec, headers: dict[str, str] | None) -> SpanExporter:
    """Return what sends spans to a collector: to the Dockfile's, or else to the standard variables'.

    Args:
        spec: The Dockfile's section.
        headers: The headers of its variable, instead of those of the standard variables; None without one.
    """
    endpoint = None
    if spec.endpoint is not None:
        endpoint = spec.endpoint.removesuffix("/").removesuffix(_TRACES_PATH) + _TRACES_PATH
    with _without_variables(*(_HEADERS if headers is not None else ())):
        return OTLPSpanExporter(endpoint, headers=headers, session=_session())


def langfuse_exporter(spec: LangfuseSpec, keys: LangfuseKeys) -> SpanExporter:
    """Return what sends the spans of runs to Langfuse."""
    endpoint = spec.host.removesuffix("/") + _LANGFUSE_PATH
    headers = {"authorization": f"Basic {keys.basic}", **_LANGFUSE_VERSION}
    # The standard variables are about a collector, whose credentials and certificates are not Langfuse's.
    with _without_variables(*(name for name in os.environ if name.startswith(_STANDARD_VARIABLES))):
        return LangfuseExporter(OTLPSpanExporter(endpoint, headers=headers, session=_session()))


class LangfuseExporter(SpanExporter):
    """Leaves out the spans of requests: Langfuse is about runs, and counts every span.

    Args:
        exporter: Sends the others.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent = [span for span in spans if not _is_request(span)]
        return self._exporter.export(sent) if sent else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class LogExporter(SpanExporter):
    """Writes each span as a line of the log."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            log(_logger, logging.INFO, "span", **_fields(span))
        return SpanExportResult.SUCCESS


def _is_request(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return span.kind is SpanKind.SERVER and scope is not None and scope.name == SCOPE


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
        fields["error"] = span.status.description
    if span.events:
        fields["events"] = [{"name": each.name, **(each.attributes or {})} for each in span.events]
    return fields


def _session() -> requests.Session:
    """Return an HTTP session that follows no redirect and keeps no large response."""
    session = requests.Session()
    session.stream = True
    session.hooks["response"].append(_check_response)
    return session


def _check_response(response: requests.Response, *_args: Any, **_options: Any) -> None:
    if response.is_redirect:
        response.close()
        raise requests.TooManyRedirects("it redirects, which is not followed")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) <= _MAX_RESPONSE:
        _ = response.content  # so that the connection can be used again
    else:
        response.close()


@contextmanager
def _without_variables(*names: str) -> Iterator[None]:
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
