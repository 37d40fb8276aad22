"""The contract's promises about a run's events, over every transport."""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.auth import events_tokens
from dockrion.backends.fanout import Watch
from dockrion.backends.pages import Page
from dockrion.events import Entry
from dockrion.wire import ndjson, sse, websocket
from tests import support
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.web.helpers import Waits
from tests.web.transports.readers import (
    STREAMS,
    TRANSPORTS,
    WEBSOCKET,
    Received,
    Refused,
    all_of,
    invoking,
    sequences,
    until,
)

pytestmark = pytest.mark.usefixtures("every_backend")

TOKENS = 400
READERS = 3  # of each transport
KEEP_ALL: dict[str, Any] = {"redis": {"max_events_per_run": 1000}}
SMALL: dict[str, Any] = {"redis": {"max_events_per_run": 10}}
TERMINAL = {"complete", "error", "cancelled"}
every_transport = pytest.mark.parametrize("transport", TRANSPORTS)
every_stream = pytest.mark.parametrize("transport", STREAMS)
ENDS = {"sse": 204, "ndjson": 204}


class Fast:
    """A fast agent that admits each reader at its own random moment."""

    def __init__(self, readers: int) -> None:
        self.moments = [random.randrange(TOKENS) for _ in range(readers)]
        self.open = [asyncio.Event() for _ in range(readers)]
        self.joined = [asyncio.Event() for _ in range(readers)]

    async def __call__(self, _payload: Any, context: StreamContext) -> None:
        for number in range(TOKENS):
            await context.emit_token(f"token {number}\n\u2028")
            for index, moment in enumerate(self.moments):
                if moment == number:
                    self.open[index].set()
            if number % 10 == 0:
                await asyncio.sleep(0)
        for joined in self.joined:  # the run ends once all readers have joined
            await joined.wait()


async def read_from(served: Served, agent: Fast, index: int, transport: str) -> list[Received]:
    await agent.open[index].wait()
    async with TRANSPORTS[transport](served, "r") as stream:
        agent.joined[index].set()
        return await all_of(stream)


async def test_readers_of_every_transport_get_the_same_bytes_whenever_they_join(serve: Serve) -> None:
    transports = list(TRANSPORTS) * READERS
    served = await serve(agent := Fast(len(transports)), expose=WEBSOCKET, streaming=KEEP_ALL)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(read_from(served, agent, index, transport))
            for index, transport in enumerate(transports)
        ]
        await served.start(run_id="r")
    first, *others = [task.result() for task in tasks]
    assert sequences(first) == list(range(1, TOKENS + 3))
    assert [each.type for each in first if each.type in TERMINAL] == ["complete"]
    assert first[-1].type == "complete"
    assert all(other == first for other in others)


@every_transport
async def test_reader_who_reconnects_at_random_gets_every_event_once(serve: Serve, transport: str) -> None:
    served = await serve(agent := Fast(1), expose=WEBSOCKET, streaming=KEEP_ALL)
    await served.start(run_id="r")
    await agent.open[0].wait()
    agent.joined[0].set()
    got: list[Received] = []
    while not got or got[-1].type != "complete":
        left = random.randrange(1, TOKENS // 3)
        async with TRANSPORTS[transport](served, "r", from_sequence=len(got) + 1) as stream:
            async for each in stream:
                got.append(each)
                left -= 1
                if not left:
                    break
    assert sequences(got) == list(range(1, TOKENS + 3))


@every_stream
async def test_caller_gets_the_same_bytes_as_other_readers(serve: Serve, transport: str) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    async with invoking(served, transport) as caller:
        first = await until(caller, "token")
        agent.go.set()
        first += await all_of(caller)
    async with served.client.get("/runs") as response:
        run_id = (await response.json())["items"][0]["run_id"]
    async with TRANSPORTS["polling"](served, run_id) as late:
        assert await all_of(late) == first
    assert [each.type for each in first] == ["started", "token", "token", "complete"]


@every_stream
async def test_long_replay_lets_others_have_their_turn_after_each_page(
    serve: Serve, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.backends.follow.PAGE_EVENTS", 20)
    served = await serve(Fast(0), expose=WEBSOCKET, streaming=KEEP_ALL)
    await served.start(run_id="r")
    await served.finished("r")
    read, turns, turns_at_pages = served.service.backend.read, 0, []

    async def counted(*arguments: Any) -> Page:
        turns_at_pages.append(turns)
        return await read(*arguments)

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(served.service.backend, "read", counted)
    counting = asyncio.create_task(other())
    async with TRANSPORTS[transport](served, "r") as stream:
        assert sequences(await all_of(stream)) == list(range(1, TOKENS + 3))
    counting.cancel()
    assert len(turns_at_pages) >= TOKENS / 20
    assert all(after > before for before, after in pairwise(turns_at_pages))


@every_transport
async def test_status_is_terminal_right_after_the_terminal_event(serve: Serve, transport: str) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    agent.go.set()
    for _ in range(20):
        run_id = await served.start()
        async with TRANSPORTS[transport](served, run_id) as stream:
            await until(stream, "complete")
            assert (await served.record(run_id))["status"] == "completed"


@every_transport
async def test_dropped_events_are_reported_by_a_gap(serve: Serve, transport: str) -> None:
    served = await serve(Fast(0), expose=WEBSOCKET, streaming=SMALL)
    await served.start(run_id="r")
    await served.finished("r")
    async with TRANSPORTS[transport](served, "r", from_sequence=5) as stream:
        gap, *events = await all_of(stream)
    first = TOKENS + 3 - 10
    assert (gap.type, gap.sequence) == ("gap", None)
    assert f'"requested":5,"first_available":{first}}}'.encode() in gap.data
    assert sequences(events) == list(range(first, TOKENS + 3))


@every_transport
async def test_reader_beyond_the_end_of_a_live_run_gets_a_gap_before_its_first_event(
    serve: Serve, transport: str
) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET, streaming={"max_concurrent_runs": 1})
    await served.start()  # takes the only slot, so that the next run has no event yet
    await served.start(run_id="r")
    async with TRANSPORTS[transport](served, "r", from_sequence=9) as stream:
        reading = asyncio.create_task(until(stream, "token"))
        await wait_until(lambda: served.service.streams._deadlines)
        agent.go.set()
        agent.go.clear()  # so that the next run does not end at once
        gap, *events = await reading
        agent.go.set()
        events += await all_of(stream)
    assert (gap.type, gap.sequence) == ("gap", None)
    assert b'"requested":9,"first_available":1}' in gap.data
    assert sequences(events) == [1, 2, 3, 4]


@every_transport
async def test_reader_with_all_events_of_a_finished_run_gets_its_end(serve: Serve, transport: str) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    agent.go.set()
    await served.start(run_id="r")
    await served.finished("r")
    if transport in ENDS:
        with pytest.raises(Refused) as refused:
            async with TRANSPORTS[transport](served, "r", from_sequence=5):
                pass
        assert refused.value.code == ENDS[transport]
    else:
        async with TRANSPORTS[transport](served, "r", from_sequence=5) as stream:
            assert await all_of(stream) == []


@every_transport
async def test_unknown_run_is_not_found(serve: Serve, transport: str) -> None:
    served = await serve(expose=WEBSOCKET)
    with pytest.raises(Refused) as refused:
        async with TRANSPORTS[transport](served, "unknown") as stream:
            await all_of(stream)
    assert refused.value.code == (4404 if transport == "websocket" else 404)


@every_transport
async def test_readers_beyond_the_limit_are_refused(serve: Serve, transport: str) -> None:
    streaming = {"connection": {"max_subscribers_per_run": 1}}
    served = await serve(agent := Waits(), expose=WEBSOCKET, streaming=streaming)
    await served.start(run_id="r")
    async with TRANSPORTS["sse"](served, "r") as first:
        await until(first, "token")
        with pytest.raises(Refused) as refused:
            async with TRANSPORTS[transport](served, "r", from_sequence=3) as second:
                await all_of(second)
        agent.go.set()
        assert (await all_of(first))[-1].type == "complete"
    assert refused.value.code == (4429 if transport == "websocket" else 429)


def end_time(served: Served, seconds: float) -> None:
    """Let the time of the only stream be over now, after checking that it has so many seconds."""
    (deadline,) = served.service.streams._deadlines
    now, end = asyncio.get_running_loop().time(), deadline.when()
    assert end is not None
    assert seconds - TIMEOUT_SECONDS < end - now <= seconds
    deadline.reschedule(now)


@every_stream
async def test_timeout_ends_with_a_control_frame_and_can_be_resumed(serve: Serve, transport: str) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    await served.start(run_id="r")
    async with TRANSPORTS[transport](served, "r", timeout=77) as stream:
        got = await until(stream, "token")
        end_time(served, 77)
        got += await until(stream, "timeout")
        if transport == "websocket":
            with pytest.raises(Refused, match="4408"):
                await all_of(stream)
        else:
            assert await all_of(stream) == []
    assert sequences(got) == [1, 2]
    agent.go.set()
    async with TRANSPORTS[transport](served, "r", from_sequence=3) as stream:
        assert sequences(await all_of(stream)) == [3, 4]


@every_transport
async def test_waiting_readers_are_released_at_shutdown(serve: Serve, transport: str) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    await served.start(run_id="r")
    served.service.runs.draining = True  # while the run goes on
    async with TRANSPORTS[transport](served, "r") as stream:
        got = [await anext(stream), await anext(stream)]
        reading = asyncio.create_task(all_of(stream))
        await wait_until(lambda: served.service.streams._deadlines)
        if transport == "polling":
            agent.go.set()
        await served.service.streams.end(0)
        if transport == "websocket":
            with pytest.raises(Refused, match="1001"):
                await reading
        else:
            got += await reading
    assert [each.type for each in got][2:] == {
        "sse": [],  # a comment
        "ndjson": ["draining"],
        "polling": ["token", "complete"],  # the waiting request returns, and the client polls again
        "websocket": [],
    }[transport]
    agent.go.set()


@every_transport
async def test_reader_is_notified_when_its_token_expires(
    serve: Serve, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expiry, left = events_tokens.expiry, 9.0  # less than polling readers wait
    monkeypatch.setattr(
        events_tokens, "expiry", lambda *token: time.time() + left if left and expiry(*token) else None
    )
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=0123456789abcdef0123\n")
    served = await serve(agent := Waits(), expose=WEBSOCKET, auth={"mode": "api_key"})
    key = {"X-API-Key": "0123456789abcdef0123"}
    async with served.client.post("/runs?run_id=r", json={}, headers=key) as response:
        token = (await response.json())["events_token"]
    async with TRANSPORTS[transport](served, "r", token=token) as stream:
        got = [await anext(stream), await anext(stream)]

        async def read_rest() -> int | None:
            try:
                async for each in stream:
                    got.append(each)  # noqa: PERF401  what arrived before the refusal counts
            except Refused as refused:
                return refused.code
            return None

        reading = asyncio.create_task(read_rest())
        await wait_until(lambda: served.service.streams._deadlines)
        end_time(served, left)
        left = 0
        code = await reading
    assert sequences(got) == [1, 2]
    assert [each.type for each in got][2:] == ([] if transport == "polling" else ["auth_expired"])
    assert code == {"websocket": 1008, "polling": 401}.get(transport)
    agent.go.set()


@every_transport
async def test_run_that_is_cancelled_on_a_third_replica_ends_for_readers_on_a_second(
    serve: Serve, transport: str
) -> None:
    one = await serve(agent := Waits(), expose=WEBSOCKET)
    two, three = [await serve(expose=WEBSOCKET) if support.SHARED_REDIS else one for _ in range(2)]
    await one.start(run_id="r")
    async with TRANSPORTS[transport](two, "r") as stream:
        got = await until(stream, "token")
        async with three.client.delete("/runs/r?reason=enough") as response:
            assert response.status == 200
        got += await all_of(stream)
    assert [each.type for each in got] == ["started", "token", "cancelled"]
    assert sequences(got) == [1, 2, 3]
    assert b'"reason":"enough"' in got[-1].data
    assert (await three.record("r"))["status"] == "cancelled"
    assert agent.stopped


async def test_many_readers_of_every_transport_get_an_event_that_is_encoded_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    for framing in (sse, ndjson, websocket):
        monkeypatch.setattr(framing, "encode_events", noting(framing, encoded))
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    await served.start(run_id="r")
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(TRANSPORTS[transport](served, "r"))
            for transport in STREAMS
            for _ in range(30)
        ]
        for each in readers:
            await until(each, "token")
        assert served.service.metrics.requests.open_streams._value.get() == len(readers)
        await wait_until(lambda: all(watch._is_waiting for watch in watches(served)))
        agent.go.set()
        rests = await asyncio.gather(*map(all_of, readers))
    assert [each.type for each in rests[0]] == ["token", "complete"]
    assert all(rest == rests[0] for rest in rests)
    live = sorted(sequence for sequence in encoded if sequence >= 3)
    assert live == [3] * len(STREAMS) + [4] * len(STREAMS)


def watches(served: Served) -> Collection[Watch]:
    """Return the watches of the run `r`."""
    backend: Any = served.service.backend
    if support.SHARED_REDIS:
        return set(backend._subscriptions._subscriptions["r"].watches)
    return set(backend._logs["r"].watches)


def noting(framing: Any, encoded: list[int]) -> Callable[[Sequence[Entry]], bytes]:
    """Return the encoder of a framing, which notes what it encodes."""
    encode = framing.encode_events

    def encode_events(entries: Sequence[Entry]) -> bytes:
        encoded.extend(entry.sequence for entry in entries)
        return bytes(encode(entries))

    return encode_events
