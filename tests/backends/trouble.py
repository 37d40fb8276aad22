"""What the tests of trouble with Redis share: services on a server of their own, agents, checks."""

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
_TROUBLE = "redis is in trouble: "


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that keeps its data on disk."""
    with RedisServer(request.param, tmp_path, aof=True) as started:
        yield started


@pytest.fixture
def on_redis(server: RedisServer, serve: Serve) -> OnRedis:
    """Serve an agent on the server: `await on_redis(function)`; more than one are replicas."""
    return partial(serve_on, serve, server.url)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> "Logged":
    caplog.set_level(logging.INFO)
    return Logged(caplog)


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Count how often a service has tried, and failed, to keep up with Redis."""
    counted: list[None] = []
    round_failed = HealthMonitor.round_failed

    def count(monitor: HealthMonitor, error: Exception) -> None:
        counted.append(None)
        round_failed(monitor, error)

    monkeypatch.setattr(HealthMonitor, "round_failed", count)
    return counted


class Logged:
    """What the services of this process have logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def fields(self, message: str) -> list[dict[str, Any]]:
        """Return the fields of each line with a message."""
        records = [record for record in self._caplog.records if record.getMessage() == message]
        return [vars(record)["fields"] for record in records]

    def troubles(self) -> list[str]:
        """Return the kind of each trouble that was told."""
        records = self._caplog.records
        return [vars(each)["fields"]["kind"] for each in records if each.getMessage().startswith(_TROUBLE)]

    def advice(self, kind: str) -> str:
        """Return what is said of a kind of trouble."""
        (advice,) = {
            record.getMessage().removeprefix(_TROUBLE)
            for record in self._caplog.records
            if vars(record).get("fields", {}).get("kind") == kind
        }
        return advice

    def tracebacks(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.exc_info]


async def serve_on(serve: Serve, url: str, agent: Callable[..., Any] = placeholder, **more: Any) -> Served:
    """Serve an agent on the server at a URL, with some of the section `streaming` replaced."""
    streaming = {
        "backend": "redis",
        "redis": {"url": url, "max_events_per_run": 10_000},
        "events": {"heartbeat_interval": 1},
    }
    return await serve(agent, streaming=streaming | more)


class CommandedAgent:
    """An agent that emits what it is told to, until it is let go."""

    def __init__(self) -> None:
        self._wanted: asyncio.Queue[int] = asyncio.Queue()
        self.emitted = 0
        self.stopped = 0

    def emit(self, count: int = 1) -> None:
        self._wanted.put_nowait(count)

    def finish(self) -> None:
        self._wanted.put_nowait(0)

    async def __call__(self, _payload: Any, context: StreamContext) -> dict[str, Any]:
        try:
            while count := await self._wanted.get():
                for _ in range(count):
                    await context.emit_token(str(self.emitted))
                    self.emitted += 1
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        return {"emitted": self.emitted}


class EndlessAgent:
    """An agent that emits all the time, until it is let go."""

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
    """A reader at work, and what it has read so far."""

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
        """Wait for an event."""
        await wait_until(lambda: self.last >= sequence)

    async def sign_of_life(self) -> None:
        """Wait for the next heartbeat."""
        before = self.count("heartbeat")
        await wait_until(lambda: self.count("heartbeat") > before)

    async def end(self) -> list[Message]:
        """Wait for the end, and return everything."""
        try:
            await asyncio.wait_for(asyncio.shield(self._task), TIMEOUT_SECONDS)
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
    """Read a run, once on each replica."""
    readers: list[RecordingReader] = []
    async with AsyncExitStack() as stack:
        for served in replicas:
            readers.append(RecordingReader(await stack.enter_async_context(served.events(run_id, **query))))
            stack.push_async_callback(readers[-1].leave)
        yield readers


async def status(served: Served, path: str) -> int:
    async with served.client.get(path) as answer:
        await answer.read()
        return answer.status


async def ready(served: Served) -> bool:
    assert await status(served, "/health") == 200
    found = await status(served, "/ready")
    assert found in (200, 503)
    return found == 200


async def wait_ready(*replicas: Served, ready_at_last: bool = True, timeout: float = 15.0) -> None:
    """Wait until all are ready, or none is any more."""
    async with asyncio.timeout(timeout):
        for served in replicas:
            while await ready(served) != ready_at_last:
                await asyncio.sleep(0.02)


async def assert_refuses_runs(served: Served) -> None:
    """Check that new runs are refused for now."""
    for path in ("/runs", "/invoke/stream"):
        async with served.client.post(path, json={}) as answer:
            assert answer.status == 503, await answer.text()
            assert answer.headers["Retry-After"]
            assert (await answer.json())["code"] == "SERVICE_UNAVAILABLE"


async def assert_accepts_runs(served: Served) -> None:
    """Check that a new run is taken, and can be read to its end, without disturbing those there."""
    agent = CommandedAgent()
    agent.emit(3)
    agent.finish()
    served.use(agent)
    async with served.events(await served.start()) as reader:
        assert_complete(await reader.all(), 5)


def assert_complete(messages: list[Message], last: int | None = None) -> None:
    """Check that a reader got everything, once, and the terminal event."""
    found = sequences(messages)
    assert found == list(range(1, len(found) + 1))
    assert last is None or found[-1] == last, found[-1]
    assert [each.event for each in messages if each.event in TERMINAL or each.event == "gap"] == ["complete"]
    assert messages[-1].event == "complete"


def assert_loss_reported(messages: list[Message]) -> str:
    """Check that a reader was told that something was lost, and return by what."""
    found = sequences(messages)
    assert found == sorted(set(found))
    expected = found[0] if found else 0
    for message in messages:
        if message.id is None:
            expected = 0 if message.event == "gap" else expected  # any event may follow
        else:
            assert expected in (0, int(message.id)), f"{expected} is missing, and no gap was told"
            expected = int(message.id) + 1
    assert messages, "the stream ended without a word"
    last = messages[-1].event
    assert last in TERMINAL | {"gone"}, [message.event for message in messages]
    assert sum(message.event in TERMINAL | {"gone"} for message in messages) == 1
    return last


async def assert_run_over(served: Served, run_id: str) -> None:
    """Check that a run is over, or unknown, for whoever asks now."""
    async with served.client.get(f"/runs/{run_id}") as answer:
        assert answer.status in (200, 404), await answer.text()
        if answer.status == 200:
            assert (await answer.json())["status"] in ("completed", "failed", "cancelled")
    async with served.client.get(f"/runs/{run_id}/events") as answer:
        assert answer.status in (200, 404), await answer.text()
        if answer.status == 200:
            assert_loss_reported(await Reader(answer).all())
