"""Where spans are sent, and what a collector can do to the service: nothing."""

import asyncio
import json
import logging
import time
from base64 import b64encode
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry import trace

from dockrion.logs import JsonFormatter
from dockrion.redaction import Redactor
from dockrion.tracing import provider
from dockrion.tracing.provider import Tracing
from tests.backends.trouble import Logged, logged
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.tracing.receiver import Collector, collecting

__all__ = ["logged"]
AWAY = "http://127.0.0.1:1"
LOST = "spans are lost: they could not be sent before the exit"
KEYS = "LANGFUSE_PUBLIC_KEY=pk-lf-1234567\nLANGFUSE_SECRET_KEY=sk-lf-7654321\n"


def tracing_of(served: Served) -> Tracing:
    assert served.service.tracing is not None
    return served.service.tracing


def end_spans(count: int = 1) -> None:
    for _ in range(count):
        trace.get_tracer("agent").start_span("look up").end()


def otel_messages(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    records = [record for record in caplog.records if record.name.startswith("opentelemetry")]
    return Counter(record.msg for record in records)


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 500, 503])
async def test_a_collector_that_refuses_spans_delays_nothing_and_is_logged_once(
    serve: Serve,
    collector: Collector,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10")  # less than it is told to wait
    monkeypatch.setattr(provider, "_FLUSH_SECONDS", 0.2)
    async with collecting() as other:
        await collector.answer(status, Location=f"{other.url}/v1/traces", **{"Retry-After": "30"})
        served = await serve(observability={"tracing": {"endpoint": collector.url}})
        for number in range(1, 4):
            end_spans()
            await wait_until(lambda number=number: len(collector.requests) >= number)  # type: ignore[misc]
        async with asyncio.timeout(5):  # an exporter may go on for 10 s
            await tracing_of(served).aclose()
        assert other.requests == []
    assert otel_messages(caplog)
    assert set(otel_messages(caplog).values()) == {1}
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_collector_that_is_away_delays_neither_requests_nor_the_exit(
    serve: Serve, caplog: pytest.LogCaptureFixture, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    # OpenTelemetry's own filter would drop what another test has caused within the same 20 s.
    monkeypatch.setattr(logging.getLogger("opentelemetry.sdk._shared_internal"), "filters", [])
    served = await serve(observability={"tracing": {"endpoint": AWAY}})
    end_spans(100)
    async with served.client.post("/invoke", json={}) as response:
        assert response.status == 200
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await tracing_of(served).aclose()
    assert logged.fields(LOST) == [{}]
    assert otel_messages(caplog)["Queue full, dropping %s."] == 1
    assert set(otel_messages(caplog).values()) == {1}


async def test_a_collector_that_does_not_respond_delays_the_exit_briefly(
    serve: Serve, collector: Collector, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider, "_FLUSH_SECONDS", 0.2)
    left = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await left.wait()
        return web.Response()

    collector.respond = hang
    served = await serve(observability={"tracing": {"endpoint": collector.url}})
    end_spans()
    await wait_until(lambda: collector.requests)
    began = time.monotonic()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await tracing_of(served).aclose()
    assert time.monotonic() - began >= 0.2
    assert logged.fields(LOST) == [{}]
    left.set()


async def test_an_endless_response_is_not_read(serve: Serve, collector: Collector) -> None:
    left = asyncio.Event()

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
                await asyncio.sleep(0)
        finally:
            left.set()

    collector.respond = respond
    served = await serve(observability={"tracing": {"endpoint": collector.url}})
    end_spans()
    await asyncio.wait_for(left.wait(), TIMEOUT_SECONDS)
    await tracing_of(served).aclose()


@pytest.mark.parametrize("begun", [b"X: ", b"Content-Length: 60000\r\n\r\n"], ids=["head", "body"])
async def test_a_response_that_comes_in_drops_holds_up_no_later_spans(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.15")
    monkeypatch.setattr(provider, "_FLUSH_SECONDS", 0.1)
    requests = 0

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.read(1)
        requests += 1
        writer.write(b"HTTP/1.1 200 OK\r\n" + begun)
        with suppress(ConnectionError):
            while True:
                await writer.drain()
                await asyncio.sleep(0.02)
                writer.write(b"x")

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        served = await serve(observability={"tracing": {"endpoint": f"http://{host}:{port}"}})
        end_spans()
        await wait_until(lambda: requests)
        end_spans()
        await wait_until(lambda: requests >= 2)
        await tracing_of(served).aclose()


async def test_exports_use_a_connection_again(serve: Serve, collector: Collector) -> None:
    served = await serve(observability={"tracing": {"endpoint": collector.url}})
    for number in range(1, 4):
        end_spans()
        await wait_until(lambda number=number: len(collector.spans) >= number)  # type: ignore[misc]
    await tracing_of(served).aclose()
    assert len({request.transport for request in collector.requests}) == 1


async def test_langfuse_gets_the_spans_of_runs_beside_the_collector(
    serve: Serve, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-token=secret,authorization=secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere")
    (tmp_path / ".env").write_text(f"{KEYS}KEY_ANN=the-key-of-ann-1234\n")
    async with collecting() as langfuse:
        served = await serve(
            auth={"mode": "api_key", "api_keys": {"prefix": "KEY_"}},
            metadata={"tags": ["a", "b"]},
            observability={
                "tracing": {"endpoint": collector.url},
                "langfuse": {"enabled": True, "host": f"{langfuse.url}/"},
            },
        )
        served.client.session.headers["X-API-Key"] = "the-key-of-ann-1234"
        trace.get_tracer("agent").start_span("agent's", kind=trace.SpanKind.SERVER).end()
        await served.finished(await served.start({"topic": "tea"}))
        await wait_until(lambda: len(collector.named("invoke_agent tested")) == 1)
        await tracing_of(served).aclose()
        assert sorted(span.name for span in langfuse.spans) == ["agent's", "invoke_agent tested"]
        run = await langfuse.span("invoke_agent tested")
        assert run.attributes["langfuse.trace.name"] == "tested"
        assert run.attributes["langfuse.trace.tags"] == ["a", "b"]
        assert run.attributes["user.id"] == "ann"
        assert run.parent_id == ""
        basic = b64encode(b"pk-lf-1234567:sk-lf-7654321").decode()
        for request in langfuse.requests:
            assert request.path == "/api/public/otel/v1/traces"
            assert request.headers["Authorization"] == f"Basic {basic}"
            assert request.headers["x-langfuse-ingestion-version"] == "4"
            assert "x-collector-token" not in request.headers
    same = await collector.span("invoke_agent tested")
    assert (same.trace_id, same.span_id, same.start) == (run.trace_id, run.span_id, run.start)
    assert same.parent_id == (await collector.span("POST /runs")).span_id
    assert "langfuse.trace.name" not in same.attributes
    assert {request.headers["x-collector-token"] for request in collector.requests} == {"secret"}
    secrets = "pk-lf-1234567", "sk-lf-7654321", basic
    assert [served.service.redactor.mask(each) for each in secrets] == ["***"] * 3


async def test_langfuse_alone_is_enough(serve: Serve, collector: Collector, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(KEYS)
    served = await serve(observability={"langfuse": {"enabled": True, "host": collector.url}})
    end_spans()
    assert not tracing_of(served).captures_content
    await tracing_of(served).aclose()
    await collector.span("look up")


async def test_spans_in_the_log_are_lines_as_all_others(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    served = await serve(observability={"tracing": {"exporter": "console"}})
    tracer = trace.get_tracer("agent")
    with (
        tracer.start_as_current_span("outer"),
        pytest.raises(ValueError, match="broken"),
        tracer.start_as_current_span("inner", attributes={"topic": "the-token"}),
    ):
        raise ValueError("broken")
    await tracing_of(served).aclose()
    formatter = JsonFormatter(Redactor(["the-token"]))
    records = [record for record in caplog.records if record.name == "dockrion.tracing.exporters"]
    inner, outer = (json.loads(formatter.format(record)) for record in records)
    assert (inner["message"], inner["name"], inner["status"]) == ("span", "inner", "error")
    assert (inner["parent_span_id"], outer["parent_span_id"]) == (outer["span_id"], None)
    assert inner["trace_id"] == outer["trace_id"]
    assert (inner["attributes"], inner["reason"]) == ({"topic": "***"}, "ValueError: broken")
    assert inner["events"][0]["exception.message"] == "broken"
    assert 0 <= inner["seconds"] <= outer["seconds"]
