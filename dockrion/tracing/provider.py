"""The tracer of a process: from the Dockfile and the standard `OTEL_*` variables."""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from dockrion import __version__
from dockrion.dockfile import Credentials, Dockfile
from dockrion.dockfile.observability_structs import TracingSpec
from dockrion.errors import StartError
from dockrion.logs import CurrentRun, log
from dockrion.redaction import Redactor
from dockrion.threads import in_thread
from dockrion.tracing.exporters import (
    SCOPE,
    HttpExporter,
    LogExporter,
    collector_exporter,
    langfuse_exporter,
)
from dockrion.tracing.masking import MaskingProcessor

_FLUSH_SECONDS = 3.0
_POLL_SECONDS = 0.05
_REPEAT_SECONDS = 60.0
_MAX_MESSAGES = 100
_OTEL = "opentelemetry."
_PROTOCOL = "http/protobuf"
_logger = logging.getLogger(__name__)


class Tracing:
    """Makes the spans of one service.

    Args:
        tracer: Starts spans.
        captures_content: Whether spans have payloads, outputs and the arguments of tools.
        exporters: What sends the spans, each with the processor that queues them for it.

    Attributes:
        tracer: As given.
        captures_content: As given.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        *,
        captures_content: bool = False,
        exporters: list[tuple[HttpExporter | LogExporter, SpanProcessor]],
    ) -> None:
        self.tracer = tracer
        self.captures_content = captures_content
        self._exporters = exporters
        self._log_filters = [(handler, _RepeatFilter()) for handler in logging.getLogger().handlers]
        for handler, repeats in self._log_filters:
            handler.addFilter(repeats)

    async def aclose(self) -> None:
        """Send the spans that have ended, and give up those that take longer than a few seconds."""
        closing = {
            asyncio.create_task(in_thread(processor.shutdown, "dockrion-traces")): exporter
            for exporter, processor in self._exporters
        }
        deadline = time.monotonic() + _FLUSH_SECONDS
        pending = set(closing)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=_POLL_SECONDS)
            late = time.monotonic() > deadline
            given_up = {task for task in pending if late or closing[task].unreachable}
            for task in given_up:
                log(_logger, logging.WARNING, "spans are lost: they could not be sent before the exit")
                closing[task].shutdown()  # ends its waiting between attempts
                task.cancel()
            pending -= given_up
        for handler, repeats in self._log_filters:
            handler.removeFilter(repeats)


def start_tracing(
    dockfile: Dockfile, credentials: Credentials, redactor: Redactor, current_run: CurrentRun
) -> Tracing:
    """Start to export spans, and make the tracer provider the global one, which agents use.

    A global provider that is there already, as with `opentelemetry-instrument`, is used as it is; only
    Langfuse's exporter is added to it. Call this in the process that serves, after any fork.

    Args:
        dockfile: The Dockfile.
        credentials: Its headers and keys.
        redactor: Masks secrets.
        current_run: Returns the run that the code works for which calls it, if any.

    Raises:
        StartError: A standard variable has a value that is not supported.
    """
    observability = dockfile.observability
    spec = observability.tracing_spec or TracingSpec(exporter="none")
    provider = trace.get_tracer_provider()
    is_new = isinstance(provider, trace.ProxyTracerProvider)
    try:
        exporters = list(_exporters(spec, credentials)) if is_new else []
        if observability.langfuse.enabled and credentials.langfuse_keys is not None:
            exporters.append(langfuse_exporter(dockfile, credentials.langfuse_keys))
        if is_new:
            provider = _new_provider(dockfile, spec)
        pairs = [(exporter, _processor_for(exporter)) for exporter in exporters]
    except (ValueError, RuntimeError) as error:
        raise StartError(f"observability.tracing: {error}") from error
    if isinstance(provider, TracerProvider):
        for _, processor in pairs:
            provider.add_span_processor(MaskingProcessor(processor, redactor, current_run))
    if is_new:
        trace.set_tracer_provider(provider)
    else:
        log(
            _logger,
            logging.WARNING,
            "a tracer provider is set already, which sends spans elsewhere than observability.tracing says",
            provider=type(provider).__qualname__,
        )
    return Tracing(
        provider.get_tracer(SCOPE, __version__),
        captures_content=spec.capture_content,
        exporters=pairs,
    )


def _new_provider(dockfile: Dockfile, spec: TracingSpec) -> TracerProvider:
    sampler = None if spec.sample_ratio is None else ParentBasedTraceIdRatio(spec.sample_ratio)
    resource = {"service.name": dockfile.agent.name, "service.instance.id": str(uuid4())}
    if dockfile.metadata.version:
        resource["service.version"] = dockfile.metadata.version
    standard = OTELResourceDetector().detect().attributes
    return TracerProvider(sampler, Resource.create({**resource, **standard}), shutdown_on_exit=False)


def _exporters(spec: TracingSpec, credentials: Credentials) -> Iterator[HttpExporter | LogExporter]:
    named = spec.exporter or os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    for name in dict.fromkeys(part.strip() for part in named.split(",")):
        if name == "otlp":
            if spec.endpoint is None:
                _check_protocol()
            yield collector_exporter(spec, credentials.tracing_headers)
        elif name == "console":
            yield LogExporter()
        elif name != "none":
            raise ValueError(f"OTEL_TRACES_EXPORTER: expected otlp, console or none, got {name!r:.100}")


def _check_protocol() -> None:
    """Check that the standard variables name no protocol but that of the exporter, with another port."""
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(variable, "").strip()
        if protocol not in ("", _PROTOCOL):
            raise ValueError(
                f"{variable}: expected {_PROTOCOL}, got {protocol!r:.100}; "
                "name a collector's port for HTTP as the endpoint"
            )
        if protocol:  # the other variable does not count
            return


def _processor_for(exporter: SpanExporter) -> SpanProcessor:
    return (SimpleSpanProcessor if isinstance(exporter, LogExporter) else BatchSpanProcessor)(exporter)


class _RepeatFilter(logging.Filter):
    """Drops what OpenTelemetry has logged a short time ago: it repeats itself while a collector is away."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_OTEL):
            return True
        message, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._logged_at.get(message, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return False
        if len(self._logged_at) >= _MAX_MESSAGES:
            self._logged_at.clear()
        self._logged_at[message] = now
        return True
