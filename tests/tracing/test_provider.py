"""The tracer provider: from the Dockfile and the standard variables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dockrion.errors import StartError
from dockrion.redaction import Redactor
from dockrion.web import optional_parts
from dockrion.web.start_checks import check_start
from tests.backends.trouble import Logged, logged
from tests.conftest import Serve
from tests.support import Served, dockfile
from tests.tracing.receiver import Collector

__all__ = ["logged"]
NOWHERE = "http://127.0.0.1:1"


def look_up(payload: object) -> object:
    with trace.get_tracer("agent").start_as_current_span("look up"):
        return payload


async def invoke_and_flush(served: Served) -> None:
    """Let the agent make its span, and send all spans."""
    async with served.client.post("/invoke", json={}) as response:
        assert response.status == 200
    if served.service.tracing is not None:
        await served.service.tracing.aclose()


async def test_spans_of_agents_reach_the_collector(serve: Serve, collector: Collector) -> None:
    served = await serve(
        look_up,
        metadata={"version": "1.2"},
        observability={"tracing": {"endpoint": f"{collector.url}/v1/traces/"}},
    )
    await invoke_and_flush(served)
    span = await collector.span("look up")
    assert (span.scope, span.status, collector.requests[0].path) == ("agent", "unset", "/v1/traces")
    assert span.resource["service.name"] == "tested"
    assert span.resource["service.version"] == "1.2"
    assert span.resource["service.instance.id"]


async def test_the_standard_variables_count(
    serve: Serve, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a%20b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=3")
    served = await serve(look_up, metadata={"version": "1.2"}, observability={"tracing": True})
    await invoke_and_flush(served)
    span = await collector.span("look up")
    assert span.resource["service.name"] == "shop"
    assert span.resource["service.version"] == "3"
    assert span.resource["deployment.environment.name"] == "test"
    assert collector.requests[0].headers["x-team"] == "a b"
    assert collector.requests[0].headers["Content-Encoding"] == "gzip"


async def test_the_dockfile_wins_over_the_standard_variables(
    serve: Serve, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", NOWHERE)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=other,authorization=other")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    (tmp_path / ".env").write_text("COLLECTOR_HEADERS='authorization=Bearer%20the-token'\n")
    tracing = {"exporter": "otlp", "endpoint": collector.url, "sample_ratio": 1}
    served = await serve(look_up, observability={"tracing": {**tracing, "headers_env": "COLLECTOR_HEADERS"}})
    await invoke_and_flush(served)
    await collector.span("look up")
    headers = collector.requests[0].headers
    assert headers["authorization"] == "Bearer the-token"
    assert "x-team" not in headers
    assert os.environ["OTEL_EXPORTER_OTLP_HEADERS"] == "x-team=other,authorization=other"
    assert served.service.redactor.mask("the-token x") == "*** x"


@pytest.mark.parametrize(
    ("fields", "variables"),
    [
        ({"exporter": "none"}, {}),
        ({}, {"OTEL_TRACES_EXPORTER": "none"}),
        ({"sample_ratio": 0}, {}),
        ({}, {"OTEL_TRACES_SAMPLER": "always_off"}),
        ({}, {"OTEL_SDK_DISABLED": "true"}),
    ],
)
async def test_nothing_is_sent_if_so_configured(
    serve: Serve,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, object],
    variables: dict[str, str],
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    served = await serve(look_up, observability={"tracing": fields or True})
    await invoke_and_flush(served)
    assert collector.requests == []


async def test_what_a_caller_has_decided_to_sample_is_sent(serve: Serve, collector: Collector) -> None:
    served = await serve(look_up, observability={"tracing": {"endpoint": collector.url, "sample_ratio": 0}})
    assert served.service.tracing is not None
    context = trace.SpanContext(0xAB, 0xCD, is_remote=True, trace_flags=trace.TraceFlags(1))
    parent = trace.set_span_in_context(trace.NonRecordingSpan(context))
    served.service.tracing.tracer.start_span("sampled", parent).end()
    await served.service.tracing.aclose()
    span = await collector.span("sampled")
    assert (span.trace_id, span.parent_id) == (f"{0xAB:032x}", f"{0xCD:016x}")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "OTEL_TRACES_EXPORTER",
            "zipkin",
            "OTEL_TRACES_EXPORTER: expected otlp, console or none, got 'zipkin'",
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "PROTOCOL: expected http/protobuf, got 'grpc'",
        ),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "max_queue_size must be a positive integer"),
    ],
)
def test_a_service_does_not_start_with_variables_that_are_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    loaded = dockfile(tmp_path, {"observability": {"tracing": True}})
    with pytest.raises(StartError, match=message):
        optional_parts.tracing(loaded, Redactor())


async def test_the_protocol_of_another_endpoint_does_not_count(
    serve: Serve, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    served = await serve(look_up, observability={"tracing": {"endpoint": collector.url}})
    await invoke_and_flush(served)
    assert collector.named("look up")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    await serve(look_up, observability={"tracing": True})


async def test_a_provider_that_is_set_already_is_used_and_kept(
    serve: Serve, collector: Collector, logged: Logged, tmp_path: Path
) -> None:
    sent = InMemorySpanExporter()
    before = TracerProvider(shutdown_on_exit=False)
    before.add_span_processor(SimpleSpanProcessor(sent))
    trace.set_tracer_provider(before)
    (tmp_path / ".env").write_text("LANGFUSE_PUBLIC_KEY=pk-lf-1\nLANGFUSE_SECRET_KEY=sk-lf-1\n")
    served = await serve(
        look_up,
        observability={
            "tracing": {"endpoint": NOWHERE},
            "langfuse": {"enabled": True, "host": collector.url},
        },
    )
    await invoke_and_flush(served)
    assert trace.get_tracer_provider() is before
    assert "look up" in {span.name for span in sent.get_finished_spans()}
    assert len(collector.named("look up")) == 1
    (fields,) = logged.fields(
        "a tracer provider is set already, which sends spans elsewhere than observability.tracing says"
    )
    assert fields["provider"] == "TracerProvider"


@pytest.mark.parametrize("section", [{"tracing": True}, {"langfuse": {"enabled": True}}])
async def test_a_service_without_the_packages_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: dict[str, object]
) -> None:
    (tmp_path / ".env").write_text("LANGFUSE_PUBLIC_KEY=pk-lf-1\nLANGFUSE_SECRET_KEY=sk-lf-1\n")
    loaded = dockfile(tmp_path, {"observability": section})
    for name in [name for name in sys.modules if name.startswith("dockrion.tracing.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(
        StartError, match=r"traces need the package opentelemetry: pip install 'dockrion\[otel\]'"
    ):
        optional_parts.tracing(loaded, Redactor())
    assert any("dockrion[otel]" in line for line in (await check_start(loaded)).errors)


def test_nothing_of_opentelemetry_is_imported_without_the_settings(tmp_path: Path) -> None:
    dockfile(tmp_path, {"observability": {"tracing": False, "langfuse": {"enabled": False}}})
    code = """
import asyncio, os, sys
from pathlib import Path
from dockrion.dockfile import load
from dockrion.web.app import create_app
from dockrion.web.service import SERVICE
from aiohttp import web

async def main():
    app = create_app(load(Path(sys.argv[1]), environ=os.environ))
    runner = web.AppRunner(app)
    await runner.setup()
    await app[SERVICE].loading
    await runner.cleanup()

asyncio.run(main())
print([name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "requests")])
"""
    command = [sys.executable, "-c", code, str(tmp_path / "Dockfile.yaml")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"
