"""A stream yields every event once and in order, over any number of broken connections."""

import asyncio
import time
from pathlib import Path

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.client import Client, ConnectionLost, Event, Gap, NotFound, ProtocolError, Token
from dockrion.events.control_frames import AuthExpired, Draining, Timeout
from dockrion.wire import sse
from tests.client.conftest import Connect
from tests.client.proxies import HEAD, proxy, scripted
from tests.client.test_streams import TOKENS, complete, entry, numbers, speak
from tests.conftest import Serve
from tests.support import wait_until
from tests.web.helpers import Waits


@pytest.mark.parametrize("pattern", ["A", "B"])
async def test_broken_connections_lose_and_repeat_nothing(
    serve: Serve, connect: Connect, pattern: str
) -> None:
    served = await serve(speak)
    whole = 22 * 170
    async with proxy(served.port, [700, 500, 450, 400, 1, whole // 2]) as cutting:
        client = await connect(cutting)
        stream = client.stream({}) if pattern == "A" else client.events((await client.start({})).run_id)
        events = [event async for event in stream]
        cuts_left = cutting.cuts_left
    assert numbers(events) == list(range(1, TOKENS + 3))
    assert cuts_left < 5
    begun = [head for head in cutting.requests if head.startswith(b"POST")]
    assert len(begun) == 1
    assert (await served.record(stream.run_id))["status"] == "completed"


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 6000), max_size=4))
def test_wherever_connections_break_the_union_is_the_run(cuts: list[int]) -> None:
    """The first connection is that of the POST, and delivers at least the run's id."""
    stream = HEAD + entry(1, "started", '"agent_name":"a","framework":"custom"')
    whole = [*map(entry, range(2, 30)), complete(30)]

    async def read() -> list[Event | Gap]:
        after = 0
        answers: list[bytes] = []
        for cut in cuts:
            body = b"".join(whole[max(after - 1, 0) :])
            answer = ((HEAD if after else stream) + body)[: max(cut, len(HEAD))]
            answers.append(answer)
            after = max(after, answer.count(b"}\n\n") and int(_last_whole_id(answer) or after))
            if after == 30:
                break
        else:
            answers.append((HEAD if after else stream) + b"".join(whole[max(after - 1, 0) :]))
        async with scripted(*answers) as server, Client(server.url) as client:
            return [event async for event in client.stream({})]

    assert numbers(asyncio.run(read())) == list(range(1, 31))


def _last_whole_id(answer: bytes) -> str:
    whole = answer[: answer.rindex(b"}\n\n")]
    return whole.rpartition(b"id: ")[2].partition(b"\n")[0].decode()


@pytest.mark.parametrize(
    "end",
    [
        sse.encode_control(Timeout("over")),
        sse.encode_control(AuthExpired()),
        sse.encode_control(Draining()),
        b"",
        b"event: heartbeat\ndata: {}\n\n: keep-alive\n\nevent: unknown\ndata: {}\n\n",
    ],
    ids=["timeout", "auth expired", "draining", "nothing", "keep-alives"],
)
async def test_a_connection_that_ends_before_the_run_is_reopened(connect: Connect, end: bytes) -> None:
    async with scripted(HEAD + entry(1) + end, HEAD + entry(2) + end, HEAD + complete(3)) as server:
        client = await connect(server.url)
        assert numbers([event async for event in client.events("r")]) == [1, 2, 3]
    positions = [head.partition(b"Last-Event-ID: ")[2].partition(b"\r\n")[0] for head in server.requests]
    assert positions == [b"", b"1", b"2"]


@pytest.mark.parametrize("start", [True, False])
async def test_a_stream_reconnects_to_its_run_and_not_to_another_with_the_id(
    connect: Connect, start: bool
) -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nX-Run-Incarnation: 0123456789abcdef\r\n\r\n")
    gone = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    read: list[Event | Gap] = []
    async with scripted(head + entry(1), head + entry(2), gone) as server:
        client = await connect(server.url)
        stream = aiter(client.stream({}) if start else client.events("r"))
        read += [await anext(stream), await anext(stream)]
        with pytest.raises(NotFound):
            await anext(stream)
    assert numbers(read) == [1, 2]
    asked = [request.partition(b" HTTP")[0] for request in server.requests]
    assert asked[1:3] == [b"GET /runs/r/events?incarnation=0123456789abcdef"] * 2


async def test_a_timeout_frame_does_not_end_the_stream(serve: Serve, connect: Connect) -> None:
    served = await serve(agent := Waits(), streaming={"connection": {"default_timeout": 0.1}})
    async with proxy(served.port, []) as passing, asyncio.TaskGroup() as group:

        def opened() -> int:
            return sum(b"/events" in request for request in passing.requests)

        async def go_on_once_opened_again() -> None:
            before = opened()
            await wait_until(lambda: opened() > before)
            agent.go.set()

        client = await connect(passing)
        run = await client.start({})
        events = []
        async for event in client.events(run.run_id):
            events.append(event)
            if isinstance(event, Token) and event.content == "first":
                group.create_task(go_on_once_opened_again())
    assert numbers(events) == [1, 2, 3, 4]


async def test_an_expired_token_is_renewed_and_nothing_is_lost(
    serve: Serve, connect: Connect, tmp_path: Path
) -> None:
    secret = "s" * 32
    (tmp_path / ".env").write_text(f"JWT_KEY={secret}\n")
    spec = {"public_key_env": "JWT_KEY", "algorithms": ["HS256"], "leeway_seconds": 0}
    served = await serve(agent := Waits(), auth={"mode": "jwt", "jwt": spec})
    lifetimes = [2, 60]

    def token() -> str:
        seconds = lifetimes.pop(0) if len(lifetimes) > 1 else lifetimes[0]
        if seconds == 60:
            agent.go.set()
        return jwt.encode({"sub": "ada", "exp": int(time.time()) + seconds}, secret, "HS256")

    client = await connect(served, token=token)
    assert numbers([event async for event in client.stream({})]) == [1, 2, 3, 4]
    assert lifetimes == [60]


async def test_a_service_that_stays_away_raises_with_the_position(connect: Connect) -> None:
    async with scripted(HEAD + entry(1) + entry(2), HEAD) as server:
        client = await connect(server.url, retry_timeout=0.05)
        with pytest.raises(ConnectionLost) as raised:
            _ = [event async for event in client.stream({})]
    assert (raised.value.run_id, raised.value.after) == ("r", 2)
    assert not [head for head in server.requests if head.startswith(b"DELETE")]


async def test_a_run_that_cannot_be_resumed(connect: Connect) -> None:
    async with scripted(HEAD.replace(b"X-Run-Id: r\r\n", b"") + entry(1)) as server:
        client = await connect(server.url)
        with pytest.raises(ConnectionLost):
            _ = [event async for event in client.stream({})]
        with pytest.raises(ConnectionLost):
            _ = [event async for event in client.stream({}, resume=False)]
    assert [head.partition(b" HTTP")[0] for head in server.requests] == [
        b"POST /invoke/stream?on_disconnect=continue",
        b"POST /invoke/stream?on_disconnect=cancel",
    ]


async def test_a_204_after_a_lost_connection_is_a_protocol_error(connect: Connect) -> None:
    async with scripted(HEAD + entry(1), b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n") as server:
        client = await connect(server.url)
        with pytest.raises(ProtocolError):
            _ = [event async for event in client.events("r")]
