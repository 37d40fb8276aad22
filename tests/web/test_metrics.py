"""The metrics after known traffic."""

import asyncio
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.web.helpers import Waits

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def scrape(served: Served) -> Samples:
    async with served.client.get("/metrics") as response:
        text = await response.text()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0)


async def agent(payload: Any, context: StreamContext) -> None:
    if payload == "fail":
        raise ValueError("no")
    if payload == "wait":
        await asyncio.Event().wait()
    for _ in range(3):
        await context.emit_token("text")
    await context.emit("mine", n=1)
    await context.emit("other", n=1)


async def test_requests_by_method_route_and_status(serve: Serve) -> None:
    served = await serve()
    for number in range(3):
        await served.start(run_id=f"r{number}")
        await served.finished(f"r{number}")
    for path in ("/nowhere", "/elsewhere", "/runs/unknown"):
        async with served.client.get(path):
            pass
    async with served.client.post("/invoke", json={}):
        pass
    async with served.client.post("/invoke", data=b"{"):
        pass
    samples = await scrape(served)

    def requests(method: str, route: str, status: int) -> float:
        return value(samples, "dockrion_requests_total", method=method, route=route, status=str(status))

    assert requests("POST", "/runs", 202) == 3
    assert requests("GET", "/runs/{run_id}", 200) >= 3
    assert requests("GET", "/runs/{run_id}", 404) == 1
    assert requests("GET", "(none)", 404) == 2
    assert requests("POST", "/invoke", 200) == 1
    assert value(samples, "dockrion_request_seconds_count", method="POST", route="/runs") == 3


async def test_unknown_paths_and_methods_create_no_series(serve: Serve) -> None:
    served = await serve()
    async with served.client.get("/nowhere"):
        pass
    before = len(await scrape(served))
    for number in range(20):
        async with served.client.get(f"/nowhere/{number}"):
            pass
        async with served.client.request(f"METHOD{number}", "/health"):
            pass
        async with served.client.get(f"/runs/unknown{number}"):
            pass
    after = len(await scrape(served))
    # At most: (other) and /runs/{run_id}, each with its counter and its histogram.
    assert after - before < 60


async def test_runs_by_outcome(serve: Serve) -> None:
    served = await serve(agent)
    for payload in ("go", "go", "fail"):
        await served.finished(await served.start(payload))
    run_id = await served.start("wait")
    async with served.client.delete(f"/runs/{run_id}"):
        pass
    samples = await scrape(served)
    outcomes = {
        outcome: value(samples, "dockrion_runs_total", outcome=outcome)
        for outcome in ("completed", "failed", "cancelled")
    }
    assert outcomes == {"completed": 2, "failed": 1, "cancelled": 1}


async def test_events_are_counted_by_type_with_custom_ones_together(serve: Serve) -> None:
    served = await serve(agent)
    async with served.stream("go") as reader:
        await reader.all()
    samples = await scrape(served)
    counts = {
        kind: value(samples, "dockrion_events_total", type=kind)
        for kind in ("started", "token", "custom", "complete", "error")
    }
    assert counts == {"started": 1, "token": 3, "custom": 2, "complete": 1, "error": 0}


async def test_filtered_events_are_not_counted(serve: Serve) -> None:
    served = await serve(agent, streaming={"events": {"allowed": "minimal"}})
    async with served.stream("go") as reader:
        await reader.all()
    assert value(await scrape(served), "dockrion_events_total", type="token") == 0


async def test_gauges_count_open_streams_and_runs(serve: Serve) -> None:
    served = await serve(waits := Waits())
    async with served.stream() as caller, served.events(caller.run_id) as reader:
        await served.start()
        samples = await scrape(served)
        assert value(samples, "dockrion_open_streams") == 2
        assert value(samples, "dockrion_active_runs") == 2
        assert value(samples, "dockrion_active_requests") == 3  # both streams, and this one
        waits.go.set()
        await caller.all()
        await reader.all()
    await wait_until(lambda: not served.service.runs._in_flight)
    samples = await scrape(served)
    assert value(samples, "dockrion_open_streams") == 0
    assert value(samples, "dockrion_active_runs") == 0
    assert value(samples, "dockrion_active_requests") == 1


async def test_queue_and_wait_cover_runs_that_found_no_free_slot(serve: Serve) -> None:
    served = await serve(waits := Waits(), streaming={"max_concurrent_runs": 1})
    for _ in range(2):
        await served.start()
    samples = await scrape(served)
    assert value(samples, "dockrion_queue_wait_seconds_count") == 0
    assert value(samples, "dockrion_queued_runs") == 1
    waits.go.set()
    await wait_until(lambda: not served.service.runs._in_flight)
    samples = await scrape(served)
    assert value(samples, "dockrion_queued_runs") == 0
    assert value(samples, "dockrion_queue_wait_seconds_count") == 1
    assert 0 < value(samples, "dockrion_queue_wait_seconds_sum") < TIMEOUT_SECONDS


async def test_delivery_time_covers_live_events_only(serve: Serve) -> None:
    served = await serve(waits := Waits())
    async with served.stream("go") as reader:
        await reader.until("started")
        waits.go.set()
        await reader.all()
    live = value(await scrape(served), "dockrion_event_delivery_seconds_count")
    async with served.events(reader.run_id) as late:
        await late.all()
    assert live >= 1
    assert value(await scrape(served), "dockrion_event_delivery_seconds_count") == live


async def test_streams_are_not_counted_as_latency(serve: Serve) -> None:
    served = await serve(agent)
    async with served.stream("go") as reader:
        await reader.all()
    samples = await scrape(served)
    assert value(samples, "dockrion_request_seconds_count", method="POST", route="/invoke/stream") == 0
