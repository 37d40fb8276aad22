"""Other people's SSE libraries, with one interface: what they give to applications."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, NamedTuple

import aiohttp
import httpx
import httpx_sse
import sseclient
from aiohttp_sse_client2.client import EventSource

from tests.interop import node


class Request(NamedTuple):
    """The request for a stream; with a body it is a POST."""

    url: str
    body: bytes | None = None
    last_event_id: str | None = None

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"

    @property
    def headers(self) -> dict[str, str]:
        resume = {} if self.last_event_id is None else {"Last-Event-ID": self.last_event_id}
        return resume if self.body is None else resume | {"Content-Type": "application/json"}


class Received(NamedTuple):
    """One message as the application gets it, its data decoded as JSON."""

    event: str
    id: str
    data: Any


CLOSED = Received("closed", "", None)  # the library stopped by itself
Read = Callable[[Request], AsyncGenerator[Received]]


async def _httpx_sse(request: Request) -> AsyncGenerator[Received]:
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        httpx_sse.aconnect_sse(
            client, request.method, request.url, content=request.body, headers=request.headers
        ) as source,
        aclosing(source.aiter_sse()) as messages,
    ):
        async for message in messages:
            yield Received(message.event, message.id, message.json())


async def _sseclient(request: Request) -> AsyncGenerator[Received]:
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[Received | None] = asyncio.Queue()

    def read() -> None:
        with (
            httpx.Client(trust_env=False) as client,
            client.stream(
                request.method, request.url, content=request.body, headers=request.headers
            ) as response,
        ):
            for message in sseclient.SSEClient(response.iter_bytes()).events():
                each = Received(message.event, message.id or "", json.loads(message.data))
                loop.call_soon_threadsafe(received.put_nowait, each)
        loop.call_soon_threadsafe(received.put_nowait, None)

    reading = asyncio.create_task(asyncio.to_thread(read))
    while (each := await received.get()) is not None:
        yield each
    await reading


async def _aiohttp_sse_client(request: Request) -> AsyncGenerator[Received]:
    options = {"option": {"method": request.method}, "headers": request.headers, "data": request.body}
    async with (
        aiohttp.ClientSession() as session,
        EventSource(request.url, session=session, **options) as source,
    ):
        async for message in source:
            yield Received(message.type, message.last_event_id, json.loads(message.data))
            if message.type == "complete":  # it connects again, and raises on 204
                return


def _npm(library: str) -> Read:
    async def read(request: Request) -> AsyncGenerator[Received]:
        body = [] if request.body is None else [request.body.decode()]
        async with node.running("stream.mjs", library, request.url, *body) as lines:
            async for line in lines:
                yield Received(*json.loads(line))

    return read


RESUMED_BY_HAND: dict[str, Read] = {"httpx-sse": _httpx_sse, "sseclient-py": _sseclient}
RESUME_AFTER_END: dict[str, Read] = {
    "aiohttp-sse-client2": _aiohttp_sse_client,
    "eventsource": _npm("eventsource"),
}
RESUME_AFTER_LOSS: dict[str, Read] = {
    "eventsource": RESUME_AFTER_END["eventsource"],
    "fetch-event-source": _npm("fetch-event-source"),
}
LIBRARIES = RESUMED_BY_HAND | RESUME_AFTER_END | RESUME_AFTER_LOSS
