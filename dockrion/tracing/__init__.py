"""Traces of requests and runs, in OpenTelemetry.

Loaded only where `observability.tracing` or `observability.langfuse` asks for it, and the only package that
imports `opentelemetry`, which is in the extra `dockrion[otel]`. `provider.start_tracing` sets up where spans
go; `exporters` send them, to Langfuse also, and `masking` keeps secrets out of them. `request_spans` makes
those of requests, and `run_tracer` those of runs, with what is in them; all names are in `conventions`.
Imports `backends`, `dockfile`, `events` and `logs`.
"""

import os


def is_disabled() -> bool:
    """Return whether the standard variable `OTEL_SDK_DISABLED` turns tracing off."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
