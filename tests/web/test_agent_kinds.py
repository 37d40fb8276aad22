"""The contract holds for every kind of agent."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents.kinds import BREAK, EVERY_KIND, SPELL, SPELT, WAIT, Kind
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Reader, Served, data, sequences, wait_until
from tests.web.helpers import error_of

LIMIT = 100  # seconds


@pytest.fixture(params=EVERY_KIND)
async def kind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kind]:
    async with EVERY_KIND[request.param](tmp_path) as made:
        yield made


async def served_by(kind: Kind, serve: Serve, **sections: Any) -> Served:
    served = await serve(**sections)
    served.service.runs.agent = kind.agent
    return served


async def read_all(reader: Reader) -> list[dict[str, Any]]:
    """Read a stream to its end: its events, without steps, which only graphs and runnables have."""
    messages = await reader.all()
    assert sequences(messages) == list(range(1, len(messages) + 1))
    return [data(message) for message in messages if message.event != "step"]


def tokens(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"] for event in events if event["type"] == "token"]


async def begun(served: Served, payload: dict[str, Any], **query: str) -> str:
    """Start a run, and wait for its first token."""
    run_id = await served.start(payload, **query)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await served.record(run_id))["last_sequence"] < 2:
            await asyncio.sleep(0.005)
    return run_id


async def let_time_pass(served: Served, kind: Kind) -> None:
    """Wait until the agent waits, and bring the time limit of the only run forward."""
    await wait_until(lambda: kind.waits)
    (run,) = served.service.runs._in_flight
    assert run.execution is not None
    limit = run.execution._limit
    assert limit is not None
    assert LIMIT - 60 < limit.seconds_left < LIMIT
    limit._deadline -= LIMIT
    limit._unschedule()
    limit._schedule()


async def test_invoke_returns_the_output(kind: Kind, serve: Serve) -> None:
    served = await served_by(kind, serve)
    async with served.client.post("/invoke", json=SPELL) as response:
        assert response.status == 200
        assert (await response.json())["output"].items() >= SPELT.items()


async def test_pattern_a_streams_the_events_and_the_output(kind: Kind, serve: Serve) -> None:
    served = await served_by(kind, serve)
    async with served.stream(SPELL) as reader:
        events = await read_all(reader)
    assert [event["type"] for event in events] == ["started", "token", "token", "token", "complete"]
    assert tokens(events) == ["a", "b", "c"]
    assert events[-1]["output"].items() >= SPELT.items()


async def test_pattern_b_shows_every_reader_the_same_bytes(kind: Kind, serve: Serve) -> None:
    served = await served_by(kind, serve)
    run_id = await served.start(SPELL)
    async with served.events(run_id) as first, served.events(run_id) as second:
        events = await read_all(first)
        await second.all()
    assert tokens(events) == ["a", "b", "c"]
    assert first.raw == second.raw
    record = await served.record(run_id)
    assert record["status"] == "completed"
    assert record["output"] == events[-1]["output"]


async def test_cancel_stops_the_agent(kind: Kind, serve: Serve) -> None:
    served = await served_by(kind, serve)
    run_id = await begun(served, WAIT)
    async with served.client.delete(f"/runs/{run_id}", params={"reason": "enough"}) as response:
        assert response.status == 200
    await wait_until(lambda: kind.stops)
    async with served.events(run_id) as reader:
        events = await read_all(reader)
    assert tokens(events) == ["a"]
    assert (events[-1]["type"], events[-1]["reason"]) == ("cancelled", "enough")


async def test_disconnected_caller_stops_the_agent(kind: Kind, serve: Serve) -> None:
    served = await served_by(kind, serve)
    async with served.stream(WAIT) as reader:
        await reader.until("token")
        run_id = reader.run_id
    await wait_until(lambda: kind.stops)
    assert (await served.finished(run_id))["status"] == "cancelled"


async def test_timed_out_invoke_is_504_and_stops_the_agent(kind: Kind, serve: Serve) -> None:
    served = await served_by(kind, serve, arguments={"timeout_sec": LIMIT})
    pending = asyncio.create_task(served.client.post("/invoke", json=WAIT))
    await let_time_pass(served, kind)
    async with await pending as response:
        await error_of(response, 504, "TIMEOUT_ERROR")
    await wait_until(lambda: kind.stops)


async def test_timed_out_run_fails_and_stops_the_agent(kind: Kind, serve: Serve) -> None:
    served = await served_by(kind, serve, streaming={"events": {"max_run_duration": LIMIT}})
    run_id = await served.start(WAIT)
    await let_time_pass(served, kind)
    record = await served.finished(run_id)
    assert record["error"]["code"] == "TIMEOUT_ERROR"
    await wait_until(lambda: kind.stops)


async def test_exception_of_the_agent_is_an_error(kind: Kind, serve: Serve) -> None:
    served = await served_by(kind, serve)
    async with served.client.post("/invoke", json=BREAK) as response:
        assert "broken on purpose" in (await error_of(response, 500, "AGENT_EXECUTION_ERROR"))["error"]
    async with served.stream(BREAK) as reader:
        events = await read_all(reader)
    assert tokens(events) == ["a"]
    assert events[-1]["type"] == "error"
    assert events[-1]["error"] == "BrokenError: broken on purpose"
    assert events[-1]["code"] == "AGENT_EXECUTION_ERROR"


async def test_shutdown_stops_the_agent_and_is_reported(kind: Kind, serve: Serve) -> None:
    served = await served_by(kind, serve)
    async with served.stream(WAIT) as reader:
        await reader.until("token")
        await served.service.drain(0)
        events = [data(message) for message in await reader.all()]
    assert events[-1]["code"] == "SHUTDOWN"
    await wait_until(lambda: kind.stops)


async def test_concurrent_runs_do_not_mix(kind: Kind, serve: Serve) -> None:
    served = await served_by(kind, serve)
    runs = await asyncio.gather(*(served.start(SPELL) for _ in range(20)))
    for run_id in runs:
        async with served.events(run_id) as reader:
            assert tokens(await read_all(reader)) == ["a", "b", "c"]
