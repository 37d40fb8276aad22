"""Redis goes back in time: it restarts from an older snapshot, or a replica that lags takes over."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.backends.redis import RedisBackend, reaper
from tests.backends.trouble import (
    CommandedAgent,
    Logged,
    OnRedis,
    assert_accepts_runs,
    checked_end,
    following,
    serve_on,
    wait_ready,
)
from tests.conftest import Serve
from tests.servers import KINDS, RedisServer
from tests.support import TIMEOUT_SECONDS, Served, data, sequences, wait_until


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that can be set back to a snapshot."""
    with RedisServer(request.param, tmp_path) as started:
        yield started


@pytest.fixture
def on_redis(server: RedisServer, serve: Serve) -> OnRedis:
    return partial(serve_on, serve, server.url)


pytestmark = pytest.mark.usefixtures("fast_beats")


@pytest.fixture
def no_deaths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no replica count as dead that connects again a little later than the other."""
    monkeypatch.setattr(reaper, "BEATS_TO_DEATH", 10_000)


async def events(served: Served, run_id: str, **query: Any) -> list[Any]:
    async with served.events(run_id, **query) as reader:
        return await reader.all()


def backend(served: Served) -> RedisBackend:
    found = served.service.backend
    assert isinstance(found, RedisBackend)
    return found


async def crash(served: Served) -> None:
    """End a replica's runs, background work and connections, as if its process had died."""
    await served.service.runs._run_tasks.cancel(TIMEOUT_SECONDS)
    crashed = backend(served)
    crashed._watchdog.stop()
    await crashed._tasks.cancel_until_done()
    await crashed._client.aclose()


def check_lost_end(messages: list[Any], last: int) -> None:
    """Check that a run has ended once, with the error that its end is lost."""
    assert checked_end(messages) == "error"
    error = data(messages[-1])
    assert (error["code"], error["sequence"]) == ("INTERNAL_ERROR", last)
    assert "lost how this run ended" in error["error"]


@pytest.mark.usefixtures("no_deaths")
async def test_a_run_that_had_finished_is_ended_once_by_its_owner(
    server: RedisServer, on_redis: OnRedis, logged: Logged
) -> None:
    agent = CommandedAgent()
    owner, other = await on_redis(agent), await on_redis()
    await wait_ready(owner, other)
    run_id = await owner.start()
    agent.emit(3)
    async with following(run_id, owner) as (reader,):
        await reader.until(4)
        server.save()
        agent.emit(3)
        agent.finish()
        await reader.end()
    assert (await owner.record(run_id))["status"] == "completed"
    await wait_until(lambda: not backend(owner)._leases._owned)
    server.set_back()
    await wait_ready(owner, other)
    for served in (owner, other):
        check_lost_end(await events(served, run_id), 5)
    assert (await other.finished(run_id))["status"] == "failed"
    assert len(logged.fields("run failed")) == 1
    owned = backend(owner)._store.keys.owned(backend(owner).replica)
    await wait_until(lambda: not server.command("SMEMBERS", owned))
    await assert_accepts_runs(owner)


async def test_runs_of_a_replica_that_has_left_since_are_ended_once(
    server: RedisServer, on_redis: OnRedis, logged: Logged
) -> None:
    agent = CommandedAgent()
    owner, other = await on_redis(agent), await on_redis()
    await wait_ready(owner, other)
    run_id = await owner.start()
    async with following(run_id, other) as (reader,):
        await reader.until(1)
        server.save()
        agent.finish()
        await reader.end()
    await crash(owner)
    server.set_back()
    messages = await events(other, run_id)
    assert checked_end(messages) == "error"
    assert data(messages[-1])["code"] == "WORKER_LOST"
    assert (await other.finished(run_id))["status"] == "failed"
    assert len(logged.fields("run failed")) == 1


@pytest.mark.usefixtures("no_deaths")
@pytest.mark.parametrize("emitted", [0, 3])
async def test_a_run_in_flight_whose_log_was_set_back_ends_with_what_is_left(
    emitted: int, server: RedisServer, on_redis: OnRedis
) -> None:
    """The agent is silent, so that nothing but the renewal of the lease can notice."""
    agent = CommandedAgent()
    owner, other = await on_redis(agent), await on_redis()
    await wait_ready(owner, other)
    run_id = await owner.start()
    agent.emit(2)
    async with following(run_id, owner, other) as readers:
        for each in readers:
            await each.until(3)
        server.save()
        agent.emit(emitted)
        for each in readers:
            await each.until(3 + emitted)
        server.set_back()
        if emitted:
            for each in readers:
                assert checked_end(await each.end()) == "error"
            assert agent.stopped == 1
        else:
            await wait_ready(owner, other)
            agent.finish()
            for each in readers:
                assert checked_end(await each.end()) == "complete"
                assert each.count("gap") == 0
    stored = await events(other, run_id)
    assert sequences(stored) == ([1, 2, 3, 7] if emitted else [1, 2, 3, 4])
    assert (await other.record(run_id))["status"] == ("failed" if emitted else "completed")


async def test_a_reader_whose_events_the_log_has_lost_is_told(server: RedisServer, on_redis: OnRedis) -> None:
    """The owner dies too, so that the run ends before the reader's position."""
    agent = CommandedAgent()
    owner, other = await on_redis(agent), await on_redis()
    await wait_ready(owner, other)
    run_id = await owner.start()
    async with following(run_id, other) as (reader,):
        await reader.until(1)
        server.save()
        agent.emit(20)
        await reader.until(21)
        await crash(owner)
        server.set_back()
        assert checked_end(await reader.end()) == "gone"
    stored = await events(other, run_id)
    assert sequences(stored) == [1, 2]
    assert checked_end(stored) == "error"
    agent.finish()


@pytest.mark.usefixtures("no_deaths")
async def test_pages_of_lost_events_are_not_served_from_a_cache(
    server: RedisServer, on_redis: OnRedis
) -> None:
    agent = CommandedAgent()
    owner, other = await on_redis(agent), await on_redis()
    await wait_ready(owner, other)
    run_id = await owner.start()
    async with following(run_id, owner, other) as (reader, _):
        await reader.until(1)
        server.save()
        agent.emit(600)
        await reader.until(601)
        assert sequences(await _until(other, run_id, 600)) == list(range(1, 601))
        agent.finish()
        await reader.end()
    server.set_back()
    for served in (owner, other):
        await wait_ready(served)
        await served.finished(run_id)
        assert sequences(await events(served, run_id)) == [1, 2]


async def _until(served: Served, run_id: str, last: int) -> list[Any]:
    messages: list[Any] = []
    async with served.events(run_id) as reader:
        async for message in reader:
            messages.append(message)
            if message.id == str(last):
                return messages
    raise AssertionError(f"no event {last}")


class PlannedAgent:
    """An agent that emits tokens before and after the snapshot, as its input says."""

    def __init__(self) -> None:
        self.snapshot = asyncio.Event()
        self.restarted = asyncio.Event()
        self.reached: list[str] = []

    async def __call__(self, payload: dict[str, Any], context: StreamContext) -> str:
        for _ in range(payload["before"]):
            await context.emit_token("before")
        if payload["ends"] == "before":
            return "early"
        self.reached.append(context.run_id)
        await self.snapshot.wait()
        for _ in range(payload["after"]):
            await context.emit_token("after")
        if payload["ends"] == "after":
            return "late"
        self.reached.append(context.run_id)
        await self.restarted.wait()
        return "at last"


@pytest.mark.usefixtures("no_deaths")
async def test_every_run_has_one_end_and_every_stream_ends(
    server: RedisServer, on_redis: OnRedis, logged: Logged
) -> None:
    agent = PlannedAgent()
    replicas = owner, _ = await on_redis(agent), await on_redis()
    await wait_ready(*replicas)
    plans: list[dict[str, Any]] = [
        {"before": before, "after": after, "ends": ends}
        for before, after, ends in product((0, 2), (0, 2), ("before", "after", "never"))
    ]
    runs = {await owner.start(plan): plan for plan in plans}
    active = sum(plan["ends"] != "before" for plan in plans)
    async with AsyncExitStack() as stack:
        readers = {run_id: await stack.enter_async_context(following(run_id, *replicas)) for run_id in runs}
        await wait_until(lambda: len(agent.reached) == active)
        for run_id, plan in runs.items():
            for each in readers[run_id]:
                await each.until(1 + plan["before"] + (plan["ends"] == "before"))
        server.save()
        agent.reached.clear()
        agent.snapshot.set()
        for run_id, plan in runs.items():
            if plan["ends"] != "before":
                for each in readers[run_id]:
                    await each.until(1 + plan["before"] + plan["after"] + (plan["ends"] == "after"))
        never = sum(plan["ends"] == "never" for plan in plans)
        await wait_until(lambda: len(backend(owner)._leases._owned) == never)
        server.set_back()
        await wait_ready(*replicas)
        agent.restarted.set()
        for run_id in runs:
            for each in readers[run_id]:
                checked_end(await each.end())
    for run_id, plan in runs.items():
        records = [await served.finished(run_id) for served in replicas]
        assert records[0] == records[1]
        logs = [await events(served, run_id) for served in replicas]
        assert logs[0] == logs[1]
        end = checked_end(logs[0])
        assert records[0]["status"] == {"complete": "completed", "error": "failed"}[end]
        if plan["ends"] == "before" or (plan["ends"] == "never" and not plan["after"]):
            assert end == "complete"
        elif plan["ends"] == "after":
            assert end == "error"
    assert len(logged.fields("run failed")) == sum(plan["ends"] == "after" for plan in plans)
    for served in replicas:
        await assert_accepts_runs(served)
