"""Shared by the tests of failures of Redis: services on a server of their own, agents, checks."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError

from dockrion import StreamContext
from dockrion.backends.redis.health import HealthMonitor
from dockrion.events import TERMINAL
from dockrion.wire.sse import Message
from tests.conftest import Serve
from tests.servers import KINDS, RedisServer
from tests.support import TIMEOUT_SECONDS, Reader, Served, placeholder, sequences, wait_until

OnRedis = Callable[..., Awaitable[Served]]
_ERROR = "redis error: "


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that persists its data."""
    with RedisServer(request.param, tmp_path, aof=True) as started:
        yield started


@pytest.fixture
def on_redis(server: RedisServer, serve: Serve) -> OnRedis:
    """Serve an agent on the server: `await on_redis(function)`; several services are replicas."""
    return partial(serve_on, serve, server.url)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> "Logged":
    caplog.set_level(logging.INFO)
    return Logged(caplog)


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Count the rounds of background work that failed."""
    counted: list[None] = []
    round_failed = HealthMonitor.round_failed

    def count(monitor: HealthMonitor, error: Exception) -> None:
        counted.append(None)
        round_failed(monitor, error)

    monkeypatch.setattr(HealthMonitor, "round_failed", count)
    return counted


class Logged:
    """The log of the services in this process."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def fields(self, message: str) -> list[dict[str, Any]]:
        """Return the fields of each record with a message."""
        records = [record for record in self._caplog.records if record.getMessage() == message]
        return [vars(record)["fields"] for record in records]

    async def until(self, message: str, times: int = 1) -> None:
        """Wait until a message is logged, which may follow what clients see; fail if that is too often."""
        await wait_until(lambda: len(self.fields(message)) >= times)
        assert len(self.fields(message)) == times

    def messages(self, level: int) -> list[str]:
        """Return the messages of a level."""
        return [record.getMessage() for record in self._caplog.records if record.levelno == level]

    def redis_errors(self) -> list[str]:
        """Return the kind of each logged failure of Redis."""
        records = self._caplog.records
        return [vars(each)["fields"]["kind"] for each in records if each.getMessage().startswith(_ERROR)]

    def advice(self, kind: str) -> str:
        """Return the advice logged for a kind of failure."""
        (advice,) = {
            record.getMessage().removeprefix(_ERROR)
            for record in self._caplog.records
            if vars(record).get("fields", {}).get("kind") == kind
        }
        return advice

    def tracebacks(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.exc_info]


async def serve_on(serve: Serve, url: str, agent: Callable[..., Any] = placeholder, **more: Any) -> Served:
    """Serve an agent on the server at a URL, with overrides of the `streaming` section."""
    streaming = {
        "backend": "redis",
        "redis": {"url": url, "max_events_per_run": 10_000},
        "events": {"heartbeat_interval": 0.3},
    }
    return await serve(agent, streaming=streaming | more)


class CommandedAgent:
    """An agent that emits as many tokens as the test asks for, until the test finishes it."""

    def __init__(self) -> None:
        self._counts: asyncio.Queue[int] = asyncio.Queue()
        self.emitted = 0
        self.stopped = 0

    def emit(self, count: int = 1) -> None:
        self._counts.put_nowait(count)

    def finish(self) -> None:
        self._counts.put_nowait(0)

    async def __call__(self, _payload: Any, context: StreamContext) -> dict[str, Any]:
        try:
            while count := await self._counts.get():
                for _ in range(count):
                    await context.emit_token(str(self.emitted))
                    self.emitted += 1
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return {"emitted": self.emitted}


class EndlessAgent:
    """An agent that emits without end, until the test finishes it."""

    def __init__(self, pause: float = 0.002) -> None:
        self._pause = pause
        self.finished = False
        self.emitted = 0

    async def __call__(self, _payload: Any, context: StreamContext) -> int:
        while not self.finished:
            await context.emit_token(str(self.emitted))
            self.emitted += 1
            await asyncio.sleep(self._pause)
        return self.emitted


class RecordingReader:
    """A reader in a task of its own, and what it has read so far."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.messages: list[Message] = []
        self._task = asyncio.create_task(self._read())

    @property
    def last(self) -> int:
        return max(sequences(self.messages), default=0)

    @property
    def over(self) -> bool:
        return self._task.done()

    def count(self, event: str) -> int:
        return sum(message.event == event for message in self.messages)

    async def until(self, sequence: int) -> None:
        """Wait for the event of a sequence."""
        await wait_until(lambda: self.last >= sequence)

    async def until_heartbeat(self) -> None:
        """Wait for the next heartbeat."""
        before = self.count("heartbeat")
        await wait_until(lambda: self.count("heartbeat") > before)

    async def end(self, timeout: float = TIMEOUT_SECONDS) -> list[Message]:
        """Wait for the end of the stream and return all messages."""
        try:
            await asyncio.wait_for(asyncio.shield(self._task), timeout)
        except TimeoutError:
            raise AssertionError(f"the stream hangs after {self.messages[-3:]}") from None
        except ClientError as error:
            raise AssertionError(f"the stream was cut: {error!r}, after {self.messages[-3:]}") from None
        return self.messages

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _read(self) -> None:
        async for message in self.reader:
            self.messages.append(message)


@asynccontextmanager
async def following(run_id: str, *replicas: Served, **query: Any) -> AsyncIterator[list[RecordingReader]]:
    """Read a run on each replica."""
    readers: list[RecordingReader] = []
    async with AsyncExitStack() as stack:
        for served in replicas:
            readers.append(RecordingReader(await stack.enter_async_context(served.events(run_id, **query))))
            stack.push_async_callback(readers[-1].leave)
        yield readers


async def status(served: Served, path: str) -> int:
    async with served.client.get(path) as response:
        await response.read()
        return response.status


async def ready(served: Served) -> bool:
    assert await status(served, "/health") == 200
    found = await status(served, "/ready")
    assert found in (200, 503)
    return found == 200


async def wait_ready(*replicas: Served, expected: bool = True, timeout: float = 30.0) -> None:
    """Wait until each of the replicas has been ready, or not ready, which may be over soon."""

    async def wait(served: Served) -> None:
        while await ready(served) != expected:
            await asyncio.sleep(0.02)

    async with asyncio.timeout(timeout), asyncio.TaskGroup() as group:
        for served in replicas:
            group.create_task(wait(served))


async def assert_refuses_runs(served: Served) -> None:
    """Check that new runs are refused with 503."""
    for path in ("/runs", "/invoke/stream"):
        async with served.client.post(path, json={}) as response:
            assert response.status == 503, await response.text()
            assert response.headers["Retry-After"]
            assert (await response.json())["code"] == "SERVICE_UNAVAILABLE"


async def assert_accepts_runs(served: Served) -> None:
    """Check that a new run is accepted, and can be read to its end."""
    agent = CommandedAgent()
    agent.emit(3)
    agent.finish()
    served.use(agent)
    async with served.events(await served.start()) as reader:
        assert_complete(await reader.all(), 5)


def assert_complete(messages: list[Message], last: int | None = None) -> None:
    """Check that a reader got every event once, and the terminal event last."""
    found = sequences(messages)
    assert found == list(range(1, len(found) + 1))
    assert last is None or found[-1] == last, found[-1]
    assert [each.event for each in messages if each.event in TERMINAL or each.event == "gap"] == ["complete"]
    assert messages[-1].event == "complete"


def checked_end(messages: list[Message]) -> str:
    """Check that a stream reports each missing event by a gap, and return the event that ends it."""
    found = sequences(messages)
    assert found == sorted(set(found))
    expected = found[0] if found else 0
    for message in messages:
        if message.id is None:
            expected = 0 if message.event == "gap" else expected  # any event may follow
        else:
            assert expected in (0, int(message.id)), f"{expected} is missing, and no gap was reported"
            expected = int(message.id) + 1
    assert messages, "the stream ended without an event"
    last = messages[-1].event
    assert last in TERMINAL | {"gone"}, [message.event for message in messages]
    assert sum(message.event in TERMINAL | {"gone"} for message in messages) == 1
    return last


async def assert_finished_or_unknown(served: Served, run_id: str) -> None:
    """Check that a run is finished, or not found."""
    async with served.client.get(f"/runs/{run_id}") as response:
        assert response.status in (200, 404), await response.text()
        if response.status == 200:
            assert (await response.json())["status"] in ("completed", "failed", "cancelled")
    async with served.client.get(f"/runs/{run_id}/events") as response:
        assert response.status in (200, 404), await response.text()
        if response.status == 200:
            checked_end(await Reader(response).all())
