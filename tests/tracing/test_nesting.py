"""Spans within a run: of the agent's own code, of its steps and of its tools."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace

import dockrion
from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import INGEST, wait_until
from tests.tracing.receiver import Collector
from tests.tracing.spans import INVOKE, event_names, invoke, parents, start, tracing


def own(name: str) -> Any:
    """Return a span of the agent's own code, as a block."""
    return trace.get_tracer("agent").start_as_current_span(name)


async def in_a_task(_: Any) -> None:
    with own("span of the agent"):
        pass


async def in_a_thread_of_asyncio(_: Any) -> None:
    def work() -> None:
        with own("span of the agent"):
            pass

    await asyncio.to_thread(work)


def in_a_thread_of_its_own(_: Any) -> None:
    def work() -> None:
        with own("span of the agent"):
            pass

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
    thread.start()
    thread.join()


def in_the_thread_of_a_handler(_: Any) -> None:
    with own("span of the agent"):
        pass


def in_a_generator(_: Any) -> Iterator[str]:
    with own("span of the agent"):
        yield "token"


@pytest.mark.parametrize("endpoint", ["/runs", "/invoke"])
@pytest.mark.parametrize(
    "agent",
    [
        in_a_task,
        in_a_thread_of_asyncio,
        in_a_thread_of_its_own,
        in_the_thread_of_a_handler,
        in_a_generator,
    ],
)
async def test_spans_of_the_agent_are_in_that_of_its_run(
    collector: Collector, serve: Serve, agent: Callable[..., Any], endpoint: str
) -> None:
    served = await serve(agent, observability=tracing(collector))
    await served.client.post(endpoint, json={})
    await wait_until(lambda: len(collector.spans) == 3)
    assert parents(collector) == {
        "span of the agent": INVOKE,
        INVOKE: f"POST {endpoint}",
        f"POST {endpoint}": "",
    }


async def test_the_agent_can_describe_the_span_of_its_run(collector: Collector, serve: Serve) -> None:
    def agent(payload: Any) -> Any:
        trace.get_current_span().set_attribute("customer.plan", "gold")
        return payload

    served = await serve(agent, observability=tracing(collector))
    await invoke(served)
    assert (await collector.span(INVOKE)).attributes["customer.plan"] == "gold"


@dockrion.tool
async def look_up(word: str) -> str:
    with own("inside"):
        return word


@dockrion.tool(name="count")
def count_words(words: list[str]) -> Iterator[str]:
    yield from words


@pytest.mark.parametrize("endpoint", ["/runs", "/invoke"])
async def test_tools_are_spans_and_what_they_do_is_in_them(
    collector: Collector, serve: Serve, endpoint: str
) -> None:
    async def agent(payload: Any, context: StreamContext) -> Any:
        async with context.tool("outer", tool_call_id="call-1"):
            await look_up("secret words")
        list(count_words(["secret", "words"]))
        with own("after"):
            return payload

    served = await serve(agent, observability=tracing(collector), streaming={"events": {"allowed": []}})
    await served.client.post(endpoint, json={})
    await wait_until(lambda: len(collector.spans) == 7)
    assert parents(collector) == {
        "execute_tool outer": INVOKE,
        "execute_tool look_up": "execute_tool outer",
        "inside": "execute_tool look_up",
        "execute_tool count": INVOKE,
        "after": INVOKE,
        INVOKE: f"POST {endpoint}",
        f"POST {endpoint}": "",
    }
    outer = await collector.span("execute_tool outer")
    assert (outer.kind, outer.status) == ("internal", "unset")
    assert outer.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "outer",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call-1",
    }
    assert not any(b"secret" in body for body in collector.bodies)


async def test_a_tool_that_fails_is_an_error(collector: Collector, serve: Serve) -> None:
    @dockrion.tool
    def search() -> None:
        raise ValueError("secret words")

    served = await serve(lambda _: search(), observability=tracing(collector))
    assert await invoke(served) == 500
    span = await collector.span("execute_tool search")
    assert (span.status, span.message, span.attributes["error.type"]) == ("error", "", "tool_error")


async def test_reported_steps_and_tool_calls_are_spans_as_long_as_they_took(
    collector: Collector, serve: Serve
) -> None:
    async def agent(payload: Any, context: StreamContext) -> Any:
        await context.emit_step("plan", 1500, ["q"], source="supervisor")
        call_id = await context.emit_tool_call("search", {"q": 1})
        await context.emit_tool_result(call_id, "found", duration_ms=0)
        await context.emit_tool_call("forgotten")
        return payload

    served = await serve(agent, observability=tracing(collector))
    await served.finished(await start(served))
    run = await collector.span(INVOKE)
    step = await collector.span("step plan")
    assert step.end - step.start == 1_500_000_000
    assert step.attributes == {"dockrion.step.name": "plan", "dockrion.source": "supervisor"}
    tool = await collector.span("execute_tool search")
    assert {step.parent_id, tool.parent_id} == {run.span_id}
    forgotten = await collector.span("execute_tool forgotten")
    assert (forgotten.status, forgotten.attributes["error.type"]) == ("error", "no_result")


async def test_pushed_events_become_spans_of_the_run_they_are_pushed_into(
    collector: Collector, serve: Serve
) -> None:
    served = await serve(observability=tracing(collector), streaming={"ingest": INGEST})
    run_id = await start(served, external="true")
    events = [
        {"type": "token", "content": "first"},
        {"type": "tool_call", "tool_call_id": "1", "name": "search", "arguments": {}},
        {"type": "tool_result", "tool_call_id": "1", "result": 1, "duration_ms": 20},
        {"type": "step", "node_name": "plan", "duration_ms": 3},
        {"type": "complete", "output": {}},
    ]
    async with served.client.post(f"/runs/{run_id}/events", json=events) as response:
        assert response.status == 200, await response.text()
    run = await collector.span(INVOKE)
    assert event_names(run) == ["attempt", "first_token"]
    assert {span.name for span in collector.children(run)} == {"execute_tool search", "step plan"}


async def test_runs_at_once_do_not_mix(collector: Collector, serve: Serve) -> None:
    async def agent(payload: dict[str, int], context: StreamContext) -> AsyncIterator[str]:
        for _ in range(3):
            async with context.tool(f"tool {payload['n']}"):
                yield "token"
                await asyncio.sleep(0)
            thread = threading.Thread(target=context.sync_emit_step, args=(f"step {payload['n']}",))
            thread.start()
            await asyncio.to_thread(thread.join)

    served = await serve(agent, observability=tracing(collector))
    run_ids = [await start(served, {"n": n}, headers={}) for n in range(5)]
    for run_id in run_ids:
        await served.finished(run_id)
    await wait_until(lambda: len(collector.named(INVOKE)) == 5)
    for span in collector.named(INVOKE):
        n = run_ids.index(span.attributes["dockrion.run.id"])
        names = [child.name for child in collector.children(span)]
        assert sorted(names) == [f"execute_tool tool {n}"] * 3 + [f"step step {n}"] * 3
