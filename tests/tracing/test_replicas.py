"""Runs that several replicas have had: one span each, ended by whoever ends the run."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace

from dockrion import StreamContext, ids
from tests import support
from tests.backends.conformance import delete_keys
from tests.backends.service import fast_beats, paused
from tests.conftest import Serve
from tests.servers import KINDS, shared
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.tracing.receiver import Collector, Span
from tests.tracing.spans import TRACE_ID, UNSAMPLED, event_names, start, tracing
from tests.web.helpers import Waits
from tests.web.test_shared_queue import die, redis_of

__all__ = ["fast_beats"]
ONE_SLOT = {"max_concurrent_runs": 1}
RETRY = {"on_worker_lost": "retry", "max_attempts": 3}
NAME = "invoke_agent {}".format


@pytest.fixture(autouse=True)
def agent_name(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Store all runs in Redis, and return the agent's name."""
    name = f"tested-{ids.uuid7()}"
    monkeypatch.setattr(support, "SHARED_REDIS", {"url": shared(KINDS[0]).url, "agent": name})
    yield name
    delete_keys(KINDS[0], name)


class FailsToEnd:
    """An agent that calls a tool in each attempt, and waits in its first ones."""

    def __init__(self, *, waits: int) -> None:
        self._waiting = Waits()
        self._waits = waits

    async def __call__(self, payload: Any, context: StreamContext) -> Any:
        async with context.tool(f"tool of attempt {context.attempt}"):
            await context.checkpoint(f"checkpoint {context.attempt}", {})
        if context.attempt <= self._waits:
            await self._waiting(payload, context)
        return payload


async def begun(serve: Serve, **sections: Any) -> tuple[Served, Served, str]:
    """Start a run whose first attempt never ends; return its replica, another replica, and its id."""
    agent = FailsToEnd(waits=1)
    one = await serve(agent, **sections)
    run_id = await start(one)
    async with asyncio.timeout(TIMEOUT_SECONDS):  # until the last event before it waits is stored
        while (await one.service.backend.get(run_id)).last_sequence < 5:
            await asyncio.sleep(0.005)
    return one, await serve(agent, **sections), run_id


def attempts(span: Span) -> list[tuple[int, str | None]]:
    events = [event.attributes for event in span.events if event.name == "dockrion.attempt"]
    return [(each["dockrion.run.attempt"], each.get("dockrion.attempt.previous")) for each in events]


async def test_a_run_is_a_child_of_its_request_on_whichever_replica_it_works(
    collector: Collector, serve: Serve, agent_name: str
) -> None:
    busy = await serve(waiting := Waits(), streaming=ONE_SLOT, observability=tracing(collector))
    await start(busy, headers=UNSAMPLED)
    await wait_until(lambda: waiting.payloads)
    run_id = await start(busy)
    idle = await serve(FailsToEnd(waits=0), streaming=ONE_SLOT, observability=tracing(collector))
    await idle.finished(run_id)
    run, request = await collector.span(NAME(agent_name)), await collector.span("POST /runs")
    assert (run.trace_id, run.parent_id) == (TRACE_ID, request.span_id)
    tool = await collector.span("execute_tool tool of attempt 1")
    assert (tool.trace_id, tool.parent_id) == (run.trace_id, run.span_id)


async def test_spans_of_an_agent_that_works_for_an_unsampled_run_of_another_replica_are_not_sampled(
    collector: Collector, serve: Serve
) -> None:
    def agent(payload: Any) -> Any:
        with trace.get_tracer("agent").start_as_current_span("own"):
            return payload

    busy = await serve(waiting := Waits(), streaming=ONE_SLOT, observability=tracing(collector))
    await start(busy, headers=UNSAMPLED)
    await wait_until(lambda: waiting.payloads)
    run_id = await start(busy, headers=UNSAMPLED)
    idle = await serve(agent, streaming=ONE_SLOT, observability=tracing(collector))
    await idle.finished(run_id)
    async with idle.client.get("/info"):
        await collector.span("GET /info")
    assert {span.name for span in collector.spans} == {"GET /info", "GET /runs/{run_id}"}


@pytest.mark.usefixtures("fast_beats")
async def test_a_run_that_is_begun_again_is_one_span_with_all_attempts(
    collector: Collector, serve: Serve, agent_name: str
) -> None:
    one, other, run_id = await begun(serve, streaming=RETRY, observability=tracing(collector))
    await die(one)
    await other.finished(run_id)
    run = await collector.span(NAME(agent_name))
    assert attempts(run) == [(1, None), (2, "worker_lost")]
    assert event_names(run) == ["attempt", "checkpoint", "first_token", "attempt", "checkpoint"]
    assert run.parent_id == (await collector.span("POST /runs")).span_id
    assert [each.time for each in run.events] == sorted(each.time for each in run.events)
    tools = [span.name for span in collector.children(run)]
    assert tools == ["execute_tool tool of attempt 1", "execute_tool tool of attempt 2"]
    assert run.attributes["dockrion.run.attempt"] == 2


@pytest.mark.usefixtures("fast_beats")
async def test_the_span_of_a_run_whose_replica_died_is_ended_by_who_ends_the_run(
    collector: Collector, serve: Serve, agent_name: str
) -> None:
    one, other, run_id = await begun(serve, observability=tracing(collector))
    await die(one)
    await other.finished(run_id)
    run = await collector.span(NAME(agent_name))
    assert (run.status, run.attributes["error.type"]) == ("error", "WORKER_LOST")
    assert run.parent_id == (await collector.span("POST /runs")).span_id
    assert attempts(run) == [(1, None)]


async def test_a_replica_that_hands_a_run_over_does_not_end_its_span(
    collector: Collector, serve: Serve, agent_name: str
) -> None:
    one, other, run_id = await begun(serve, streaming=RETRY, observability=tracing(collector))
    await one.service.drain(0)
    await other.finished(run_id)
    run = await collector.span(NAME(agent_name))
    assert attempts(run) == [(1, None), (2, "shutdown")]


async def test_a_waiting_run_that_is_cancelled_has_a_span(
    collector: Collector, serve: Serve, agent_name: str
) -> None:
    busy = await serve(waiting := Waits(), streaming=ONE_SLOT, observability=tracing(collector))
    await start(busy)
    await wait_until(lambda: waiting.payloads)
    run_id = await start(busy)
    await busy.client.delete(f"/runs/{run_id}")
    run = await collector.span(NAME(agent_name))
    assert (run.attributes["dockrion.run.id"], event_names(run)) == (run_id, ["cancel"])


@pytest.mark.usefixtures("fast_beats")
async def test_a_replica_that_was_taken_for_dead_leaves_the_span_to_who_ended_the_run(
    collector: Collector, serve: Serve, agent_name: str
) -> None:
    one, other, run_id = await begun(serve, observability=tracing(collector))
    async with paused(redis_of(one)):
        await other.finished(run_id)
    await wait_until(lambda: not one.service.runs.in_flight_ids)
    async with one.client.get("/info"):
        await collector.span("GET /info")
    run = await collector.span(NAME(agent_name))
    assert run.attributes["error.type"] == "WORKER_LOST"
