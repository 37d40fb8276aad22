"""Servers that break the promises of a service, one at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

from aiohttp import web
from aiohttp.test_utils import TestServer

from dockrion.events import Entry
from dockrion.wire import sse

Behave = Callable[[web.Request, web.StreamResponse, int], Awaitable[None]]


def event(sequence: int, type_: str = "token", content: str = "x") -> bytes:
    return sse.encode_event(Entry(sequence, type_, f'{{"content":"{content}"}}'.encode(), 0.0))


def whole_run(last: int = 5) -> bytes:
    return b"".join(map(event, range(1, last))) + event(last, "complete")


def sends(stream: bytes) -> Behave:
    """Send this, and nothing to readers that resume."""

    async def behave(request: web.Request, response: web.StreamResponse, _number: int) -> None:
        if "Last-Event-ID" not in request.headers:
            await response.write(stream)

    return behave


async def ignores_last_event_id(_request: web.Request, response: web.StreamResponse, _number: int) -> None:
    await response.write(whole_run())


async def differs(_request: web.Request, response: web.StreamResponse, number: int) -> None:
    """Send other events on each connection."""
    await response.write(event(1, content=f"for {number}") + event(2, "complete"))


async def disconnects_once(request: web.Request, response: web.StreamResponse, number: int) -> None:
    """Close the first connection within its third event, and resume correctly on the second."""
    if number == 1:
        await response.write(event(1) + event(2) + event(3)[:10])
        await disconnect(request)
    else:
        after = int(request.headers.get("Last-Event-ID", 0))
        await response.write(b"".join(map(event, range(after + 1, 4))) + event(4, "complete"))


async def disconnect(request: web.Request) -> None:
    """Close a connection once all that was written has been sent."""
    assert request.transport is not None
    while request.transport.get_write_buffer_size():
        await asyncio.sleep(0)
    request.transport.close()


async def disconnects(request: web.Request, response: web.StreamResponse, _number: int) -> None:
    """Close the connection within its first event."""
    await response.write(event(1)[:10])
    await disconnect(request)


async def sends_keepalives(_request: web.Request, response: web.StreamResponse, _number: int) -> None:
    """Send keep-alives, and no event."""
    while True:
        await response.write(sse.KEEPALIVE)
        await asyncio.sleep(0.01)


async def sends_endless_event(_request: web.Request, response: web.StreamResponse, _number: int) -> None:
    while True:
        await response.write(b"data: more " * 4096 + b"\n")
        await asyncio.sleep(0)


@asynccontextmanager
async def serving_streams(behave: Behave) -> AsyncIterator[str]:
    """Serve patterns A and B with this behaviour, and yield the URL."""
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
async def responding(response: Callable[[], web.Response]) -> AsyncIterator[str]:
    """Send this response to every request, and yield the URL."""

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
