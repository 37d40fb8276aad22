"""The promises about a run's events, over every transport."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.auth import events_tokens
from tests.conftest import Serve
from tests.support import Served, wait_until
from tests.web.helpers import Waits
from tests.web.transports.carriers import (
    STREAMS,
    WATCHING,
    WEBSOCKET,
    Heard,
    Refused,
    all_of,
    asking,
    sequences,
    until,
)

pytestmark = pytest.mark.usefixtures("every_backend")

TOKENS = 400
READERS = 3  # of each transport
KEEP_ALL: dict[str, Any] = {"redis": {"max_events_per_run": 1000}}
SMALL: dict[str, Any] = {"redis": {"max_events_per_run": 10}}
TERMINAL = {"complete", "error", "cancelled"}
every_transport = pytest.mark.parametrize("transport", WATCHING)
every_stream = pytest.mark.parametrize("transport", STREAMS)
ENDS = {"sse": 204, "ndjson": 204}


class Fast:
    """A fast agent that lets readers in at the moments they chose."""

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
        for joined in self.joined:  # the end comes when everybody is there
            await joined.wait()


async def read_from(served: Served, agent: Fast, index: int, transport: str) -> list[Heard]:
    await agent.open[index].wait()
    async with WATCHING[transport](served, "r") as heards:
        agent.joined[index].set()
        return await all_of(heards)


async def test_readers_of_every_transport_get_the_same_bytes_whenever_they_join(serve: Serve) -> None:
    transports = list(WATCHING) * READERS
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
    got: list[Heard] = []
    while not got or got[-1].type != "complete":
        left = random.randrange(1, TOKENS // 3)
        async with WATCHING[transport](served, "r", from_sequence=len(got) + 1) as heards:
            async for each in heards:
                got.append(each)
                left -= 1
                if not left:
                    break
    assert sequences(got) == list(range(1, TOKENS + 3))


@every_stream
async def test_caller_gets_the_bytes_of_every_other_reader(serve: Serve, transport: str) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    async with asking(served, transport) as caller:
        first = await until(caller, "token")
        agent.go.set()
        first += await all_of(caller)
    async with served.client.get("/runs") as answer:
        run_id = (await answer.json())["items"][0]["run_id"]
    async with WATCHING["polling"](served, run_id) as late:
        assert await all_of(late) == first
    assert [each.type for each in first] == ["started", "token", "token", "complete"]


@every_transport
async def test_status_is_terminal_right_after_the_terminal_event(serve: Serve, transport: str) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    agent.go.set()
    for _ in range(20):
        run_id = await served.start()
        async with WATCHING[transport](served, run_id) as heards:
            await until(heards, "complete")
            assert (await served.record(run_id))["status"] == "completed"


@every_transport
async def test_lost_events_are_said(serve: Serve, transport: str) -> None:
    served = await serve(Fast(0), expose=WEBSOCKET, streaming=SMALL)
    await served.start(run_id="r")
    await served.finished("r")
    async with WATCHING[transport](served, "r", from_sequence=5) as heards:
        gap, *events = await all_of(heards)
    first = TOKENS + 3 - 10
    assert (gap.type, gap.sequence) == ("gap", None)
    assert f'"requested":5,"first_available":{first}}}'.encode() in gap.data
    assert sequences(events) == list(range(first, TOKENS + 3))


@every_transport
async def test_reader_who_has_everything_of_a_finished_run_is_told(serve: Serve, transport: str) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    agent.go.set()
    await served.start(run_id="r")
    await served.finished("r")
    if transport in ENDS:
        with pytest.raises(Refused) as refused:
            async with WATCHING[transport](served, "r", from_sequence=5):
                pass
        assert refused.value.code == ENDS[transport]
    else:
        async with WATCHING[transport](served, "r", from_sequence=5) as heards:
            assert await all_of(heards) == []


@every_transport
async def test_unknown_run_is_not_found(serve: Serve, transport: str) -> None:
    served = await serve(expose=WEBSOCKET)
    with pytest.raises(Refused) as refused:
        async with WATCHING[transport](served, "nobody") as heards:
            await all_of(heards)
    assert refused.value.code == (4404 if transport == "websocket" else 404)


@every_transport
async def test_readers_beyond_the_limit_are_refused(serve: Serve, transport: str) -> None:
    streaming = {"connection": {"max_subscribers_per_run": 1}}
    served = await serve(agent := Waits(), expose=WEBSOCKET, streaming=streaming)
    await served.start(run_id="r")
    async with WATCHING["sse"](served, "r") as first:
        await until(first, "token")
        with pytest.raises(Refused) as refused:
            async with WATCHING[transport](served, "r", from_sequence=3) as second:
                await all_of(second)
        agent.go.set()
        assert (await all_of(first))[-1].type == "complete"
    assert refused.value.code == (4429 if transport == "websocket" else 429)


@every_stream
async def test_time_of_a_connection_ends_with_words_and_is_resumed(serve: Serve, transport: str) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    await served.start(run_id="r")
    async with WATCHING[transport](served, "r", timeout=1) as heards:
        got = await until(heards, "timeout")
        if transport == "websocket":
            with pytest.raises(Refused, match="4408"):
                await all_of(heards)
        else:
            assert await all_of(heards) == []
    assert sequences(got) == [1, 2]
    agent.go.set()
    async with WATCHING[transport](served, "r", from_sequence=3) as heards:
        assert sequences(await all_of(heards)) == [3, 4]


@every_transport
async def test_waiting_readers_are_let_go_when_the_service_ends(serve: Serve, transport: str) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    await served.start(run_id="r")
    served.service.runs.draining = True  # while the run goes on
    async with WATCHING[transport](served, "r") as heards:
        got = [await anext(heards), await anext(heards)]
        reading = asyncio.create_task(all_of(heards))
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
        "polling": ["token", "complete"],  # what waits is answered, and asks again
        "websocket": [],
    }[transport]
    agent.go.set()


@every_transport
async def test_reader_whose_token_expires_is_told(
    serve: Serve, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_tokens, "LIFETIME_SECONDS", 2)
    (tmp_path / ".env").write_text("DOCKRION_API_KEY=0123456789abcdef0123\n")
    served = await serve(agent := Waits(), expose=WEBSOCKET, auth={"mode": "api_key"})
    key = {"X-API-Key": "0123456789abcdef0123"}
    async with served.client.post("/runs?run_id=r", json={}, headers=key) as answer:
        token = (await answer.json())["events_token"]
    code = None
    got: list[Heard] = []
    async with WATCHING[transport](served, "r", token=token) as heards:
        try:
            async for each in heards:
                got.append(each)  # noqa: PERF401  what came before the refusal counts
        except Refused as refused:
            code = refused.code
    assert sequences(got) == [1, 2]
    assert [each.type for each in got][2:] == ([] if transport == "polling" else ["auth_expired"])
    assert code == {"websocket": 1008, "polling": 401}.get(transport)
    agent.go.set()


@every_transport
async def test_cancelled_run_ends_for_every_reader(serve: Serve, transport: str) -> None:
    served = await serve(Waits(), expose=WEBSOCKET)
    await served.start(run_id="r")
    async with WATCHING[transport](served, "r") as heards:
        got = await until(heards, "token")
        async with served.client.delete("/runs/r?reason=enough") as answer:
            assert answer.status == 200
        got += await all_of(heards)
    assert [each.type for each in got] == ["started", "token", "cancelled"]
    assert b'"reason":"enough"' in got[-1].data


async def test_many_readers_of_every_transport_hear_of_an_event(serve: Serve) -> None:
    served = await serve(agent := Waits(), expose=WEBSOCKET)
    await served.start(run_id="r")
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(WATCHING[transport](served, "r"))
            for transport in STREAMS
            for _ in range(30)
        ]
        for each in readers:
            await until(each, "token")
        assert served.service.metrics.open_streams._value.get() == len(readers)
        agent.go.set()
        rests = await asyncio.gather(*map(all_of, readers))
    assert [each.type for each in rests[0]] == ["token", "complete"]
    assert all(rest == rests[0] for rest in rests)
