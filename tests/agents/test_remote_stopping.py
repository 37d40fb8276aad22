"""Stopped runs: the connection is closed, and the process is request to stop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dockrion import ids
from dockrion.agents.remote_run import STOP_TIMEOUT
from dockrion.backends.owner_messages import RunRef
from dockrion.caller import CallerRequest
from dockrion.errors import AgentTimedOut
from dockrion.runs import execution
from dockrion.runs.agent import Call
from tests.agents.harness import Bench, bench
from tests.agents.processes import (
    NDJSON,
    Handler,
    Process,
    ReceivedRequest,
    Wire,
    bytes_of,
    process,
    pusher,
    remote,
    start_with_events_url,
)
from tests.loop_clock import advance
from tests.support import TIMEOUT_SECONDS, wait_until

TOKEN = b'{"type":"token","content":"a"}\n'


class Working:
    """A process that starts a response, and records when its client disconnects."""

    def __init__(self, begun: bytes = TOKEN) -> None:
        self.begun = begun
        self.at_work = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, _request: ReceivedRequest, wire: Wire) -> None:
        if self.begun:
            await wire.begin(NDJSON)
            await wire.send(self.begun)
        self.at_work.set()
        await wire.disconnected()
        self.left.set()
        wire.close()


async def accept(_request: ReceivedRequest, wire: Wire) -> None:
    await wire.whole(None, status="202 Accepted")


@asynccontextmanager
async def stoppable(
    answer: Handler, stop: Handler = accept, *, ingest: float | None = None, duration: float = 60, **spec: Any
) -> AsyncIterator[tuple[Bench, Process]]:
    """Serve a process together with its cancel URL, and return the process."""
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
    runs.runs.caller_left(RunRef(run_id, None), cancel=True)


@pytest.mark.parametrize("stop", [cancel, leave])
@pytest.mark.parametrize("begun", [TOKEN, b""], ids=["in the answer", "before the answer"])
async def test_stopped_run_closes_the_connection_and_requests_the_stop_once(
    stop: Callable[[Bench, str], Awaitable[None]], begun: bytes
) -> None:
    working = Working(begun)
    async with stoppable(working) as (runs, stopper):
        run_id = await runs.start()
        await working.at_work.wait()
        await stop(runs, run_id)
        assert (await runs.ended(run_id)).run.status == "cancelled"
        await asyncio.wait_for(working.left.wait(), TIMEOUT_SECONDS)
    (request,) = stopper.requests
    assert (request.method, request.json) == ("POST", {"run_id": run_id})
    assert request.headers["x-dockrion-run-id"] == run_id
    assert request.headers["content-type"] == "application/json"


async def test_the_request_to_stop_continues_the_trace_and_has_the_id_of_the_request() -> None:
    working = Working()
    request = CallerRequest("00-trace", request_id="req-1", tracestate="a=1")
    async with stoppable(working) as (runs, stopper):
        run_id = await runs.start(request=request)
        await working.at_work.wait()
        await cancel(runs, run_id)
        await runs.ended(run_id)
    (stop,) = stopper.requests
    sent = {name: stop.headers[name.lower()] for name in request.context_headers}
    assert sent == {"traceparent": "00-trace", "tracestate": "a=1", "X-Request-ID": "req-1"}


async def test_without_a_cancel_url_the_connection_is_closed() -> None:
    working = Working()
    async with process(working) as made, remote(made.url) as agent, bench(agent) as runs:
        run_id = await runs.start()
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, None)
        assert (await runs.ended(run_id)).run.status == "cancelled"
        await asyncio.wait_for(working.left.wait(), TIMEOUT_SECONDS)


async def test_disconnected_caller_of_invoke_stops_the_process() -> None:
    working = Working()
    async with stoppable(working) as (runs, stopper):
        run_id = ids.uuid7()
        task = asyncio.create_task(runs.runs.invoke(Call(None), run_id, 10))
        await working.at_work.wait()
        task.cancel()
        await asyncio.wait((task,))
        await asyncio.wait_for(working.left.wait(), TIMEOUT_SECONDS)
        await wait_until(lambda: stopper.posts)
    assert [request.json for request in stopper.requests] == [{"run_id": run_id}]


async def test_time_limit_of_invoke_stops_the_process() -> None:
    working = Working()
    async with stoppable(working) as (runs, stopper):
        invoking = asyncio.create_task(runs.invoke(limit=5))
        await working.at_work.wait()
        await advance(5)
        with pytest.raises(AgentTimedOut):
            await invoking
        await wait_until(lambda: stopper.posts == 1 and working.left.is_set())


@pytest.mark.parametrize("limit", ["read_timeout", "total_timeout", "duration"])
async def test_every_time_limit_stops_the_process(limit: str) -> None:
    working = Working()
    given: dict[str, Any] = {limit: 5}
    async with stoppable(working, **given) as (runs, stopper):
        run_id = await runs.start()
        await runs.emitted(run_id, 2)
        await advance(5)
        ended = await runs.ended(run_id)
        assert ended.code == "TIMEOUT_ERROR"
        await wait_until(lambda: stopper.posts and working.left.is_set())
    assert [request.json["run_id"] for request in stopper.requests] == [ended.run.run_id]


async def test_shutdown_stops_the_process() -> None:
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
async def test_process_that_ended_its_run_gets_no_stop_request(event: bytes) -> None:
    async with stoppable(bytes_of(NDJSON, event)) as (runs, stopper):
        await runs.run()
    assert stopper.requests == []


@pytest.mark.parametrize("answer", [accept, Working(b"")], ids=["accepted", "no answer yet"])
@pytest.mark.parametrize("end", [{"type": "complete", "output": 1}, {"type": "error", "error": "own"}])
async def test_process_that_pushed_the_end_gets_no_stop_request(
    answer: Handler, end: dict[str, object]
) -> None:
    async with process(accept) as stopper, process(answer) as made:
        given = remote(made.url, cancel_url=stopper.url, ingest=10)
        async with given as agent, bench(agent) as runs, pusher(runs) as push:
            run_id = await start_with_events_url(runs)
            await wait_until(lambda: made.posts)
            await push.push(run_id, end)
            assert (await runs.ended(run_id)).terminal["type"] == end["type"]
        assert stopper.requests == []


async def test_cancel_of_an_accepted_run_requests_the_stop() -> None:
    async with stoppable(accept, ingest=10) as (runs, stopper):
        run_id = await start_with_events_url(runs)
        await runs.emitted(run_id, 1)
        await runs.runs.cancel(run_id, None)
        assert (await runs.ended(run_id)).run.status == "cancelled"
    assert [request.json for request in stopper.requests] == [{"run_id": run_id}]


async def test_idle_accepted_run_requests_the_stop() -> None:
    async with stoppable(accept, ingest=0.1) as (runs, stopper):
        ended = await runs.ended(await start_with_events_url(runs))
        assert ended.code == "PRODUCER_TIMEOUT"
    assert [request.json for request in stopper.requests] == [{"run_id": ended.run.run_id}]


async def refuse(_request: ReceivedRequest, wire: Wire) -> None:
    await wire.whole("text/plain", b"no", "500 Oops")


async def hang_up(_request: ReceivedRequest, wire: Wire) -> None:
    wire.reset()


async def garble(_request: ReceivedRequest, wire: Wire) -> None:
    await wire.send(b"what?\r\n\r\n")


@pytest.mark.parametrize("stop", [refuse, hang_up, garble])
async def test_failing_cancel_url_changes_nothing(stop: Handler) -> None:
    working = Working()
    async with stoppable(working, stop) as (runs, stopper):
        run_id = await runs.start()
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, None)
        assert (await runs.ended(run_id)).run.status == "cancelled"
    assert stopper.posts == 1


async def test_failing_cancel_url_leaves_the_reason_of_the_stop(caplog: pytest.LogCaptureFixture) -> None:
    async with stoppable(Working(), hang_up, read_timeout=0.1) as (runs, _):
        assert (await runs.run()).code == AgentTimedOut.code
    (line,) = (record for record in caplog.records if record.message == "agent process stop request failed")
    assert "Error" in line.__dict__["fields"]["reason"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://a..b/", "unix:/nowhere.sock:/"])
async def test_unreachable_cancel_url_changes_nothing(url: str) -> None:
    working = Working()
    async with process(working) as made, remote(made.url, cancel_url=url) as agent, bench(agent) as runs:
        run_id = await runs.start()
        await runs.emitted(run_id, 2)
        await runs.runs.cancel(run_id, None)
        assert (await runs.ended(run_id)).run.status == "cancelled"


async def test_cancel_url_without_a_response_delays_the_end_briefly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(execution, "STOP_SECONDS", 6 * TIMEOUT_SECONDS)

    async def hang(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.disconnected()

    async with stoppable(Working(), hang) as (runs, stopper):
        run_id = await runs.start()
        await runs.emitted(run_id, 2)
        cancelling = asyncio.create_task(runs.runs.cancel(run_id, None))
        await wait_until(lambda: stopper.posts == 1)
        await advance(STOP_TIMEOUT)
        await asyncio.wait_for(cancelling, TIMEOUT_SECONDS)
        assert (await runs.ended(run_id)).run.status == "cancelled"
    assert stopper.posts == 1
