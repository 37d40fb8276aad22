"""Large events over slow links, and on servers that do not take them: they cost no other run anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.backends import owner_messages
from dockrion.backends.owner_messages import OwnerRequest
from dockrion.backends.redis import RedisBackend, client, health
from tests.backends.conformance import begin
from tests.backends.test_conformance_requests import replying
from tests.backends.trouble import (
    CommandedAgent,
    EndlessAgent,
    Logged,
    OnRedis,
    assert_complete,
    checked_end,
    following,
    serve_on,
    wait_ready,
)
from tests.client.proxies import listening
from tests.conftest import Serve
from tests.servers import RedisServer
from tests.support import TIMEOUT_SECONDS, data, wait_until

MIB = 1024 * 1024


class SlowLink:
    """Forwards connections to a port; all of them share so many bytes per second in each direction.

    Attributes:
        connections: How many there have been.
    """

    def __init__(self, port: int, bytes_per_second: float) -> None:
        self.connections = 0
        self._service = port
        self._rate = bytes_per_second

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._service)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, up_writer, self._up))
                group.create_task(self._pump(up_reader, writer, self._down))
        except* ConnectionError:
            pass
        finally:
            for each in (writer, up_writer):
                each.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: asyncio.Lock
    ) -> None:
        while chunk := await reader.read(16 * 1024):
            async with link:  # fair: a small message waits for one chunk of each other connection
                await asyncio.sleep(len(chunk) / self._rate)
            writer.write(chunk)
            await writer.drain()
        raise ConnectionError("one side has closed")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        self._up, self._down = asyncio.Lock(), asyncio.Lock()
        async with listening(self.forward) as port:
            yield port


class LargeAgent:
    """An agent that emits large events and returns a large output, once the test lets it begin."""

    def __init__(self, size: int, *, events: int = 1, output: int = 0) -> None:
        self.begin = asyncio.Event()
        self._size = size
        self._events = events
        self._output = output

    async def __call__(self, _payload: Any, context: StreamContext) -> str:
        await self.begin.wait()
        for _ in range(self._events):
            await context.emit("image", content="x" * self._size)
        return "y" * self._output


@pytest.mark.long
@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_large_events_pass_a_slow_link_and_delay_nobody(
    server: RedisServer, serve: Serve, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event takes longer than the timeout of small commands, as one of 4 MiB does on 1 MB/s."""
    monkeypatch.setattr(client, "_REPLY_SECONDS", 1.5)
    monkeypatch.setattr(client, "_SLOWEST_BYTES_PER_SECOND", MIB / 4)
    link = SlowLink(server.port, 1.2e6)
    async with link.open() as port:
        url = f"redis://127.0.0.1:{port}/0"
        agent = LargeAgent(2 * MIB, output=MIB)
        writing, reading = await serve_on(serve, url, agent), await serve_on(serve, url)
        await wait_ready(writing, reading)
        run_id = await writing.start()
        steady = EndlessAgent(pause=0.01)
        writing.use(steady)
        async with (
            following(run_id, reading) as (reader,),
            following(await writing.start(), reading) as (other,),
        ):
            agent.begin.set()
            messages = await reader.end(3 * TIMEOUT_SECONDS)  # the link takes half of one
            reached = other.last
            steady.finished = True
            assert_complete(await other.end())
        assert_complete(messages, 3)
        images = [each for each in messages if each.event == "custom:image"]
        assert [len(data(each)["content"]) for each in images] == [2 * MIB]
        assert reached > 20
        assert len((await reading.record(run_id))["output"]) == MIB
    assert logged.redis_errors() == []
    assert logged.tracebacks() == []
    assert link.connections < 30


async def size_of(request: OwnerRequest) -> None:
    await request.reply(b"%d" % len(request.body))


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_large_requests_to_a_runs_owner_pass_a_slow_link(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_REPLY_SECONDS", 1.6)
    monkeypatch.setattr(client, "_SLOWEST_BYTES_PER_SECOND", MIB / 2)
    monkeypatch.setattr(owner_messages, "_REPLY_SECONDS", 1.8)
    async with SlowLink(server.port, 1.5e6).open() as port:
        owner, other = (
            RedisBackend(
                f"redis://127.0.0.1:{port}/0", agent="tested", max_events=20, ttl=60, max_run_duration=60
            )
            for _ in "12"
        )
        writer = await begin(owner)
        async with replying(owner, size_of):
            assert await other.request_owner(writer.run_id, b"x" * 3 * MIB) == b"%d" % (3 * MIB)
        for each in (owner, other):
            await each.aclose()


LIMITS = {
    "bulk length": [("proto-max-bulk-len", str(MIB))],
    "query buffer": [("client-query-buffer-limit", str(MIB))],
    "memory": [("maxmemory", "12mb")],
}


@pytest.fixture
def soon_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REFUSED_SECONDS", 0.5)


@pytest.mark.usefixtures("soon_refused")
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("server", "where"), [("redis", "event"), ("valkey", "output")], indirect=["server"])
async def test_what_redis_never_takes_ends_that_run_alone(
    limit: str, where: str, server: RedisServer, on_redis: OnRedis, logged: Logged
) -> None:
    for name, value in LIMITS[limit]:
        server.command("CONFIG", "SET", name, value)
    steady = EndlessAgent(pause=0.01)
    served, other = await on_redis(steady), await on_redis()
    await wait_ready(served, other)
    innocent = await served.start()
    agent = LargeAgent(9 * MIB) if where == "event" else LargeAgent(0, events=0, output=9 * MIB)
    served.use(agent)
    run_id = await served.start()
    async with following(innocent, served, other) as readers, following(run_id, other) as (reader,):
        agent.begin.set()
        messages = await reader.end(5 * TIMEOUT_SECONDS)  # Redis 8 stays full for a while after each attempt
        assert checked_end(messages) == "error"
        error = data(messages[-1])
        assert error["code"] == "LIMIT_EXCEEDED"
        assert "bytes is too large for the storage" in error["error"]
        await wait_ready(served, other)
        for each in readers:
            await each.until(each.last + 5)
        steady.finished = True
        for each in readers:
            assert_complete(await each.end())
    record = await other.record(run_id)
    assert (record["status"], record["output"]) == ("failed", None)
    if limit == "memory":  # the command itself fills it
        assert set(logged.redis_errors()) == {"OOM"}
    else:
        assert logged.redis_errors() == ["LARGE"]
        assert logged.fields("redis has recovered") == []
    await logged.until("run lost")
    assert [each["run_id"] for each in logged.fields("run lost")] == [run_id]
    await wait_until(lambda: not served.service.backend._leases._owned)  # type: ignore[attr-defined]
    await wait_until(lambda: not served.service.backend._appender._refusals._failing)  # type: ignore[attr-defined]


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_a_large_event_survives_an_outage(server: RedisServer, on_redis: OnRedis) -> None:
    agent = LargeAgent(5 * MIB)
    served = await on_redis(agent)
    await wait_ready(served)
    run_id = await served.start()
    async with following(run_id, served) as (reader,):
        agent.begin.set()
        server.restart()
        assert_complete(await reader.end(), 3)


@pytest.mark.usefixtures("soon_refused")
@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_an_agent_that_waits_for_a_refused_event_is_stopped(
    server: RedisServer, on_redis: OnRedis
) -> None:
    """Memory stays bounded: the agent emits no further event before the first is stored."""
    server.command("CONFIG", "SET", "proto-max-bulk-len", str(MIB))
    emitted: list[int] = []
    stopped: list[bool] = []

    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            for number in range(1000):
                await context.emit("image", content="x" * 2 * MIB)
                emitted.append(number)
        finally:
            stopped.append(context.cancelled)

    served = await on_redis(agent)
    await wait_ready(served)
    run_id = await served.start()
    assert (await served.finished(run_id))["error"]["code"] == "LIMIT_EXCEEDED"
    assert stopped == [True]
    assert len(emitted) <= 1
    commanded = CommandedAgent()
    commanded.finish()
    served.use(commanded)
    assert (await served.finished(await served.start()))["status"] == "completed"
