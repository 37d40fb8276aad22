"""Test helpers: waiting for conditions, Dockfiles, and services that run in the test's process."""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp.test_utils import TestClient

from dockrion.agents.handler import HandlerAgent
from dockrion.backends.memory import MemoryBackend
from dockrion.dockfile import Loaded, load
from dockrion.web.service import Service
from dockrion.wire.sse import Decoder, Message

TIMEOUT_SECONDS = 30.0
Client = TestClient[Any, Any]


async def wait_until(condition: Callable[[], Any], timeout: float = TIMEOUT_SECONDS) -> None:
    """Wait until a condition holds; fail after the timeout."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting for {condition}"
        await asyncio.sleep(0.005)


async def least(measure: Callable[[], Awaitable[float]], limit: float) -> float:
    """Measure up to twenty times, until it is less than the limit, and return the least.

    What takes long by itself does so each time; what waits for other processes of this machine does not.
    """
    measured: list[float] = []
    while len(measured) < 20 and min(measured, default=limit) >= limit:
        measured.append(await measure())
    return min(measured)


def placeholder(payload: Any) -> Any:
    """The handler that test Dockfiles name; tests replace the agent after loading."""
    return payload


PUSH_TOKEN = "the token that tests push events with"
INGEST: dict[str, Any] = {
    "enabled": True,
    "token_env": "TESTS_PUSH_TOKEN",
}  # the client of `serve` sends the token
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_SECONDS = ("timeout_sec", "max_run_duration", "heartbeat_interval", "default_timeout")
SHARED_REDIS: dict[str, Any] = {}  # if set, `dockfile` uses this server (`url`) and agent name (`agent`)


def dockfile(folder: Path, sections: dict[str, Any] | None = None) -> Loaded:
    """Write and load a minimal Dockfile, with some sections replaced.

    Where a Dockfile has whole seconds, tests may give a fraction, to wait less.
    """
    content: dict[str, Any] = {
        "version": "1.0",
        "agent": {"name": "tested", "handler": "tests.support:placeholder"},
        "io_schema": {},
        "expose": {},
    }
    content |= sections or {}
    if SHARED_REDIS:
        streaming = content.get("streaming") or {}
        content["agent"] = content["agent"] | {"name": SHARED_REDIS["agent"]}
        content["streaming"] = (
            {"backend": "redis"}
            | streaming
            | {"redis": {"url": SHARED_REDIS["url"]} | streaming.get("redis", {})}
        )
    path = folder / "Dockfile.yaml"
    whole = _whole_seconds(content)
    path.write_text(json.dumps(whole, ensure_ascii=False))  # JSON is YAML, and fast
    environ = {INGEST["token_env"]: PUSH_TOKEN, "TESTS_WEBHOOK_SECRET": WEBHOOK_SECRET}
    loaded = load(path, environ=environ)
    if whole == content:
        return loaded
    return msgspec.structs.replace(loaded, dockfile=_with_seconds(loaded.dockfile, content))


def _whole_seconds(given: dict[str, Any]) -> dict[str, Any]:
    whole = {}
    for name, value in given.items():
        whole[name] = _whole_seconds(value) if isinstance(value, dict) else value
        if name in _SECONDS and isinstance(value, float):
            whole[name] = ceil(value)
    return whole


def _with_seconds(section: Any, given: dict[str, Any]) -> Any:
    """Return a section of a Dockfile with the seconds that a test gave."""
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in _SECONDS:
            changes[name] = value
        elif isinstance(value, dict) and isinstance(current := getattr(section, name), msgspec.Struct):
            changes[name] = _with_seconds(current, value)
    return msgspec.structs.replace(section, **changes)


@dataclass
class Served:
    """A service in the test's process, with a client."""

    client: Client
    service: Service
    listening: asyncio.Server  # with the connection handling of `dockrion run`; the client uses aiohttp's own

    @property
    def port(self) -> int:
        return int(self.listening.sockets[0].getsockname()[1])

    @property
    def backend(self) -> MemoryBackend:
        assert isinstance(self.service.backend, MemoryBackend)
        return self.service.backend

    def use(self, agent: Callable[..., Any]) -> None:
        """Replace the agent."""
        self.service.runs.agent = HandlerAgent(agent)

    async def start(self, payload: Any = None, **query: str) -> str:
        """Start a run and return its id."""
        async with self.client.post(
            "/runs", json={} if payload is None else payload, params=query
        ) as response:
            assert response.status == 202, await response.text()
            return str((await response.json())["run_id"])

    async def record(self, run_id: str) -> dict[str, Any]:
        async with self.client.get(f"/runs/{run_id}") as response:
            assert response.status == 200, await response.text()
            return dict(await response.json())

    async def finished(self, run_id: str) -> dict[str, Any]:
        """Wait until a run has ended, and return its record."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (record := await self.record(run_id))["status"] in ("accepted", "running"):
                await asyncio.sleep(0.005)
        return record

    @asynccontextmanager
    async def events(self, run_id: str, **query: Any) -> AsyncIterator["Reader"]:
        """Open the event stream of a run (pattern B)."""
        headers = {"Last-Event-ID": str(query.pop("last_event_id"))} if "last_event_id" in query else {}
        async with self.client.get(f"/runs/{run_id}/events", params=query, headers=headers) as response:
            assert response.status == 200, await response.text()
            yield Reader(response)

    @asynccontextmanager
    async def stream(self, payload: Any = None, **query: Any) -> AsyncIterator["Reader"]:
        """Start a run and open its event stream in one request (pattern A)."""
        body = {} if payload is None else payload
        async with self.client.post("/invoke/stream", json=body, params=query) as response:
            assert response.status == 200, await response.text()
            yield Reader(response)


class Reader:
    """Reads an event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.run_id = response.headers.get("X-Run-Id", "")
        self.decoder = Decoder()
        self.raw = b""
        self._unread: deque[Message] = deque()

    async def __aiter__(self) -> AsyncIterator[Message]:
        async with asyncio.timeout(TIMEOUT_SECONDS * 3):
            while True:
                while self._unread:
                    yield self._unread.popleft()
                data = await self.response.content.readany()
                if not data:
                    return
                self.raw += data
                self._unread.extend(self.decoder.feed(data))

    async def all(self) -> list[Message]:
        """Read to the end."""
        return [message async for message in self]

    async def until(self, event: str) -> list[Message]:
        """Read up to the first event of a type; the rest remains unread."""
        messages: list[Message] = []
        async for message in self:
            messages.append(message)
            if message.event == event:
                return messages
        raise AssertionError(f"no {event} in {[message.event for message in messages]}")


def data(message: Message) -> dict[str, Any]:
    """Return the decoded data of a message."""
    return dict(msgspec.json.decode(message.data))


def sequences(messages: list[Message]) -> list[int]:
    """Return the sequences of the messages that have one, which are events and not control frames."""
    return [int(message.id) for message in messages if message.id is not None]
