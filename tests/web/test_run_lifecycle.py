"""A run from its acceptance to its expiry."""

import asyncio
import time
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import data, wait_until
from tests.web.helpers import BlockedAgent, Waits, error_of


async def test_statuses_of_a_run_in_their_order(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"max_concurrent_runs": 1})
    first = await served.start()
    waiting = await served.start()
    assert (await served.record(first))["status"] == "running"
    record = await served.record(waiting)
    assert (record["status"], record["started_at"], record["last_sequence"]) == ("accepted", None, 0)
    agent.go.set()
    assert (await served.finished(waiting))["status"] == "completed"


async def test_record_of_a_running_run(serve: Serve) -> None:
    served = await serve(agent := Waits())
    run_id = await served.start()
    await wait_until(lambda: served.backend._logs[run_id].run.last_sequence == 2)
    record = await served.record(run_id)
    assert record["status"] == "running"
    assert record["started_at"] is not None
    assert (record["completed_at"], record["output"], record["error"]) == (None, None, None)
    agent.go.set()


async def test_run_continues_without_readers(serve: Serve) -> None:
    served = await serve(agent := Waits())
    run_id = await served.start()
    agent.go.set()
    record = await served.finished(run_id)
    assert record["output"] == {"done": True}
    assert record["last_sequence"] == 4


async def test_timed_out_run_fails_and_its_agent_is_stopped(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"events": {"max_run_duration": 0.1}})
    async with served.stream() as reader:
        last = data((await reader.all())[-1])
    assert (last["type"], last["code"]) == ("error", "TIMEOUT_ERROR")
    assert agent.stopped
    assert (await served.record(reader.run_id))["error"]["code"] == "TIMEOUT_ERROR"


async def test_timed_out_sync_agent_is_stopped_at_its_next_emit(serve: Serve, stuck: BlockedAgent) -> None:
    served = await serve(stuck, streaming={"events": {"max_run_duration": 0.1}})
    run_id = await served.start()
    await wait_until(lambda: served.service.runs._in_flight._by_id[run_id].decided)
    stuck.go.set()
    assert (await served.finished(run_id))["error"]["code"] == "TIMEOUT_ERROR"
    assert stuck.stopped.is_set()


async def test_queueing_does_not_count_towards_the_duration(serve: Serve) -> None:
    async def agent(payload: str) -> None:
        if payload == "waits":
            await asyncio.Event().wait()
        for _ in range(20):  # many turns, and no time
            await asyncio.sleep(0)

    served = await serve(agent, streaming={"max_concurrent_runs": 1, "events": {"max_run_duration": 0.3}})
    *others, last = [await served.start(payload) for payload in ("waits", "waits", "ends")]
    for run_id in others:
        assert (await served.finished(run_id))["status"] == "failed"
    assert (await served.finished(last))["status"] == "completed"


async def test_events_after_the_end_are_dropped(serve: Serve) -> None:
    emitted = asyncio.Event()

    async def talk_on(context: StreamContext) -> None:
        while context.run_id in served.service.runs._in_flight._by_id:
            await asyncio.sleep(0)
        await context.emit_token("too late")
        emitted.set()

    tasks: list[asyncio.Task[None]] = []

    async def agent(_payload: Any, context: StreamContext) -> None:
        tasks.append(asyncio.create_task(talk_on(context)))

    served = await serve(agent)
    run_id = await served.start()
    await emitted.wait()
    async with served.events(run_id) as reader:
        assert [message.event for message in await reader.all()] == ["started", "complete"]
    assert tasks[0].exception() is None


async def test_finished_run_expires_after_its_ttl(serve: Serve) -> None:
    served = await serve(streaming={"redis": {"stream_ttl_seconds": 60}})
    before = time.monotonic()
    run_id = await served.start()
    await served.finished(run_id)
    after = time.monotonic()
    served.backend._retention._clock = lambda: before + 59
    served.backend._retention.expire()
    assert (await served.record(run_id))["status"] == "completed"
    served.backend._retention._clock = lambda: after + 61
    served.backend._retention.expire()
    for path in (f"/runs/{run_id}", f"/runs/{run_id}/events"):
        async with served.client.get(path) as response:
            await error_of(response, 404, "NOT_FOUND")
    assert not served.backend._logs


async def test_live_run_never_expires(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"redis": {"stream_ttl_seconds": 60}})
    run_id = await served.start()
    served.backend._retention._clock = lambda: time.monotonic() + 100_000
    served.backend._retention.expire()
    agent.go.set()
    await wait_until(lambda: agent.ended)
    served.backend._retention._clock = time.monotonic
    assert (await served.finished(run_id))["status"] == "completed"


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
async def test_nothing_leaves_a_terminal_status(serve: Serve, status: str) -> None:
    async def agent(payload: str) -> None:
        if payload == "failed":
            raise ValueError("no")
        if payload == "cancelled":
            await asyncio.Event().wait()

    served = await serve(agent)
    run_id = await served.start(status)
    if status == "cancelled":
        async with served.client.delete(f"/runs/{run_id}") as response:
            assert response.status == 200
    before = await served.finished(run_id)
    async with served.client.delete(f"/runs/{run_id}") as response:
        body = await error_of(response, 400, "VALIDATION_ERROR")
    assert status in body["error"]
    assert before["status"] == status
    assert await served.record(run_id) == before
