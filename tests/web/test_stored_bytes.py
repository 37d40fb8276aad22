"""`limits.max_stored_bytes` as callers and operators see it."""

import asyncio
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import Served, data, sequences
from tests.web.test_metrics import scrape, value

MIB = 1024 * 1024
LIMITS = {"limits": {"max_stored_bytes": MIB}}


async def talks(payload: Any, context: StreamContext) -> dict[str, str]:
    for number in range(payload.get("tokens", 20)):
        await context.emit_token(f"word{number} " * payload.get("words", 1))
    return {"text": "some words"}


async def all_ids(served: Served) -> list[str]:
    async with served.client.get("/runs", params={"limit": "500"}) as response:
        return [run["run_id"] for run in (await response.json())["items"]]


async def test_service_that_is_never_idle_stays_within_the_limit(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    served = await serve(talks, **LIMITS)
    for number in range(400):
        await served.start(run_id=f"r{number}")
    await served.finished("r399")
    samples = await scrape(served)
    assert MIB // 2 < value(samples, "dockrion_stored_bytes") <= MIB
    ids = await all_ids(served)
    assert ids == [f"r{number}" for number in range(399, 399 - len(ids), -1)]
    assert value(samples, "dockrion_evicted_runs_total") == 400 - len(ids) > 100
    assert value(samples, "dockrion_evicted_events_total") == 0
    async with served.client.get("/runs/r0") as response:
        assert response.status == 404
    async with served.events(ids[-1]) as reader:
        assert len(await reader.all()) == 22
    assert len([record for record in caplog.records if "max_stored_bytes" in record.message]) == 1


async def test_reader_of_a_long_run_gets_a_gap_and_the_rest(serve: Serve) -> None:
    go = asyncio.Event()

    async def agent(payload: Any, context: StreamContext) -> None:
        await talks(payload, context)
        await go.wait()

    served = await serve(agent, **LIMITS)
    run_id = await served.start({"tokens": 3_000, "words": 50})
    async with served.events(run_id) as reader:
        first = (await reader.until("token"))[-1]
        go.set()
        messages = await reader.all()
    async with served.events(run_id) as again:
        gap, *rest = await again.all()
    assert gap.event == "gap"
    assert data(gap) == {"requested": 1, "first_available": sequences(rest)[0]}
    assert sequences(rest) == list(range(sequences(rest)[0], 3_003))
    assert rest[-1].event == "complete"
    assert first.event == "token"
    assert messages[-1].event == "complete"
    assert value(await scrape(served), "dockrion_evicted_events_total") > 1_000
