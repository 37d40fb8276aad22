"""Streams in a protocol: whose readers share what they get, what keeps them alive, and how they end."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dockrion import StreamContext
from dockrion.backends import follow
from dockrion.errors import RunNotFound
from dockrion.web.protocols.stream import ProtocolStream
from tests.conftest import Serve
from tests.every_event import method_of
from tests.loop_clock import advance_until
from tests.support import wait_until
from tests.web.credentials import public_key
from tests.web.helpers import Waits, error_of
from tests.web.protocols.tiny import ENCODER, TINY, read, streams_open
from tests.web.test_auth_expired import expire
from tests.web.test_slow_readers import EVENTS, KEEP_ALL, MAX_BUFFERED, Drip, Flood, buffered, ended
from tests.web.wire import request, shrink_buffers, silent, wire

pytestmark = pytest.mark.usefixtures("tiny")
ASK = b'{"text":"Hi"}'
OPEN, FIRST, LAST = (b'id: 1\ndata: "open"\n\n', b'id: 2\ndata: "first"\n\n', b'id: 3\ndata: "last"\n\n')
END = b'id: 4\ndata: "close"\n\nid: 5\ndata: {"end":"complete"}\n\n'
WHOLE = OPEN + FIRST + LAST + END


class Steps:
    """An agent that emits a token, and event by event what the test wants."""

    def __init__(self) -> None:
        self.wanted: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        await context.emit_token("first")
        while (fields := await self.wanted.get()) is not None:
            method, arguments = method_of(fields)
            await getattr(context, method)(**arguments)

    def emit(self, event_type: str, **fields: Any) -> None:
        self.wanted.put_nowait({"type": event_type, **fields})

    def end(self) -> None:
        self.wanted.put_nowait(None)


@pytest.mark.usefixtures("every_backend")
async def test_readers_get_the_same_frames_whenever_they_come(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=TINY)
    async with served.client.post(
        "/tiny", data=ASK, headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 200, await response.text()
        run_id = response.headers["X-Run-Id"]
        assert response.content_type == "text/event-stream"
        assert await response.content.readexactly(len(OPEN + FIRST)) == OPEN + FIRST
        reading = asyncio.create_task(read(served, run_id))
        await streams_open(served, 2)
        agent.go.set()
        assert OPEN + FIRST + await response.read() == WHOLE
        assert await reading == WHOLE
    assert await read(served, run_id) == WHOLE
    assert agent.payloads == [{"messages": [{"role": "user", "content": "Hi"}]}]


async def test_readers_at_one_position_share_frames_and_state(serve: Serve) -> None:
    served = await serve(agent := Steps(), expose=TINY)
    run_id = await served.start()
    readers = [asyncio.create_task(read(served, run_id)) for _ in range(20)]
    await streams_open(served, 20)
    await wait_until(lambda: ENCODER.calls)
    for number in range(3, 13):
        agent.emit("token", content="x")
        await wait_until(lambda number=number: number in ENCODER.calls)  # type: ignore[misc]
    streams = [each for each in gc.get_objects() if type(each) is ProtocolStream and each._run_id == run_id]
    assert len(streams) == 20
    assert len({id(each._state) for each in streams}) == 1
    agent.end()
    bodies = await asyncio.gather(*readers)
    assert len(set(bodies)) == 1
    live = [sequence for sequence in ENCODER.calls if 3 <= sequence <= 12]
    assert live == list(range(3, 13))


async def test_reader_after_a_gap_shares_no_frames_with_one_who_has_everything(serve: Serve) -> None:
    served = await serve(agent := Steps(), expose=TINY, streaming={"redis": {"max_events_per_run": 10}})
    run_id = await served.start()
    reading = [asyncio.create_task(read(served, run_id))]
    await streams_open(served, 1)
    for number in range(3, 24):
        if number == 23:  # the others are 10 and more behind it
            reading.append(asyncio.create_task(read(served, run_id)))
            await wait_until(lambda: ENCODER.calls.count(13) == 2)
        agent.emit("token", content="x")
        await wait_until(lambda number=number: number in ENCODER.calls)  # type: ignore[misc]
    agent.end()
    everything, late = await asyncio.gather(*reading)
    assert everything == frames_of("open", "first", *["x"] * 21, "close", {"end": "complete"})
    assert late == b'data: {"lost":1}\n\n' + frames_of("open", *["x"] * 11, "close", {"end": "complete"})


def frames_of(*parts: Any) -> bytes:
    numbered = enumerate(map(msgspec.json.encode, parts), 1)
    return b"".join(b"id: %d\ndata: %s\n\n" % each for each in numbered)


async def test_default_timeout_does_not_end_the_callers_stream(serve: Serve) -> None:
    streaming = {"connection": {"default_timeout": 0.3}}
    served = await serve(agent := Waits(), expose=TINY, streaming=streaming)
    async with served.client.post("/tiny", json={"text": "Hi"}) as response:
        async with served.events(response.headers["X-Run-Id"]) as other:
            assert (await other.all())[-1].event == "timeout"
        agent.go.set()
        assert await response.read() == WHOLE


async def test_connection_is_kept_alive_while_no_event_is_shown(serve: Serve) -> None:
    served = await serve(agent := Steps(), expose=TINY, streaming={"events": {"heartbeat_interval": 0.3}})
    run_id = await served.start()

    async def work() -> None:
        while True:
            agent.emit("progress", step="s", progress=0.5)
            await asyncio.sleep(0.2)

    working = asyncio.create_task(work())
    async with wire(served) as connection:
        await connection.ask("GET", f"/tiny/{run_id}")
        await connection.head()
        assert await connection.chunk() == OPEN + FIRST
        assert await connection.chunk() == b": keep-alive\n"
        working.cancel()
        assert await connection.chunk() == b": keep-alive\n"  # without any event, too
        agent.end()
        rest = await connection.body()
        rest = rest.replace(b": keep-alive\n", b"")  # as many as there is time for on a busy machine
        assert rest == b'id: 3\ndata: "close"\n\nid: 4\ndata: {"end":"complete"}\n\n'


async def test_event_without_frames_writes_nothing(serve: Serve) -> None:
    served = await serve(agent := Steps(), expose=TINY)
    run_id = await served.start()
    async with wire(served) as connection:
        await connection.ask("GET", f"/tiny/{run_id}")
        await connection.head()
        assert await connection.chunk() == OPEN + FIRST  # not an empty chunk for `started`
        agent.emit("progress", step="s", progress=0.5)
        await wait_until(lambda: 3 in ENCODER.calls)
        agent.emit("token", content="x")
        assert await connection.chunk() == b'id: 3\ndata: "x"\n\n'
        agent.end()
        await connection.body()


async def test_http_1_0_gets_the_frames_without_chunks(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=TINY)
    run_id = await served.start()
    async with wire(served) as connection:
        await connection.ask("GET", f"/tiny/{run_id}", version="1.0")
        _, headers = await connection.head()
        assert "transfer-encoding" not in headers
        assert await connection.until(FIRST) == OPEN + FIRST
        agent.go.set()
        assert await connection.rest() == LAST + END


async def test_stalled_reader_is_cut_off_and_delays_nobody(serve: Serve) -> None:
    served = await serve(agent := Flood(), expose=TINY, streaming=KEEP_ALL)
    shrink_buffers(served)
    await served.start(run_id="r")
    async with silent(served, request("GET", "/tiny/r")) as client:
        await agent.emitted_all.wait()
        reading = asyncio.create_task(read(served, "r"))
        agent.go.set()
        assert (await reading).count(b"\n\n") == EVENTS + 3
        assert not ended(served)()
        await advance_until(ended(served))
        raw, _ = await client.rest()
    assert b"close" not in raw
    assert not raw.endswith(b"0\r\n\r\n")
    assert buffered(served) == 0


async def test_stalled_reader_of_single_events_costs_bounded_memory(serve: Serve) -> None:
    served = await serve(agent := Drip(), expose=TINY, streaming=KEEP_ALL)
    shrink_buffers(served)
    await served.start(run_id="r")
    async with silent(served, request("GET", "/tiny/r")):
        await streams_open(served, 1)
        agent.begin.set()
        await agent.emitted_all.wait()
        assert 0 < buffered(served) < MAX_BUFFERED
    await served.finished("r")


async def test_gap_is_told_in_frames_and_the_rest_follows(serve: Serve) -> None:
    async def burst(_payload: Any, context: StreamContext) -> None:
        for number in range(20):
            await context.emit_token(f"{number}")

    served = await serve(burst, expose=TINY, streaming={"redis": {"max_events_per_run": 10}})
    run_id = await served.start()
    await served.finished(run_id)
    body = await read(served, run_id)
    first, second, *_ = body.split(b"\n\n")
    assert first == b'data: {"lost":1}'
    assert second == b'id: 1\ndata: "open"'
    assert body.endswith(b'data: "19"\n\nid: 11\ndata: "close"\n\nid: 12\ndata: {"end":"complete"}\n\n')


async def lost(run_id: str, *_arguments: Any) -> None:
    raise RunNotFound(run_id)


@pytest.mark.parametrize("how", ["timeout", "draining", "auth_expired", "gone"])
async def test_stream_that_ends_before_the_run_says_why(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(follow, "_RECREATED_SECONDS", 0.1)
    async with public_key() as mode:
        served = await serve(agent := Waits(), expose=TINY, **mode.sections(tmp_path))
        headers = mode.key("owner")
        async with served.client.post("/runs", json={}, headers=headers) as response:
            run_id = (await response.json())["run_id"]
        timeout = {"timeout": "1" if how == "timeout" else "3600"}
        async with served.client.get(f"/tiny/{run_id}", headers=headers, params=timeout) as response:
            assert await response.content.readexactly(len(OPEN + FIRST)) == OPEN + FIRST
            if how == "auth_expired":
                expire(served)
            elif how == "draining":
                served.service.runs.draining = True
                await served.service.streams.end(0)
            elif how == "gone":
                monkeypatch.setattr(served.backend, "read", lost)
                agent.go.set()  # this event is still written as it is appended
            shown = LAST if how == "gone" else b""
            assert await response.read() == shown + b"event: %s\ndata: {}\n\n" % how.encode()
        agent.go.set()
        await wait_until(lambda: agent.ended)


async def test_stream_that_the_protocol_ends_neither_waits_nor_cancels(serve: Serve) -> None:
    async def agent(_payload: Any, context: StreamContext) -> Any:
        return await context.ask("Send it?")

    served = await serve(agent, expose=TINY)
    async with served.client.post("/tiny", json={"text": "Hi"}) as response:
        run_id = response.headers["X-Run-Id"]
        assert await response.read() == b'id: 1\ndata: {"end":"input_requested"}\n\n'
    record = await served.record(run_id)
    assert record["status"] == "running"
    assert await read(served, run_id) == b'id: 1\ndata: {"end":"input_requested"}\n\n'
    assert await read(served, run_id, last=1) == b""
    question = record["waiting_for"]["request_id"]
    async with served.client.post(
        f"/runs/{run_id}/input", json={"request_id": question, "value": True}
    ) as response:
        assert response.status == 202, await response.text()
    assert (await served.finished(run_id))["output"] is True


@pytest.mark.parametrize("choice", ["cancel", "continue"])
async def test_caller_who_leaves_stops_the_agent_unless_it_is_to_go_on(serve: Serve, choice: str) -> None:
    served = await serve(agent := Waits(), expose=TINY)
    async with served.client.post("/tiny", json={"text": "Hi"}, params={"on_disconnect": choice}) as response:
        run_id = response.headers["X-Run-Id"]
        await response.content.readexactly(len(OPEN + FIRST))
        response.close()
    if choice == "continue":
        await streams_open(served, 0)
        agent.go.set()
    status = (await served.finished(run_id))["status"]
    assert status == ("cancelled" if choice == "cancel" else "completed")
    if choice == "cancel":
        assert (await read(served, run_id)).endswith(b'data: {"end":"cancelled"}\n\n')


async def test_too_many_readers_are_refused_before_the_stream_begins(serve: Serve) -> None:
    one = {"connection": {"max_subscribers_per_run": 1}}
    served = await serve(agent := Waits(), expose=TINY, streaming=one)
    run_id = await served.start()
    reading = asyncio.create_task(read(served, run_id))
    await streams_open(served, 1)
    async with served.client.get(f"/tiny/{run_id}") as response:
        await error_of(response, 429, "TOO_MANY_SUBSCRIBERS")
    agent.go.set()
    assert await reading == WHOLE


async def test_encoder_that_fails_cuts_the_stream_off_and_is_logged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(agent := Steps(), expose=TINY)
    run_id = await served.start()
    async with wire(served) as connection, served.events(run_id) as plain:
        await connection.ask("GET", f"/tiny/{run_id}")
        await connection.head()
        assert await connection.chunk() == OPEN + FIRST
        agent.emit("token", content="break the encoder")
        assert await connection.rest() == b""
        agent.end()
        assert (await plain.all())[-1].event == "complete"  # others see all of the run
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["stream broke"]
