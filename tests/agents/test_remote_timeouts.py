"""Timeouts and back-pressure of agent processes."""

import asyncio
import socket
import time
import tracemalloc
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from dockrion.agents.external import IdleTimeout
from dockrion.agents.remote_run import _ERROR_BODY_TIMEOUT
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.run_log import Run
from dockrion.events import Entry, EventFilter
from dockrion.runs.session import RunSession
from tests.agents.harness import bench
from tests.agents.processes import (
    JSON,
    NDJSON,
    SSE,
    ReceivedRequest,
    Wire,
    process,
    pusher,
    remote,
    run_against,
    served,
    start_with_events_url,
)
from tests.loop_clock import advance
from tests.support import TIMEOUT_SECONDS, wait_until

TOKEN = b'{"type":"token","content":"a"}\n'
COMPLETE = b'{"type":"complete","output":1}\n'


class Stalling(MemoryBackend):
    """Blocks after the first batch until it is released."""

    def __init__(self) -> None:
        super().__init__(max_events=200_000, ttl=3600)
        self.go = asyncio.Event()
        self.requests = 0

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        self.requests += 1
        if self.requests > 1:
            await self.go.wait()
        await super().append(run, entries)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", TOKEN])
async def test_silent_process_times_out(said: bytes) -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        if said == TOKEN:
            await wire.begin(NDJSON)
        await wire.send(said)
        await wire.disconnected()

    ended = await run_against(answer, read_timeout=0.1)
    assert ended.code == "TIMEOUT_ERROR"
    assert ended.error == "the agent process has sent nothing for 0.1 s"


async def test_slow_process_does_not_time_out() -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(NDJSON)
        for number in range(3):
            await wire.send(TOKEN)
            await runs.emitted(run_id, 2 + number)
            await advance(4)
        await wire.send(COMPLETE)
        wire.close()

    async with served(answer, read_timeout=6) as (runs, _):
        run_id = await runs.start()
        assert (await runs.ended(run_id)).output == 1


async def test_comments_of_an_event_stream_count_as_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    restarts = 0
    restart = IdleTimeout.restart

    def counted(idle: IdleTimeout) -> None:
        nonlocal restarts
        restart(idle)
        restarts += 1

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(SSE)
        for _ in range(2):
            before = restarts
            await wire.send(b": still here\n\n")
            await wait_until(lambda before=before: restarts > before)  # type: ignore[misc]
            await advance(4)
        await wire.send(b'event: complete\ndata: {"output":1}\n\n')
        wire.close()

    monkeypatch.setattr(IdleTimeout, "restart", counted)
    assert (await run_against(answer, read_timeout=6)).output == 1


async def test_endless_response_times_out() -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(NDJSON)
        await advance(5)
        while True:
            await wire.send(TOKEN)
            await asyncio.sleep(0.01)

    ended = await run_against(answer, read_timeout=30, total_timeout=5)
    assert ended.code == "TIMEOUT_ERROR"
    assert "within 5 s" in ended.error


async def test_error_status_with_a_stalled_body_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = 0
    pause = IdleTimeout.pause

    def counted(idle: IdleTimeout) -> None:
        nonlocal pauses
        pause(idle)
        pauses += 1

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        before = pauses
        await wire.begin("text/plain", "500 Oops", Content_Length="100")
        await wire.send(b"so far")
        await wait_until(lambda: pauses > before)
        await advance(_ERROR_BODY_TIMEOUT)
        await wire.disconnected()

    monkeypatch.setattr(IdleTimeout, "pause", counted)
    ended = await run_against(answer, read_timeout=1.5)
    assert ended.terminal["details"] == {"status": 500, "body": "so far"}


async def test_stalled_storage_does_not_time_the_process_out() -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(NDJSON)
        await wire.send(TOKEN * 2000)
        await wire.send(COMPLETE)
        wire.close()

    backend = Stalling()
    async with (
        process(answer) as made,
        remote(made.url, read_timeout=5) as agent,
        bench(agent, backend=backend) as runs,
    ):
        run_id = await runs.start()
        await wait_until(lambda: backend.requests > 1)
        for _ in range(3):
            await advance(5)
        backend.go.set()
        ended = await runs.ended(run_id)
    assert ended.output == 1
    assert len(ended.tokens) == 2000


async def test_stalled_storage_applies_back_pressure_to_the_process() -> None:
    wires: list[Wire] = []

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        wires.append(wire)
        await wire.begin(NDJSON)
        while True:
            await wire.send(TOKEN * 1000)

    backend = Stalling()
    async with process(answer) as made, remote(made.url) as agent, bench(agent, backend=backend) as runs:
        run_id = await runs.start()
        sent = -1
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not wires or wires[0].sent != sent:
                sent = wires[0].sent if wires else -1
                await asyncio.sleep(0.1)
        assert 0 < sent < 20_000_000
        backend.go.set()
        await runs.runs.cancel(run_id, None)
        await runs.ended(run_id)


@pytest.mark.parametrize(("content_type", "start"), [(JSON, b'"'), (NDJSON, b'"'), (SSE, b"data: ")])
async def test_endless_response_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch, content_type: str, start: bytes
) -> None:
    monkeypatch.setattr("dockrion.agents.responses.MAX_PART_BYTES", 1_000_000)

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(content_type)
        await wire.send(start)
        while True:
            await wire.send(b"x" * 65536)

    tracemalloc.start()
    try:
        ended = await run_against(answer)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ended.code == "AGENT_PROTOCOL_ERROR"
    assert peak < 5_000_000


async def test_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(4):  # the first fill the queue of a process that takes no connection
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        async with remote(url, connect_timeout=0.2) as agent, bench(agent) as runs:
            ended = await runs.run()
    assert ended.code == "AGENT_DISCONNECTED"
    assert ended.error == "the agent process cannot be reached"


async def test_pushed_events_count_as_activity() -> None:
    over = asyncio.Event()

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await over.wait()
        await wire.whole(JSON, b"1")

    async with served(answer, read_timeout=6, ingest=10) as (runs, made), pusher(runs) as push:
        run_id = await start_with_events_url(runs)
        await wait_until(lambda: made.posts)
        for _ in range(4):
            await push.push(run_id, {"type": "token", "content": "p"})
            await advance(4)
        over.set()
        ended = await runs.ended(run_id)
    assert ended.output == 1
    assert ended.tokens == ["p"] * 4


async def test_push_does_not_restart_a_paused_timeout() -> None:
    session = RunSession("run", EventFilter(), None)
    idle = IdleTimeout(session, 5)
    async with idle.running():
        idle.pause()
        await session.from_process.push([], 0)
        for _ in range(3):
            await advance(5)
    assert not idle.expired


async def test_stalled_event_loop_does_not_time_the_process_out() -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(NDJSON)
        await wire.send(TOKEN)
        await runs.emitted(run_id, 2)
        await wire.send(COMPLETE)
        time.sleep(0.4)
        wire.close()

    async with served(answer, read_timeout=0.2) as (runs, _):
        run_id = await runs.start()
        ended = await runs.ended(run_id)
    assert ended.output == 1


async def test_timeouts_leave_nothing_behind_for_the_next_run() -> None:
    async def answer(request: ReceivedRequest, wire: Wire) -> None:
        if request.json == "silent":
            await wire.disconnected()
        await wire.whole(JSON, b"1")

    async with served(answer, read_timeout=5) as (runs, _):
        silent = await runs.start("silent")
        results = await asyncio.gather(*(runs.run("quick") for _ in range(2)))
        await advance(5)
        assert [each.run.status for each in results] == ["completed"] * 2
        assert (await runs.ended(silent)).code == "TIMEOUT_ERROR"
        assert (await runs.run("quick")).output == 1
