"""A server that breaks what the service promises, one promise at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

from aiohttp import web
from aiohttp.test_utils import TestServer

from dockrion.events import Entry
from dockrion.wire import sse

Behave = Callable[[web.Request, web.StreamResponse, int], Awaitable[None]]


def event(sequence: int, kind: str = "token", said: str = "x") -> bytes:
    return sse.encode_event(Entry(sequence, kind, f'{{"content":"{said}"}}'.encode(), 0.0))


def honest(last: int = 5) -> bytes:
    return b"".join(map(event, range(1, last))) + event(last, "complete")


def says(stream: bytes) -> Behave:
    """Tell this, and nothing to those who come back."""

    async def behave(request: web.Request, response: web.StreamResponse, _number: int) -> None:
        if "Last-Event-ID" not in request.headers:
            await response.write(stream)

    return behave


async def begins_again(_request: web.Request, response: web.StreamResponse, _number: int) -> None:
    """Ignore what a reader has."""
    await response.write(honest())


async def differs(_request: web.Request, response: web.StreamResponse, number: int) -> None:
    """Tell each reader something else."""
    await response.write(event(1, said=f"to {number}") + event(2, "complete"))


async def breaks_off_once(request: web.Request, response: web.StreamResponse, number: int) -> None:
    """Cut the first connection within its third event, and go on where the reader was on the second."""
    if number == 1:
        await response.write(event(1) + event(2) + event(3)[:10])
        await drop(request)
    else:
        after = int(request.headers.get("Last-Event-ID", 0))
        await response.write(b"".join(map(event, range(after + 1, 4))) + event(4, "complete"))


async def drop(request: web.Request) -> None:
    """Close a connection once what was written to it is on its way."""
    assert request.transport is not None
    while request.transport.get_write_buffer_size():
        await asyncio.sleep(0)
    request.transport.close()


async def breaks_off(request: web.Request, response: web.StreamResponse, _number: int) -> None:
    """Cut the connection within its first frame."""
    await response.write(event(1)[:10])
    await drop(request)


async def says_nothing(_request: web.Request, response: web.StreamResponse, _number: int) -> None:
    """Keep the connection alive, and tell nothing on it."""
    while True:
        await response.write(sse.KEEPALIVE)
        await asyncio.sleep(0.01)


async def talks_without_end(_request: web.Request, response: web.StreamResponse, _number: int) -> None:
    while True:
        await response.write(b"data: and so on " * 4096 + b"\n")
        await asyncio.sleep(0)


@asynccontextmanager
async def lying(behave: Behave) -> AsyncIterator[str]:
    """Serve pattern A and B like this, and return where."""
    numbers = count(1)

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Run-Id": "r"})
        await response.prepare(request)
        await behave(request, response, next(numbers))
        return response

    async def create(_request: web.Request) -> web.Response:
        return web.json_response({"run_id": "r", "events_url": "/runs/r/events"}, status=202)

    app = web.Application()
    app.router.add_post("/invoke/stream", stream)
    app.router.add_post("/runs", create)
    app.router.add_get("/runs/r/events", stream)
    async with serving(app) as url:
        yield url


@asynccontextmanager
async def answering(response: Callable[[], web.Response]) -> AsyncIterator[str]:
    """Answer everything like this."""

    async def answer(_request: web.Request) -> web.Response:
        return response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        yield url


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")
