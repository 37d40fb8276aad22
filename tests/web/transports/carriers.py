"""One reader for each transport, alike for the tests that run over all of them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import msgspec

from dockrion.wire.sse import Decoder
from tests.support import TIMEOUT_SECONDS, Served

WEBSOCKET = {"streaming": "websocket"}
LINES = {"Accept": "application/x-ndjson"}
JSON = {"Accept": "application/json"}


class Heard(NamedTuple):
    """An event of the log, or, without a sequence, what the connection says of itself."""

    type: str
    sequence: int | None
    data: bytes


class Refused(Exception):
    """The reader was not let in, or was let go."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


Heards = AsyncIterator[Heard]
Watching = Callable[..., AbstractAsyncContextManager[Heards]]


def heard(data: bytes, name: str | None = None) -> Heard:
    said = msgspec.json.decode(data)
    own_control = name is not None and "sequence" not in said
    return Heard(name if own_control and name else said["type"], said.get("sequence"), data)


async def _sse(answer: aiohttp.ClientResponse) -> AsyncGenerator[Heard]:
    decoder = Decoder()
    async for data in answer.content.iter_any():
        for message in decoder.feed(data):
            yield heard(message.data.encode(), message.event)


async def _lines(answer: aiohttp.ClientResponse) -> AsyncGenerator[Heard]:
    async for line in answer.content:
        yield heard(line.removesuffix(b"\n"))


async def _messages(socket: aiohttp.ClientWebSocketResponse) -> AsyncGenerator[Heard]:
    async for message in socket:
        yield heard(message.data.encode())
    assert socket.close_code is not None
    if socket.close_code != aiohttp.WSCloseCode.OK:
        raise Refused(socket.close_code)


async def _polled(served: Served, run_id: str, query: dict[str, Any]) -> AsyncGenerator[Heard]:
    query = {"wait": 10, "limit": 50} | query
    while True:
        async with served.client.get(f"/runs/{run_id}/events", params=query, headers=JSON) as answer:
            if answer.status != 200:
                raise Refused(answer.status)
            page = msgspec.json.decode(await answer.read(), type=dict[str, msgspec.Raw])
        gap = msgspec.json.decode(page["gap"])
        if gap is not None:
            yield Heard("gap", None, bytes(page["gap"]))
        for event in msgspec.json.decode(page["events"], type=list[msgspec.Raw]):
            yield heard(bytes(event))
        query["from_sequence"] = int(bytes(page["next_sequence"]))
        if msgspec.json.decode(page["done"]):
            return


def _http(headers: dict[str, str], read: Callable[[aiohttp.ClientResponse], Heards]) -> Watching:
    @asynccontextmanager
    async def watching(served: Served, run_id: str, **query: Any) -> AsyncIterator[Heards]:
        path = f"/runs/{run_id}/events"
        async with served.client.get(path, params=query, headers=headers) as answer:
            if answer.status != 200:
                raise Refused(answer.status)
            yield read(answer)

    return watching


@asynccontextmanager
async def _polling(served: Served, run_id: str, **query: Any) -> AsyncIterator[Heards]:
    yield _polled(served, run_id, query)


@asynccontextmanager
async def _socket(served: Served, run_id: str, **query: Any) -> AsyncIterator[Heards]:
    async with served.client.ws_connect(f"/runs/{run_id}/ws", params=query) as socket:
        yield _messages(socket)


WATCHING: dict[str, Watching] = {
    "sse": _http({}, _sse),
    "ndjson": _http(LINES, _lines),
    "polling": _polling,
    "websocket": _socket,
}
STREAMS = [name for name in WATCHING if name != "polling"]


@asynccontextmanager
async def asking(served: Served, transport: str, payload: Any = None) -> AsyncIterator[Heards]:
    """Open pattern A."""
    payload = {} if payload is None else payload
    if transport == "websocket":
        async with served.client.ws_connect("/invoke/ws") as socket:
            await socket.send_json(payload)
            yield _messages(socket)
        return
    headers, read = (LINES, _lines) if transport == "ndjson" else ({}, _sse)
    async with served.client.post("/invoke/stream", json=payload, headers=headers) as answer:
        if answer.status != 200:
            raise Refused(answer.status)
        yield read(answer)


async def all_of(heards: Heards) -> list[Heard]:
    """Read to the end."""
    async with asyncio.timeout(TIMEOUT_SECONDS * 3):
        return [each async for each in heards]


async def until(heards: Heards, event_type: str) -> list[Heard]:
    """Read up to the first of a type, and leave the rest."""
    got: list[Heard] = []
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for each in heards:
            got.append(each)
            if each.type == event_type:
                return got
    raise AssertionError(f"no {event_type} in {got}")


def sequences(heards: list[Heard]) -> list[int]:
    return [each.sequence for each in heards if each.sequence is not None]
