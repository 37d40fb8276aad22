"""The span of a request: until its response is complete, named by its route."""

import asyncio
import logging
from typing import Any

import aiohttp
import pytest
from opentelemetry import trace

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import INGEST, wait_until
from tests.tracing.receiver import Collector
from tests.tracing.spans import CALLER, INVOKE, SAMPLED, TRACE_ID, invoke, start, tracing
from tests.web.helpers import Waits


async def test_a_request_is_described_by_the_conventions(collector: Collector, serve: Serve) -> None:
    served = await serve(observability=tracing(collector))
    run_id = await start(served)
    async with served.client.get(f"/runs/{run_id}?token=secret", headers={"User-Agent": "tests"}):
        span = await collector.span("GET /runs/{run_id}")
    assert (span.kind, span.status, span.parent_id) == ("server", "unset", "")
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/runs/{run_id}",
        "http.response.status_code": 200,
        "url.path": f"/runs/{run_id}",
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "server.port": served.client.port,
        "client.address": "127.0.0.1",
        "user_agent.original": "tests",
        "network.protocol.version": "1.1",
        "dockrion.run.id": run_id,
    }


async def test_a_stream_is_a_span_until_its_last_byte(collector: Collector, serve: Serve) -> None:
    served = await serve(waiting := Waits(), observability=tracing(collector))
    async with served.stream() as reader:
        await reader.until("token")
        assert not collector.spans
        await served.client.delete(f"/runs/{reader.run_id}")
        await reader.all()
    span, run = await collector.span("POST /invoke/stream"), await collector.span(INVOKE)
    assert span.attributes["http.response.status_code"] == 200
    assert span.start <= run.start <= run.end <= span.end
    assert waiting.payloads


async def test_a_stream_that_its_reader_leaves_has_a_status_of_its_own(
    collector: Collector, serve: Serve
) -> None:
    served = await serve(Waits(), observability=tracing(collector))
    async with served.stream() as reader:
        await reader.until("token")
        reader.response.close()
    span = await collector.span("POST /invoke/stream")
    assert (span.status, span.attributes["http.response.status_code"]) == ("unset", 499)
    assert (await collector.span(INVOKE)).attributes["dockrion.run.status"] == "cancelled"


async def test_a_socket_is_a_span_until_it_is_closed(collector: Collector, serve: Serve) -> None:
    served = await serve(expose={"streaming": "websocket"}, observability=tracing(collector))
    async with served.client.ws_connect("/invoke/ws") as socket:
        await socket.send_json({"q": 1})
        async for message in socket:
            assert message.type is aiohttp.WSMsgType.TEXT
    (span,) = [await collector.span(f"GET {path}") for path in ("/invoke/ws",)]
    assert span.attributes["http.response.status_code"] == 101
    assert (await collector.span(INVOKE)).parent_id == span.span_id


@pytest.mark.parametrize(
    ("method", "path", "name", "status"),
    [
        ("GET", "/nothing/here", "GET", 404),
        ("PUT", "/invoke", "PUT", 405),
        ("PROPFIND", "/invoke", "HTTP", 405),
        ("POST", "/invoke", "POST /invoke", 400),
    ],
)
async def test_refused_requests_are_spans_of_few_names(
    collector: Collector, serve: Serve, method: str, path: str, name: str, status: int
) -> None:
    served = await serve(observability=tracing(collector))
    async with served.client.request(method, path) as response:
        assert response.status == status
    span = await collector.span(name)
    assert (span.status, span.attributes["http.response.status_code"]) == ("unset", status)
    assert span.attributes["http.request.method"] == ("_OTHER" if method == "PROPFIND" else method)
    assert span.attributes.get("http.request.method_original", method) == method


async def test_an_error_of_the_service_is_one_of_the_span(collector: Collector, serve: Serve) -> None:
    def agent(_: Any) -> None:
        raise ValueError

    served = await serve(agent, observability=tracing(collector))
    assert await invoke(served) == 500
    span = await collector.span("POST /invoke")
    assert (span.status, span.attributes["error.type"]) == ("error", "500")


async def test_probes_make_no_spans(collector: Collector, serve: Serve) -> None:
    served = await serve(observability=tracing(collector), expose={"root_path": "/below"})
    for path in ("/health", "/ready", "/metrics", "/health/", "/below/health"):
        async with served.client.get(path, headers=SAMPLED) as response:
            assert response.status == 200
    async with served.client.get("/below/info"):
        span = await collector.span("GET /info")
    assert (len(collector.spans), span.attributes["url.path"]) == (1, "/below/info")


async def test_the_token_of_a_push_url_is_in_no_span(collector: Collector, serve: Serve) -> None:
    served = await serve(observability=tracing(collector), streaming={"ingest": INGEST})
    async with served.client.post("/runs/a/events/secret-token", json=[]):
        await wait_until(lambda: collector.spans)
    assert not any(b"secret-token" in body for body in collector.bodies)


async def test_requests_on_one_connection_are_apart(collector: Collector, serve: Serve) -> None:
    served = await serve(observability=tracing(collector))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for _ in range(3):
            async with session.get(f"http://127.0.0.1:{served.port}/info") as response:
                await response.read()
    await wait_until(lambda: len(collector.named("GET /info")) == 3)
    assert {span.parent_id for span in collector.spans} == {""}
    assert len({span.trace_id for span in collector.spans}) == 3


async def test_lines_of_the_log_have_the_span_they_are_written_in(
    collector: Collector, serve: Serve, lines: list[dict[str, Any]]
) -> None:
    logger = logging.getLogger("agent")

    async def agent(payload: Any, context: StreamContext) -> Any:
        logger.info("in the run")
        async with context.tool("search"):
            await asyncio.to_thread(logger.info, "in the tool")
            with trace.get_tracer("agent").start_as_current_span("own"):
                logger.info("in its own span")
        return payload

    served = await serve(agent, observability=tracing(collector))
    await served.finished(await start(served))
    names = {"POST /runs", INVOKE, "execute_tool search", "own"}
    await wait_until(lambda: names <= {span.name for span in collector.spans})
    spans = {span.name: span.span_id for span in collector.spans}
    logged = {line["message"]: line.get("span_id") for line in lines if line.get("trace_id") == TRACE_ID}
    for message in ("run accepted", "run running", "in the run", "run completed"):
        assert logged[message] == spans[INVOKE]
    assert logged["in the tool"] == spans["execute_tool search"]
    assert logged["in its own span"] == spans["own"]
    assert logged["request"] == spans["POST /runs"]
    assert CALLER not in logged.values()


async def test_a_response_is_complete_when_its_reader_has_taken_it(
    collector: Collector, serve: Serve
) -> None:
    served = await serve(lambda _: "x" * 8_000_000, observability=tracing(collector))
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    head = b"POST /invoke HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
    writer.write(head + b"Content-Length: 2\r\n\r\n{}")
    await reader.readexactly(100)
    await collector.span(INVOKE)
    async with served.client.get("/info"):
        await collector.span("GET /info")
    assert not collector.named("POST /invoke")
    await reader.read()
    writer.close()
    assert (await collector.span("POST /invoke")).attributes["http.response.status_code"] == 200


async def test_a_response_that_nobody_takes_has_a_status_of_its_own(
    collector: Collector, serve: Serve
) -> None:
    served = await serve(lambda _: "x" * 8_000_000, observability=tracing(collector))
    async with served.client.post("/invoke", json={}) as response:
        response.close()
    span = await collector.span("POST /invoke")
    assert (span.status, span.attributes["http.response.status_code"]) == ("unset", 499)
