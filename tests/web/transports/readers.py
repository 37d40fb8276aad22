"""One reader per transport, with one interface for the tests that run over all of them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, Protocol

import aiohttp
import msgspec

from dockrion.wire.sse import Decoder
from tests.support import TIMEOUT_SECONDS

WEBSOCKET = {"streaming": "websocket"}
LINES = {"Accept": "application/x-ndjson"}
JSON = {"Accept": "application/json"}


class Received(NamedTuple):
    """A received event, or, without a sequence, a control frame."""

    type: str
    sequence: int | None
    data: bytes


class HasClient(Protocol):
    """A service to read from, with a `TestClient` or a `ClientSession` in `client`."""

    @property
    def client(self) -> Any: ...


class Refused(Exception):
    """The server refused or closed the connection with this status or close code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


Stream = AsyncIterator[Received]
OpenStream = Callable[..., AbstractAsyncContextManager[Stream]]


def received(data: bytes, name: str | None = None) -> Received:
    fields = msgspec.json.decode(data)
    if name is not None and "sequence" not in fields:  # SSE: a control frame's type is the event's name
        return Received(name, None, data)
    return Received(fields["type"], fields.get("sequence"), data)


async def _sse(response: aiohttp.ClientResponse) -> AsyncGenerator[Received]:
    decoder = Decoder()
    async for data in response.content.iter_any():
        for message in decoder.feed(data):
            yield received(message.data.encode(), message.event)


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[Received]:
    async for line in response.content:
        yield received(line.removesuffix(b"\n"))


async def _messages(socket: aiohttp.ClientWebSocketResponse) -> AsyncGenerator[Received]:
    async for message in socket:
        yield received(message.data.encode())
    assert socket.close_code is not None
    if socket.close_code != aiohttp.WSCloseCode.OK:
        raise Refused(socket.close_code)


async def _polled(served: HasClient, run_id: str, query: dict[str, Any]) -> AsyncGenerator[Received]:
    query = {"wait": 10, "limit": 50} | query
    while True:
        async with served.client.get(f"/runs/{run_id}/events", params=query, headers=JSON) as response:
            if response.status != 200:
                raise Refused(response.status)
            page = msgspec.json.decode(await response.read(), type=dict[str, msgspec.Raw])
        gap = msgspec.json.decode(page["gap"])
        if gap is not None:
            yield Received("gap", None, bytes(page["gap"]))
        for event in msgspec.json.decode(page["events"], type=list[msgspec.Raw]):
            yield received(bytes(event))
        query["from_sequence"] = int(bytes(page["next_sequence"]))
        if msgspec.json.decode(page["done"]):
            return


def _http(headers: dict[str, str], read: Callable[[aiohttp.ClientResponse], Stream]) -> OpenStream:
    @asynccontextmanager
    async def watching(served: HasClient, run_id: str, **query: Any) -> AsyncIterator[Stream]:
        path = f"/runs/{run_id}/events"
        async with served.client.get(path, params=query, headers=headers) as response:
            if response.status != 200:
                raise Refused(response.status)
            yield read(response)

    return watching


@asynccontextmanager
async def _polling(served: HasClient, run_id: str, **query: Any) -> AsyncIterator[Stream]:
    yield _polled(served, run_id, query)


@asynccontextmanager
async def _socket(served: HasClient, run_id: str, **query: Any) -> AsyncIterator[Stream]:
    async with served.client.ws_connect(f"/runs/{run_id}/ws", params=query) as socket:
        yield _messages(socket)


TRANSPORTS: dict[str, OpenStream] = {
    "sse": _http({}, _sse),
    "ndjson": _http(LINES, _lines),
    "polling": _polling,
    "websocket": _socket,
}
STREAMS = [name for name in TRANSPORTS if name != "polling"]


@asynccontextmanager
async def invoking(served: HasClient, transport: str, payload: Any = None) -> AsyncIterator[Stream]:
    """Invoke the agent and read its stream (pattern A)."""
    payload = {} if payload is None else payload
    if transport == "websocket":
        async with served.client.ws_connect("/invoke/ws") as socket:
            await socket.send_json(payload)
            yield _messages(socket)
        return
    headers, read = (LINES, _lines) if transport == "ndjson" else ({}, _sse)
    async with served.client.post("/invoke/stream", json=payload, headers=headers) as response:
        if response.status != 200:
            raise Refused(response.status)
        yield read(response)


async def all_of(stream: Stream) -> list[Received]:
    """Read to the end."""
    async with asyncio.timeout(TIMEOUT_SECONDS * 3):
        return [each async for each in stream]


async def until(stream: Stream, event_type: str) -> list[Received]:
    """Read up to the first event of a type."""
    got: list[Received] = []
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for each in stream:
            got.append(each)
            if each.type == event_type:
                return got
    raise AssertionError(f"no {event_type} in {got}")


def sequences(messages: list[Received]) -> list[int]:
    return [each.sequence for each in messages if each.sequence is not None]
