"""Fake agent processes for `agent.url`, well-behaved or not."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from dockrion import ids
from dockrion.agents.remote import RemoteAgent
from dockrion.dockfile import Dockfile
from dockrion.dockfile.agent_structs import AgentSpec, IoSchemaSpec
from dockrion.dockfile.expose_structs import ExposeSpec
from dockrion.dockfile.streaming_structs import IngestSpec, StreamingSpec
from dockrion.redaction import Redactor
from dockrion.runs.agent import Call
from dockrion.runs.ingest import Batch, Ingest, Receipt
from dockrion.runs.owner_requests import OwnerRequests
from dockrion.runs.tool_policy import ToolPolicy
from tests.agents.harness import Bench, Ended, bench
from tests.support import wait_until

SSE, NDJSON, JSON = "text/event-stream", "application/x-ndjson", "application/json"
EVENTS_URL = "http://dockrion.test/runs/any/events"


@dataclass(frozen=True)
class ReceivedRequest:
    """One request that a process received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Wire:
    """A process's side of one connection, while it handles one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.sent = 0

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self.sent += len(data)

    async def begin(self, content_type: str, status: str = "200 OK", **headers: str) -> None:
        """Send a response head; the body ends with the connection."""
        fields = {"Content-Type": content_type, "Connection": "close"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        await self.send(_head(status, fields))

    async def whole(self, content_type: str | None, body: bytes = b"", status: str = "200 OK") -> None:
        """Send a response with its length, and keep the connection open."""
        fields = {"Content-Length": str(len(body))}
        if content_type is not None:
            fields["Content-Type"] = content_type
        await self.send(_head(status, fields) + body)

    async def chunked(self, content_type: str) -> None:
        """Send a response head with chunked encoding."""
        await self.send(_head("200 OK", {"Content-Type": content_type, "Transfer-Encoding": "chunked"}))

    async def chunk(self, data: bytes = b"") -> None:
        """Send a chunk; an empty one ends the body."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def disconnected(self) -> None:
        """Wait until the client has closed the connection."""
        with suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Reset the connection as a process that is killed does."""
        peer = self._writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Handler = Callable[[ReceivedRequest, Wire], Awaitable[None]]


def _head(status: str, fields: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode()


@dataclass
class Process:
    """A listening process; `left` counts clients that disconnected during a response."""

    answer: Handler
    url: str = ""
    requests: list[ReceivedRequest] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    left: int = 0
    server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def posts(self) -> int:
        return sum(request.method == "POST" for request in self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._answer_all(self.connections, reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except ConnectionError:
            self.left += 1
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def close(self) -> None:
        """Close the port and all connections."""
        if self.server is not None:
            self.server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)

    async def _answer_all(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while not writer.is_closing():
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {
                name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            request = ReceivedRequest(method, path, headers, body, number)
            self.requests.append(request)
            await self.answer(request, Wire(reader, writer))
            await writer.drain()


@asynccontextmanager
async def process(
    answer: Handler, *, uds: Path | None = None, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Process]:
    """Run a process that handles each request with a function."""
    made = Process(answer)
    if uds is not None:
        made.server = await asyncio.start_unix_server(made.serve, uds)
        made.url = f"unix:{uds}:/run"
    else:
        made.server = await asyncio.start_server(made.serve, "127.0.0.1", port, ssl=tls)
        scheme = "https" if tls else "http"
        made.url = f"{scheme}://127.0.0.1:{made.server.sockets[0].getsockname()[1]}/run"
    try:
        yield made
    finally:
        await made.close()


def bytes_of(content_type: str, data: bytes, *, status: str = "200 OK") -> Handler:
    """Respond with these bytes, and close the connection."""

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(content_type, status)
        await wire.send(data)
        wire.close()

    return answer


@asynccontextmanager
async def remote(
    url: str, *, ingest: float | None = None, token: str | None = None, schema: Any = None, **spec: Any
) -> AsyncIterator[RemoteAgent]:
    """Create the agent for a URL, without the Dockfile's limits on timeouts."""
    streaming = StreamingSpec(ingest=IngestSpec(enabled=ingest is not None))
    if ingest is not None:
        given = msgspec.structs.replace(streaming.ingest, idle_timeout=ingest)
        streaming = msgspec.structs.replace(streaming, ingest=given)
    agent = RemoteAgent(
        Dockfile(
            version="1.0",
            agent=AgentSpec(name="tested", url=url, **spec),
            io_schema=IoSchemaSpec(input=schema),
            expose=ExposeSpec(),
            streaming=streaming,
        ),
        token,
    )
    try:
        yield agent
    finally:
        await agent.aclose()


@asynccontextmanager
async def served(answer: Handler, **spec: Any) -> AsyncIterator[tuple[Bench, Process]]:
    """Run a process, and a run manager that uses it as its agent."""
    async with process(answer) as made, remote(made.url, **spec) as agent, bench(agent) as runs:
        yield runs, made
    await wait_until(lambda: made.open == 0)


async def run_against(answer: Handler, payload: Any = None, **spec: Any) -> Ended:
    """Run once against a process, which must get exactly one request."""
    async with served(answer, **spec) as (runs, made):
        ended = await runs.run(payload)
        assert made.posts == 1
        return ended


async def run_with_response(content_type: str, data: bytes, **spec: Any) -> Ended:
    """Run once against a process that responds with these bytes."""
    return await run_against(bytes_of(content_type, data), **spec)


async def start_with_events_url(runs: Bench, payload: Any = None) -> str:
    """Start a run whose events can be pushed."""
    call = Call(payload, events_url=EVENTS_URL)
    return (await runs.runs.start(call, ids.uuid7())).run_id


@dataclass
class Pusher:
    """Pushes events as `POST /runs/{id}/events` does."""

    ingest: Ingest

    async def push(self, run_id: str, *events: Any) -> Receipt:
        return await self.ingest.push(run_id, Batch(list(events)), len(msgspec.json.encode(events)))


@asynccontextmanager
async def pusher(runs: Bench) -> AsyncIterator[Pusher]:
    requests = OwnerRequests(runs.backend)
    ingest = Ingest(runs.runs.find, runs.backend, requests, Redactor(()), ToolPolicy(), max_event_bytes=2**20)
    try:
        yield Pusher(ingest)
    finally:
        await requests.aclose(1)
