"""Spans stay few, small and well-formed, whatever an agent does."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

import dockrion
from dockrion import StreamContext
from dockrion.tracing import child_spans, run_span
from tests.conftest import Serve
from tests.support import INGEST, TIMEOUT_SECONDS, wait_until
from tests.tracing.receiver import Collector
from tests.tracing.spans import INVOKE, event_names, invoke, start, tracing
from tests.web.helpers import Waits

HOSTILE = "\ud800\x00\n" + "é" * 5000


async def test_a_run_has_a_limited_number_of_spans(
    collector: Collector, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_spans, "MAX_SPANS", 20)

    async def agent(_: Any, context: StreamContext) -> None:
        for number in range(30):
            await context.emit_step(f"step {number}")
        async with context.tool("search"):
            pass

    served = await serve(agent, observability=tracing(collector))
    assert await invoke(served) == 200
    run = await collector.span(INVOKE)
    assert [span.name for span in collector.children(run)] == [f"step step {number}" for number in range(20)]
    assert run.attributes["dockrion.run.omitted_spans"] == 11


async def test_many_checkpoints_leave_the_other_events(collector: Collector, serve: Serve) -> None:
    async def agent(_: Any, context: StreamContext) -> None:
        await context.emit_token("first")
        for number in range(300):
            await context.checkpoint(f"checkpoint {number}", None)

    served = await serve(agent, observability=tracing(collector))
    assert await invoke(served) == 200
    names = event_names(await collector.span(INVOKE))
    assert names == ["attempt", "first_token", *["checkpoint"] * 100]


async def test_names_that_agents_give_are_short_and_well_formed(collector: Collector, serve: Serve) -> None:
    async def agent(_: Any, context: StreamContext) -> None:
        for block in (context.tool(HOSTILE), context.tool("search", tool_call_id=HOSTILE, source=HOSTILE)):
            async with block:
                pass
        await context.checkpoint("\x00" * 5000, None)
        await context.emit_step("\x1b[31m" + "s" * 5000, 1e300)

    served = await serve(agent, observability=tracing(collector))
    assert await invoke(served) == 200
    run = await collector.span(INVOKE)
    assert run.attributes["dockrion.run.status"] == "completed"
    assert all(len(span.name) <= 220 for span in collector.spans)
    texts = [str(each) for span in collector.spans for each in span.attributes.values()]
    assert max(map(len, texts)) <= 200


async def test_tool_calls_without_results_are_forgotten_in_time(collector: Collector, serve: Serve) -> None:
    async def agent(_: Any, context: StreamContext) -> None:
        for number in range(1005):
            await context.emit_tool_call("search", tool_call_id=str(number))

    served = await serve(agent, observability=tracing(collector))
    assert await invoke(served) == 200
    run = await collector.span(INVOKE)
    assert run.attributes["dockrion.run.omitted_spans"] == 5


async def test_a_collector_that_is_away_holds_nothing_up(serve: Serve) -> None:
    served = await serve(observability={"tracing": {"endpoint": "http://127.0.0.1:1"}})
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for _ in range(50):
            assert await invoke(served) == 200


async def test_a_finished_run_leaves_no_reference_cycle(
    collector: Collector, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Any]] = []
    begin = run_span.SampledRunSpan.begin

    def remember(span: run_span.SampledRunSpan, *arguments: Any) -> None:
        made.append(weakref.ref(span))
        begin(span, *arguments)

    monkeypatch.setattr(run_span.SampledRunSpan, "begin", remember)

    async def agent(payload: Any, context: StreamContext) -> Any:
        async with context.tool("search"):
            return payload

    served = await serve(agent, observability=tracing(collector))
    gc.collect()
    gc.disable()
    try:
        await served.finished(await start(served))
        await wait_until(lambda: made and made[0]() is None)
    finally:
        gc.enable()


async def test_generators_that_are_tools_leave_the_current_span_as_it_was(
    collector: Collector, serve: Serve
) -> None:
    @dockrion.tool
    def numbers() -> Any:
        yield 1
        yield 2

    async def agent(_: Any, context: StreamContext) -> None:
        one, other = numbers(), numbers()
        next(one), next(other)
        one.close()
        async with context.tool("between"):
            other.close()

    served = await serve(agent, observability=tracing(collector))
    assert await invoke(served) == 200
    run = await collector.span(INVOKE)
    names = [span.name for span in collector.children(run)]
    assert sorted(names) == ["execute_tool between", *["execute_tool numbers"] * 2]


async def test_events_that_are_pushed_after_the_end_make_no_spans(collector: Collector, serve: Serve) -> None:
    served = await serve(waiting := Waits(), observability=tracing(collector), streaming={"ingest": INGEST})
    run_id = await start(served)
    await wait_until(lambda: waiting.payloads)
    await served.client.delete(f"/runs/{run_id}")
    event = {"type": "step", "node_name": "late"}
    async with served.client.post(f"/runs/{run_id}/events", json=[event]) as response:
        assert response.status == 400
    await collector.span(INVOKE)
    assert not collector.named("step late")


async def test_numbers_that_agents_give_do_not_break_spans(collector: Collector, serve: Serve) -> None:
    async def agent(_: Any, context: StreamContext) -> None:
        for number in (1e300, -1e300, float("inf"), float("nan")):
            await context.emit_step("plan", number)
            call_id = await context.emit_tool_call("search")
            await context.emit_tool_result(call_id, duration_ms=number)

    served = await serve(agent, observability=tracing(collector))
    assert await invoke(served) == 200
    run = await collector.span(INVOKE)
    children = collector.children(run)
    assert len(children) == 8
    assert all(0 <= span.end - span.start <= 24 * 3600 * 10**9 for span in children)


async def test_text_that_callers_send_does_not_break_spans(collector: Collector, serve: Serve) -> None:
    served = await serve(observability=tracing(collector))
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        b"GET /%ed%a0%80/"
        + b"p" * 5000
        + b" HTTP/1.1\r\nHost: \xff:99999999999999999999999\r\nConnection: close\r\n"
        b"User-Agent: \xff\xfe\r\n\r\n"
    )
    await reader.read()
    writer.close()
    span = await collector.span("GET")
    assert span.attributes["http.response.status_code"] == 404
    assert len(span.attributes["url.path"]) <= 1000
