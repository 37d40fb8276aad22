"""The span of a run: where it begins and ends, and what it says."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import INGEST, wait_until
from tests.tracing.receiver import Collector
from tests.tracing.spans import (
    CALLER,
    INVOKE,
    SAMPLED,
    TRACE_ID,
    UNSAMPLED,
    event_names,
    invoke,
    start,
    tracing,
)
from tests.web.helpers import Waits
from tests.web.protocols.test_every_protocol import EVERY, Client


def nanoseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


async def test_a_run_is_a_span_from_its_acceptance_to_its_terminal_event(
    collector: Collector, serve: Serve
) -> None:
    served = await serve(observability=tracing(collector), metadata={"version": "7"})
    record = await served.finished(run_id := await start(served))
    span = await collector.span(INVOKE)
    request = await collector.span("POST /runs")
    assert (request.trace_id, request.parent_id, request.kind) == (TRACE_ID, CALLER, "server")
    assert (span.trace_id, span.parent_id, span.kind) == (TRACE_ID, request.span_id, "internal")
    assert (request.trace_state, span.trace_state) == ("vendor=position", "vendor=position")
    assert [nanoseconds(record[name]) for name in ("created_at", "completed_at")] == [span.start, span.end]
    assert (span.status, event_names(span)) == ("unset", ["attempt"])
    assert span.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "dockrion",
        "gen_ai.agent.name": "tested",
        "gen_ai.agent.version": "7",
        "dockrion.framework": "custom",
        "dockrion.run.id": run_id,
        "dockrion.run.status": "completed",
        "dockrion.run.attempt": 1,
    }


async def test_the_span_names_the_models_tokens(collector: Collector, serve: Serve) -> None:
    async def agent(payload: Any, context: StreamContext) -> Any:
        await context.emit_usage("gpt", 10, 2)
        await context.emit_usage("gpt", 5, 1)
        return payload

    served = await serve(agent, observability=tracing(collector), streaming={"events": {"allowed": []}})
    assert await invoke(served) == 200
    attributes = (await collector.span(INVOKE)).attributes
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (15, 3)
    assert attributes["gen_ai.response.model"] == attributes["gen_ai.request.model"] == "gpt"


async def test_first_token_and_checkpoints_are_events_whatever_the_filter_passes(
    collector: Collector, serve: Serve
) -> None:
    async def agent(payload: Any, context: StreamContext) -> Any:
        for _ in range(3):
            await context.emit_token("secret words")
        await context.checkpoint("half", {"secret": "words"})
        return payload

    served = await serve(agent, observability=tracing(collector), streaming={"events": {"allowed": []}})
    await served.finished(await start(served))
    span = await collector.span(INVOKE)
    assert event_names(span) == ["attempt", "first_token", "checkpoint"]
    assert span.events[2].attributes == {"dockrion.checkpoint.name": "half"}
    assert 0 < span.attributes["gen_ai.response.time_to_first_chunk"] < 10


@pytest.mark.parametrize("endpoint", ["/runs", "/invoke"])
async def test_a_failure_is_an_error_of_its_code_without_its_message(
    collector: Collector, serve: Serve, endpoint: str
) -> None:
    def agent(payload: Any) -> Any:
        raise ValueError(f"{payload} is unknown")

    served = await serve(agent, observability=tracing(collector))
    async with served.client.post(endpoint, json={"q": "what I asked"}, headers=SAMPLED):
        span = await collector.span(INVOKE)
    assert (span.status, span.message) == ("error", "")
    assert span.attributes["error.type"] == "AGENT_EXECUTION_ERROR"
    assert span.attributes["exception.type"] == "ValueError"
    assert span.attributes["dockrion.run.status"] == "failed"
    assert not any(b"what I asked" in body for body in collector.bodies)


async def test_what_a_process_reports_of_an_error_is_not_shown(collector: Collector, serve: Serve) -> None:
    served = await serve(observability=tracing(collector), streaming={"ingest": INGEST})
    reports = [["what I asked"], {"type": "what I asked"}, {"type": {"what I asked": 1}}, None]
    for number, details in enumerate(reports, 1):
        run_id = await start(served, external="true")
        error = {"type": "error", "error": "what I asked", "details": details}
        async with served.client.post(f"/runs/{run_id}/events", json=error) as response:
            assert response.status == 200, await response.text()
        await wait_until(lambda number=number: len(collector.named(INVOKE)) == number)  # type: ignore[misc]
    assert not any(b"what I asked" in body for body in collector.bodies)
    assert {span.status for span in collector.named(INVOKE)} == {"error"}


async def test_a_cancel_is_an_event_and_no_error(collector: Collector, serve: Serve) -> None:
    served = await serve(waiting := Waits(), observability=tracing(collector))
    run_id = await start(served)
    await wait_until(lambda: waiting.payloads)
    await served.client.delete(f"/runs/{run_id}", params={"reason": "what I think"})
    span = await collector.span(INVOKE)
    assert event_names(span) == ["attempt", "first_token", "cancel"]
    assert (span.status, span.attributes["dockrion.run.status"]) == ("unset", "cancelled")
    assert not any(b"what I think" in body for body in collector.bodies)


async def test_a_caller_who_leaves_an_invocation_has_cancelled_it(collector: Collector, serve: Serve) -> None:
    served = await serve(waiting := Waits(), observability=tracing(collector))
    caller = asyncio.create_task(invoke(served))
    await wait_until(lambda: waiting.payloads)
    caller.cancel()
    span = await collector.span(INVOKE)
    assert span.attributes["dockrion.run.status"] == "cancelled"
    assert (await collector.span("POST /invoke")).attributes["http.response.status_code"] == 499


async def test_a_run_cancelled_while_it_waits_has_a_span_without_attempt(
    collector: Collector, serve: Serve
) -> None:
    served = await serve(Waits(), observability=tracing(collector), streaming={"max_concurrent_runs": 1})
    await start(served)
    waiting = await start(served)
    await served.client.delete(f"/runs/{waiting}")
    span = await collector.span(INVOKE)
    assert (span.attributes["dockrion.run.id"], event_names(span)) == (waiting, ["cancel"])


async def test_a_shutdown_is_the_error_of_the_runs_that_it_ends(collector: Collector, serve: Serve) -> None:
    served = await serve(waiting := Waits(), observability=tracing(collector))
    await start(served)
    await wait_until(lambda: waiting.payloads)
    await served.service.drain(0)
    span = await collector.span(INVOKE)
    assert (span.status, span.attributes["error.type"]) == ("error", "SHUTDOWN")


async def test_a_refused_run_has_no_span(collector: Collector, serve: Serve) -> None:
    served = await serve(observability=tracing(collector))
    await served.finished(await start(served, run_id="twice"))
    assert (await served.client.post("/runs?run_id=twice", json={"q": "another"})).status == 409
    await wait_until(lambda: len(collector.named("POST /runs")) == 2)
    assert len(collector.named(INVOKE)) == 1


async def test_a_trace_that_is_not_sampled_gets_nothing(collector: Collector, serve: Serve) -> None:
    positions: list[str | None] = []

    async def agent(payload: Any, context: StreamContext) -> Any:
        async with context.tool("search"):
            positions.append(context.request.traceparent)
        return payload

    served = await serve(agent, observability=tracing(collector))
    await served.finished(await start(served, headers=UNSAMPLED))
    assert await invoke(served, headers=UNSAMPLED) == 200
    assert await invoke(served) == 200
    await collector.span(INVOKE)
    assert (await collector.span("POST /invoke")).parent_id == CALLER
    assert not collector.named("POST /runs")
    assert [str(position)[-2:] for position in positions] == ["00", "00", "01"]


async def test_a_request_without_a_position_begins_a_trace(collector: Collector, serve: Serve) -> None:
    served = await serve(observability=tracing(collector))
    await served.finished(await start(served, headers={}))
    span, request = await collector.span(INVOKE), await collector.span("POST /runs")
    assert request.parent_id == ""
    assert (span.trace_id, span.parent_id) == (request.trace_id, request.span_id)


@EVERY
async def test_runs_of_other_protocols_are_children_of_their_requests(
    collector: Collector, serve: Serve, client: Client
) -> None:
    served = await serve(observability=tracing(collector), expose=client.expose)
    async with served.client.post(client.path, json=client.body, headers=SAMPLED) as response:
        assert response.status == 200, await response.text()
        await response.read()
    request, run = await collector.span(f"POST {client.path}"), await collector.span(INVOKE)
    assert (run.trace_id, run.parent_id) == (TRACE_ID, request.span_id)
    record = await served.record(run.attributes["dockrion.run.id"])
    assert (record["status"], nanoseconds(record["completed_at"])) == ("completed", run.end)
    assert run.end <= request.end


@EVERY
async def test_a_client_who_leaves_has_cancelled_its_run(
    collector: Collector, serve: Serve, client: Client
) -> None:
    served = await serve(waiting := Waits(), observability=tracing(collector), expose=client.expose)
    options: dict[str, Any] = {"json": client.body, "headers": SAMPLED, "params": {"on_disconnect": "cancel"}}
    async with served.client.post(client.path, **options) as response:
        await wait_until(lambda: waiting.payloads)
        response.close()
        run = await collector.span(INVOKE)
    assert run.attributes["dockrion.run.status"] == "cancelled"
    assert event_names(run)[-1] == "cancel"
    request = await collector.span(f"POST {client.path}")
    assert (run.trace_id, run.parent_id) == (TRACE_ID, request.span_id)
    assert request.attributes["http.response.status_code"] == 499
