"""Runs that another replica takes from the queue, or begins again: what their callers and agents see."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from dockrion import StreamContext, ids
from dockrion.backends.redis import RedisBackend
from dockrion.runs import queue_taker
from tests import support
from tests.backends.conformance import delete_keys
from tests.conftest import Serve
from tests.servers import KINDS, shared
from tests.support import TIMEOUT_SECONDS, Served, data, sequences, wait_until
from tests.web.answering import accepted
from tests.web.answering import waiting as waiting_for
from tests.web.helpers import Waits

ONE_SLOT = {"max_concurrent_runs": 1}
RETRY = {"on_worker_lost": "retry", "max_attempts": 3}


@pytest.fixture(autouse=True)
def on_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Store all runs in Redis."""
    agent = f"tested-{ids.uuid7()}"
    monkeypatch.setattr(support, "SHARED_REDIS", {"url": shared(KINDS[0]).url, "agent": agent})
    yield
    delete_keys(KINDS[0], agent)


def redis_of(served: Served) -> RedisBackend:
    backend: Any = served.service.backend
    assert isinstance(backend, RedisBackend)
    return backend


def ended(served: Served, outcome: str) -> float:
    """Return how many runs with an outcome a replica has counted."""
    return served.service.metrics.runs._ended(outcome)._value.get()  # type: ignore[no-any-return]


async def die(served: Served) -> None:
    """Let the backend of a replica end as a crash ends it; its runs go on in vain."""
    backend = redis_of(served)
    backend._watchdog.stop()
    await backend._tasks.cancel_until_done()


async def listed_as_idle(served: Served) -> None:
    """Wait until a replica is told of the next waiting run."""
    backend = redis_of(served)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await backend._client.send(("SISMEMBER", backend._store.keys.idle, backend.replica)) != [1]:
            await asyncio.sleep(0.001)


class Remembers:
    """An agent that remembers the contexts of its calls, and waits in its first attempts."""

    def __init__(self, *, waits: int) -> None:
        self.contexts: list[StreamContext] = []
        self._waiting = Waits()
        self._waits = waits

    async def __call__(self, payload: Any, context: StreamContext) -> Any:
        self.contexts.append(context)
        await context.emit_token(f"attempt {context.attempt}")
        if context.attempt <= self._waits:
            await self._waiting(payload, context)
        return payload


async def test_an_idle_replica_takes_what_a_busy_one_has_accepted(serve: Serve) -> None:
    busy = await serve(waiting := Waits(), streaming=ONE_SLOT)
    idle = await serve(streaming=ONE_SLOT)
    first = await busy.start("first")
    await wait_until(lambda: waiting.payloads)
    second = await busy.start({"n": 2})
    assert (await busy.finished(second))["output"] == {"n": 2}
    assert waiting.payloads == ["first"]
    assert (await idle.record(first))["status"] == "running"
    waiting.go.set()
    await busy.finished(first)


@pytest.mark.usefixtures("single_beat")
async def test_an_idle_replica_is_woken_by_each_run_and_needs_no_heartbeat(serve: Serve) -> None:
    busy = await serve(waiting := Waits(), streaming=ONE_SLOT)
    idle = await serve(streaming=ONE_SLOT)
    await busy.start("first")
    await wait_until(lambda: waiting.payloads)
    for number in range(3):
        await listed_as_idle(idle)
        run_id = await busy.start({"n": number})
        assert (await busy.finished(run_id))["output"] == {"n": number}
    waiting.go.set()


@pytest.mark.usefixtures("single_beat")
async def test_a_replica_fills_all_its_slots_without_a_heartbeat(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_taker, "_MAX_TAKEN", 2)
    busy = await serve(waiting := Waits(), streaming=ONE_SLOT)
    await busy.start("first")
    await wait_until(lambda: waiting.payloads)
    for _ in range(9):
        await busy.start()
    other = await serve(taken := Waits(), streaming={"max_concurrent_runs": 8})
    await wait_until(lambda: len(taken.payloads) == 8)
    assert other.service.runs.slots.free == 0
    taken.go.set()
    waiting.go.set()


async def test_the_taker_gets_the_request_as_it_was(serve: Serve) -> None:
    seen: list[tuple[Any, str]] = []

    async def agent(payload: Any, context: StreamContext) -> None:
        seen.append((payload, context.request.headers["x-a"]))

    sections = {
        "agent": {"name": "tested", "handler": "tests.support:placeholder", "forward_headers": ["X-A"]}
    }
    busy = await serve(waiting := Waits(), streaming=ONE_SLOT, **sections)
    await busy.start("first")
    await wait_until(lambda: waiting.payloads)
    body = {"text": "ä\u2028", "n": 1.50, "deep": [[{}]]}
    async with busy.client.post("/runs", json=body, headers={"X-A": "of the caller"}) as response:
        second = (await response.json())["run_id"]
    await serve(agent, streaming=ONE_SLOT, **sections)
    await busy.finished(second)
    assert seen == [(body, "of the caller")]
    waiting.go.set()


async def test_the_stream_of_a_waiting_run_begins_at_once_and_leaving_it_cancels(serve: Serve) -> None:
    served = await serve(waiting := Waits(), streaming=ONE_SLOT)
    await served.start("first")
    await wait_until(lambda: waiting.payloads)
    async with served.stream("second") as reader:
        assert (await served.record(reader.run_id))["status"] == "accepted"
    cancelled = await served.finished(reader.run_id)
    assert cancelled["status"] == "cancelled"
    assert cancelled["metadata"]["reason"] == "the caller disconnected"
    waiting.go.set()
    assert waiting.payloads == ["first"]


async def test_a_waiting_run_is_cancelled_through_another_replica(serve: Serve) -> None:
    busy = await serve(waiting := Waits(), streaming=ONE_SLOT)
    other = await serve(waiting, streaming=ONE_SLOT)
    for number in range(2):
        await busy.start(number)
    await wait_until(lambda: len(waiting.payloads) == 2)
    run_id = await busy.start("waiting")
    async with busy.events(run_id) as reader:
        async with other.client.delete(f"/runs/{run_id}", params={"reason": "enough"}) as response:
            assert response.status == 200
        events = await reader.all()
    assert [(each.event, data(each)["reason"]) for each in events] == [("cancelled", "enough")]
    assert (ended(busy, "cancelled"), ended(other, "cancelled")) == (0, 1)
    waiting.go.set()


async def test_waiting_runs_are_listed_as_accepted(serve: Serve) -> None:
    served = await serve(waiting := Waits(), streaming=ONE_SLOT)
    await served.start("first")
    await wait_until(lambda: waiting.payloads)
    waits = [await served.start("waits") for _ in range(2)]
    async with served.client.get("/runs", params={"status": "accepted"}) as response:
        listed = [run["run_id"] for run in (await response.json())["items"]]
    assert sorted(listed) == sorted(waits)
    waiting.go.set()
    for run_id in waits:
        await served.finished(run_id)


@pytest.mark.usefixtures("fast_beats")
async def test_a_run_whose_replica_died_is_begun_again_by_another(serve: Serve) -> None:
    agent = Remembers(waits=1)
    one = await serve(agent, streaming=RETRY)
    run_id = await one.start("payload")
    await wait_until(lambda: agent.contexts)
    other = await serve(agent, streaming=RETRY)
    async with other.events(run_id) as reader:
        await reader.until("token")
        await die(one)
        events = await reader.all()
    record = await other.finished(run_id)
    assert (record["status"], record["attempt"], record["output"]) == ("completed", 2, "payload")
    async with other.events(run_id) as reader:
        all_events = await reader.all()
    assert sequences(all_events) == list(range(1, len(all_events) + 1))
    started = [data(each) for each in all_events if each.event == "started"]
    assert [each.get("attempt") for each in started] == [None, 2]
    assert started[1]["previous"] == "worker_lost"
    assert [each.event for each in events[-2:]] == ["token", "complete"]
    assert [context.attempt for context in agent.contexts] == [1, 2]


@pytest.mark.usefixtures("fast_beats")
async def test_a_run_without_further_attempts_fails_with_its_replica(serve: Serve) -> None:
    agent = Remembers(waits=9)
    one = await serve(agent)
    run_id = await one.start("payload")
    await wait_until(lambda: agent.contexts)
    other = await serve(agent)
    await die(one)
    record = await other.finished(run_id)
    assert (record["status"], record["error"]["code"], record["attempt"]) == ("failed", "WORKER_LOST", 1)
    await wait_until(lambda: ended(other, "failed") == 1)


async def test_a_replica_that_shuts_down_hands_its_runs_over(serve: Serve) -> None:
    agent = Remembers(waits=1)
    one = await serve(agent, streaming=RETRY)
    run_id = await one.start("payload")
    await wait_until(lambda: agent.contexts)
    other = await serve(agent, streaming=RETRY)
    await one.service.drain(0)
    record = await other.finished(run_id)
    assert (record["status"], record["attempt"]) == ("completed", 2)
    async with other.events(run_id) as reader:
        started = [data(each) for each in await reader.all() if each.event == "started"]
    assert started[1]["previous"] == "shutdown"
    assert agent._waiting.stopped == ["payload"]


async def test_metrics_show_the_payloads_that_are_kept_for_another_attempt(serve: Serve) -> None:
    served = await serve(waiting := Waits(), streaming=RETRY)
    kept = served.service.metrics.runs.kept_payload_bytes
    run_id = await served.start("payload")
    await wait_until(lambda: waiting.payloads)
    backend = redis_of(served)
    (stored,) = await backend._client.send(("HSTRLEN", backend._store.keys.run(run_id), "job"))
    assert kept._value.get() == stored > 0
    waiting.go.set()
    await served.finished(run_id)
    await wait_until(lambda: kept._value.get() == 0)


async def test_without_further_attempts_a_shutdown_ends_its_runs(serve: Serve) -> None:
    agent = Remembers(waits=9)
    one = await serve(agent)
    other = await serve(agent)
    run_id = await one.start("payload")
    await wait_until(lambda: agent.contexts)
    await one.service.drain(0)
    assert (await other.finished(run_id))["error"]["code"] == "SHUTDOWN"


async def test_waiting_runs_outlive_the_replica_that_accepted_them(serve: Serve) -> None:
    busy = await serve(waiting := Waits(), streaming=ONE_SLOT)
    await busy.start("first")
    await wait_until(lambda: waiting.payloads)
    waits = [await busy.start({"n": number}) for number in range(3)]
    await busy.service.drain(0)
    other = await serve(streaming=ONE_SLOT)
    for number, run_id in enumerate(waits):
        assert (await other.finished(run_id))["output"] == {"n": number}


async def test_a_job_of_an_unknown_version_ends_its_run(serve: Serve) -> None:
    busy = await serve(waiting := Waits(), streaming=ONE_SLOT)
    await busy.start("first")
    await wait_until(lambda: waiting.payloads)
    run_id = await busy.start("second")
    backend = redis_of(busy)
    await backend._client.send(("HSET", backend._store.keys.run(run_id), "job", b"\xc1"))
    waiting.go.set()
    record = await busy.finished(run_id)
    assert (record["status"], record["error"]["error"]) == (
        "failed",
        "the stored request cannot be used; start the run again",
    )


async def test_what_a_secret_answer_masked_stays_masked_in_the_next_attempt(serve: Serve) -> None:
    async def agent(payload: Any, context: StreamContext) -> Any:
        if context.attempt == 1:
            await context.ask("Password?", secret=True)
            await Waits()(payload, context)
        await context.ask("Again?", secret=True)
        return None

    streaming = RETRY | {"store_input": True}
    one, other = await serve(agent, streaming=streaming), await serve(agent, streaming=streaming)
    run_id = await one.start({"text": "sesame-7411 and sesame-7412"})
    await accepted(one, run_id, (await waiting_for(one, run_id))["request_id"], "sesame-7411")
    await one.service.drain(0)
    await accepted(other, run_id, (await waiting_for(other, run_id))["request_id"], "sesame-7412")
    record = await other.finished(run_id)
    assert record["attempt"] == 2
    assert record["input"] == {"text": "*** and ***"}
