"""A server that breaks what the service promises, one promise at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

from aiohttp import web
from aiohttp.test_utils import TestServer

from dockrion import sse
from dockrion.events import Entry

Behave = Callable[[web.Request, web.StreamResponse, int], Awaitable[None]]


def event(sequence: int, kind: str = "token", said: str = "x") -> bytes:
    return sse.frame(Entry(sequence, kind, f'{{"content":"{said}"}}'.encode(), 0.0))


def honest(last: int = 5) -> bytes:
    return b"".join(map(event, range(1, last))) + event(last, "complete")


def says(stream: bytes) -> Behave:
    async def behave(_request: web.Request, response: web.StreamResponse, _number: int) -> None:
        await response.write(stream)

    return behave


async def differs(_request: web.Request, response: web.StreamResponse, number: int) -> None:
    """Tell each reader something else."""
    await response.write(event(1, said=f"to {number}") + event(2, "complete"))


async def breaks_off(request: web.Request, response: web.StreamResponse, _number: int) -> None:
    """Cut the connection within a frame."""
    await response.write(honest()[:100])
    assert request.transport is not None
    request.transport.abort()


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
