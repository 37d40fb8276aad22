"""No secret leaves the service in a span."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dockrion.redaction import Redactor
from dockrion.tracing.masking import masked
from tests.conftest import Serve
from tests.tracing.receiver import Collector

SECRET = "the-secret-of-the-service"


def span_with(text: str, attributes: dict[str, Any]) -> ReadableSpan:
    """Return a span that has a text wherever it can have one."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    link = trace.Link(trace.SpanContext(1, 2, is_remote=True), {"of": text})
    span = provider.get_tracer("t").start_span(f"name {text}", attributes=attributes, links=[link])
    span.add_event(f"event {text}", {"data": text})
    span.set_status(trace.StatusCode.ERROR, f"failed: {text}")
    span.end()
    (ended,) = exporter.get_finished_spans()
    return ended


@pytest.mark.parametrize(
    "attributes",
    [{"a": SECRET}, {"a": ["x", f"in {SECRET}"]}, {SECRET: 1}, {"a": 1, "b": True, "c": [1.5]}],
)
def test_a_secret_is_masked_wherever_it_is(attributes: dict[str, Any]) -> None:
    span = span_with(SECRET, attributes)
    assert SECRET in span.to_json()
    shown = masked(span, Redactor([SECRET]))
    assert SECRET not in shown.to_json()
    assert shown.name == "name ***"
    for name in ("context", "parent", "kind", "start_time", "end_time", "resource", "instrumentation_scope"):
        assert getattr(shown, name) == getattr(span, name)
    assert shown.events[0].timestamp == span.events[0].timestamp
    assert shown.links[0].context == span.links[0].context
    assert shown.status.status_code == span.status.status_code


def test_a_secret_is_masked_in_bytes() -> None:
    attributes = {"a": b"\xff" + SECRET.encode(), "b": [SECRET.encode()]}
    shown = masked(span_with("", attributes), Redactor([SECRET]))
    assert shown.attributes == {"a": "\ufffd***".encode(), "b": [b"***"]}


def test_a_span_without_secrets_is_passed_on_as_it_is() -> None:
    span = span_with("harmless", {"a": "b"})
    assert masked(span, Redactor([SECRET])) is span
    assert masked(span, Redactor()) is span


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\ud800", "\\ud800"),
        (2**63, "9223372036854775808"),
        ([-(2**63) - 1, 1], ["-9223372036854775809", 1]),
        ("\u00e9", "\u00e9"),
    ],
)
async def test_what_cannot_be_encoded_costs_no_other_span(
    serve: Serve, collector: Collector, value: Any, shown: Any
) -> None:
    served = await serve(observability={"tracing": {"endpoint": collector.url}})
    tracer = trace.get_tracer("agent")
    tracer.start_span("odd", attributes={"value": value}).end()
    tracer.start_span("other").end()
    assert served.service.tracing is not None
    await served.service.tracing.aclose()
    await collector.span("other")
    assert (await collector.span("odd")).attributes == {"value": shown}


async def test_spans_of_the_agent_s_code_are_masked(serve: Serve, collector: Collector) -> None:
    def agent(_payload: object) -> None:
        with trace.get_tracer("agent").start_as_current_span("call", attributes={"key": SECRET}):
            raise ValueError(f"refused: {SECRET}")

    served = await serve(
        agent,
        secrets={"required": [{"name": "API_KEY", "default": SECRET}]},
        observability={"tracing": {"endpoint": collector.url}},
    )
    await served.finished(await served.start())
    assert served.service.tracing is not None
    await served.service.tracing.aclose()
    span = await collector.span("call")
    assert span.attributes == {"key": "***"}
    assert span.message == "ValueError: refused: ***"
    assert SECRET.encode() not in b"".join(collector.bodies)
