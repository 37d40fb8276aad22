"""What tests share: waiting for conditions, Dockfiles from text, services in this process."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml
from aiohttp.test_utils import TestClient

from dockrion.agents.handler import HandlerAgent
from dockrion.backends.memory import MemoryBackend
from dockrion.dockfile import Loaded, load
from dockrion.web.service import Service
from dockrion.wire.sse import Decoder, Message

TIMEOUT_SECONDS = 10.0
Client = TestClient[Any, Any]


async def wait_until(condition: Callable[[], Any], timeout: float = TIMEOUT_SECONDS) -> None:
    """Wait for a condition, not for the clock; fail when it never comes."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {condition}"
        await asyncio.sleep(0.005)


def placeholder(payload: Any) -> Any:
    """Stand in a Dockfile for an agent that a test puts in its place."""
    return payload


SHARED_REDIS: dict[str, Any] = {}  # where services keep their runs, unless a test says so


def dockfile(folder: Path, sections: dict[str, Any] | None = None) -> Loaded:
    """Load a small Dockfile with some sections replaced."""
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
    path.write_text(yaml.safe_dump(content))
    return load(path, environ={})


@dataclass
class Served:
    """A service in this process, and a client of it."""

    client: Client
    service: Service
    listening: asyncio.Server  # for connections as `dockrion run` makes them; the client's are aiohttp's own

    @property
    def port(self) -> int:
        return int(self.listening.sockets[0].getsockname()[1])

    @property
    def backend(self) -> MemoryBackend:
        assert isinstance(self.service.backend, MemoryBackend)
        return self.service.backend

    def use(self, agent: Callable[..., Any]) -> None:
        """Serve another function from now on."""
        self.service.runs.agent = HandlerAgent(agent)

    async def start(self, payload: Any = None, **query: str) -> str:
        """Start a run and return its id."""
        async with self.client.post("/runs", json={} if payload is None else payload, params=query) as answer:
            assert answer.status == 202, await answer.text()
            return str((await answer.json())["run_id"])

    async def record(self, run_id: str) -> dict[str, Any]:
        async with self.client.get(f"/runs/{run_id}") as answer:
            assert answer.status == 200, await answer.text()
            return dict(await answer.json())

    async def finished(self, run_id: str) -> dict[str, Any]:
        """Wait for a run's end and return its record."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (record := await self.record(run_id))["status"] in ("accepted", "running"):
                await asyncio.sleep(0.005)
        return record

    @asynccontextmanager
    async def events(self, run_id: str, **query: Any) -> AsyncIterator["Reader"]:
        """Open pattern B."""
        headers = {"Last-Event-ID": str(query.pop("last_event_id"))} if "last_event_id" in query else {}
        async with self.client.get(f"/runs/{run_id}/events", params=query, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            yield Reader(answer)

    @asynccontextmanager
    async def stream(self, payload: Any = None, **query: Any) -> AsyncIterator["Reader"]:
        """Open pattern A."""
        body = {} if payload is None else payload
        async with self.client.post("/invoke/stream", json=body, params=query) as answer:
            assert answer.status == 200, await answer.text()
            yield Reader(answer)


class Reader:
    """Reads one stream of events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.run_id = answer.headers.get("X-Run-Id", "")
        self.decoder = Decoder()
        self.raw = b""
        self._unread: deque[Message] = deque()

    async def __aiter__(self) -> AsyncIterator[Message]:
        async with asyncio.timeout(TIMEOUT_SECONDS * 3):
            while True:
                while self._unread:
                    yield self._unread.popleft()
                data = await self.answer.content.readany()
                if not data:
                    return
                self.raw += data
                self._unread.extend(self.decoder.feed(data))

    async def all(self) -> list[Message]:
        """Read to the end."""
        return [message async for message in self]

    async def until(self, event: str) -> list[Message]:
        """Read up to the first event of a type, and leave the rest."""
        messages: list[Message] = []
        async for message in self:
            messages.append(message)
            if message.event == event:
                return messages
        raise AssertionError(f"no {event} in {[message.event for message in messages]}")


def data(message: Message) -> dict[str, Any]:
    """Return a message's data, decoded."""
    return dict(msgspec.json.decode(message.data))


def sequences(messages: list[Message]) -> list[int]:
    """Return the sequences of the messages that are events of the log."""
    return [int(message.id) for message in messages if message.id is not None]
