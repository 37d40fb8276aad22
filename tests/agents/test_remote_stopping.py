"""Runs that are stopped: the connection is closed, and the process is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dockrion import ids
from dockrion.errors import AgentTimedOut
from dockrion.runs.agent import Call
from tests.agents.harness import Bench, bench
from tests.agents.processes import (
    NDJSON,
    Answer,
    Asked,
    Process,
    Wire,
    bytes_of,
    process,
    pusher,
    remote,
    start_kept,
)
from tests.support import wait_until

TOKEN = b'{"type":"token","content":"a"}\n'


class Working:
    """A process that begins an answer, and notes when its caller has left."""

    def __init__(self, begun: bytes = TOKEN) -> None:
        self.begun = begun
        self.at_work = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, _asked: Asked, wire: Wire) -> None:
        if self.begun:
            await wire.begin(NDJSON)
            await wire.send(self.begun)
        self.at_work.set()
        await wire.left()
        self.left.set()
        wire.close()


async def accept(_asked: Asked, wire: Wire) -> None:
    await wire.whole(None, status="202 Accepted")


@asynccontextmanager
async def stoppable(
    answer: Answer, stop: Answer = accept, *, ingest: float | None = None, duration: float = 60, **spec: Any
) -> AsyncIterator[tuple[Bench, Process]]:
    """Serve a process that another one can be asked to stop: the one that is returned."""
    async with (
        process(answer) as made,
        process(stop) as stopper,
        remote(made.url, cancel_url=stopper.url, ingest=ingest, **spec) as agent,
        bench(agent, duration=duration) as runs,
    ):
        yield runs, stopper


async def cancel(runs: Bench, run_id: str) -> None:
    await runs.runs.cancel(run_id, "enough")


async def leave(runs: Bench, run_id: str) -> None:
    runs.runs.abandon(run_id)


@pytest.mark.parametrize("stop", [cancel, leave])
@pytest.mark.parametrize("begun", [TOKEN, b""], ids=["in the answer", "before the answer"])
async def test_a_stopped_run_closes_the_connection_and_tells_the_process_once(
    stop: Callable[[Bench, str], Awaitable[None]], begun: bytes
) -> None:
    working = Working(begun)
    async with stoppable(working) as (runs, stopper):
        run_id = await runs.start()
        await working.at_work.wait()
        await stop(runs, run_id)
        assert (await runs.ended(run_id)).run.status == "cancelled"
        await asyncio.wait_for(working.left.wait(), 5)
    (asked,) = stopper.asked
    assert (asked.method, asked.json) == ("POST", {"run_id": run_id})
    assert asked.headers["x-dockrion-run-id"] == run_id
    assert asked.headers["content-type"] == "application/json"


async def test_without_a_cancel_url_the_connection_is_closed() -> None:
    working = Working()
    async with process(working) as made, remote(made.url) as agent, bench(agent) as runs:
        run_id = await runs.start()
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, None)
        assert (await runs.ended(run_id)).run.status == "cancelled"
        await asyncio.wait_for(working.left.wait(), 5)


async def test_a_caller_of_invoke_who_leaves_stops_the_process() -> None:
    working = Working()
    async with stoppable(working) as (runs, stopper):
        run_id = ids.uuid7()
        task = asyncio.create_task(runs.runs.invoke(Call(None), run_id, 10))
        await working.at_work.wait()
        task.cancel()
        await asyncio.wait((task,))
        await asyncio.wait_for(working.left.wait(), 5)
        await wait_until(lambda: stopper.posts)
    assert [asked.json for asked in stopper.asked] == [{"run_id": run_id}]


async def test_a_time_limit_of_invoke_stops_the_process() -> None:
    working = Working()
    async with stoppable(working) as (runs, stopper):
        with pytest.raises(AgentTimedOut):
            await runs.invoke(limit=0.1)
        await wait_until(lambda: stopper.posts == 1 and working.left.is_set())


@pytest.mark.parametrize("limit", ["read_timeout", "total_timeout", "duration"])
async def test_every_time_limit_stops_the_process(limit: str) -> None:
    working = Working()
    given: dict[str, Any] = {limit: 0.1}
    async with stoppable(working, **given) as (runs, stopper):
        ended = await runs.run()
        assert ended.code == "TIMEOUT_ERROR"
        await wait_until(lambda: stopper.posts and working.left.is_set())
    assert [asked.json["run_id"] for asked in stopper.asked] == [ended.run.run_id]


async def test_a_shutdown_stops_the_process() -> None:
    working = Working()
    async with stoppable(working) as (runs, stopper):
        await runs.start()
        await working.at_work.wait()
        await runs.runs.drain(0)
        assert stopper.posts == 1
        assert working.left.is_set()


@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"complete","output":1}\n',
        b'{"type":"error","error":"own"}\n',
        b'{"type":"error","error":"own","code":"TIMEOUT_ERROR"}\n',
        b'{"type":"cancelled"}\n',
    ],
)
async def test_a_process_that_ends_its_run_is_not_told_to_stop(event: bytes) -> None:
    async with stoppable(bytes_of(NDJSON, event)) as (runs, stopper):
        await runs.run()
    assert stopper.asked == []


@pytest.mark.parametrize("answer", [accept, Working(b"")], ids=["accepted", "no answer yet"])
@pytest.mark.parametrize("end", [{"type": "complete", "output": 1}, {"type": "error", "error": "own"}])
async def test_a_process_that_pushes_the_end_is_not_told_to_stop(
    answer: Answer, end: dict[str, object]
) -> None:
    async with process(accept) as stopper, process(answer) as made:
        given = remote(made.url, cancel_url=stopper.url, ingest=10)
        async with given as agent, bench(agent) as runs, pusher(runs) as push:
            run_id = await start_kept(runs)
            await wait_until(lambda: made.posts)
            await push.push(run_id, end)
            assert (await runs.ended(run_id)).terminal["type"] == end["type"]
        assert stopper.asked == []


async def test_a_cancelled_run_that_was_accepted_tells_the_process() -> None:
    async with stoppable(accept, ingest=10) as (runs, stopper):
        run_id = await start_kept(runs)
        await runs.emitted(run_id, 1)
        await runs.runs.cancel(run_id, None)
        assert (await runs.ended(run_id)).run.status == "cancelled"
    assert [asked.json for asked in stopper.asked] == [{"run_id": run_id}]


async def test_an_accepted_run_that_falls_silent_tells_the_process() -> None:
    async with stoppable(accept, ingest=0.1) as (runs, stopper):
        ended = await runs.ended(await start_kept(runs))
        assert ended.code == "PRODUCER_TIMEOUT"
    assert [asked.json for asked in stopper.asked] == [{"run_id": ended.run.run_id}]


async def refuse(_asked: Asked, wire: Wire) -> None:
    await wire.whole("text/plain", b"no", "500 Oops")


async def hang_up(_asked: Asked, wire: Wire) -> None:
    wire.reset()


async def garble(_asked: Asked, wire: Wire) -> None:
    await wire.send(b"what?\r\n\r\n")


@pytest.mark.parametrize("stop", [refuse, hang_up, garble])
async def test_a_cancel_url_that_fails_changes_nothing(stop: Answer) -> None:
    working = Working()
    async with stoppable(working, stop) as (runs, stopper):
        run_id = await runs.start()
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, None)
        assert (await runs.ended(run_id)).run.status == "cancelled"
    assert stopper.posts == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://a..b/", "unix:/nowhere.sock:/"])
async def test_a_cancel_url_that_is_not_there_changes_nothing(url: str) -> None:
    working = Working()
    async with process(working) as made, remote(made.url, cancel_url=url) as agent, bench(agent) as runs:
        run_id = await runs.start()
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, None)
        assert (await runs.ended(run_id)).run.status == "cancelled"


async def test_a_cancel_url_that_never_answers_holds_a_run_up_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dockrion.agents.remote._STOP_TIMEOUT", 0.1)

    async def hang(_asked: Asked, wire: Wire) -> None:
        await wire.left()

    async with stoppable(Working(), hang) as (runs, stopper):
        run_id = await runs.start()
        await runs.emitted(run_id, 2)
        async with asyncio.timeout(2):
            await runs.runs.cancel(run_id, None)
        assert (await runs.ended(run_id)).run.status == "cancelled"
    assert stopper.posts == 1
