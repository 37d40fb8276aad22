"""Long polling: a run's events as one JSON response."""

import asyncio

import msgspec
from aiohttp import web

from dockrion.backends.follow import follow
from dockrion.backends.pages import IDLE, Page
from dockrion.events.control_frames import Gap
from dockrion.web import parameters
from dockrion.web.responses import json_response
from dockrion.web.service import SERVICE
from dockrion.web.streams import time_left

MEDIA_TYPE = "application/json"
_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}


async def poll(request: web.Request, run_id: str, after: int) -> web.Response:
    """Respond with the events after a position; with `?wait=`, not before there is one or the run ends.

    Args:
        request: The request.
        run_id: The run.
        after: The last sequence the reader has.

    Raises:
        RunNotFound: No such run.
        TooManySubscribers: The run has as many waiting readers as it may.
    """
    limit = parameters.integer(request, "limit", 100, 1, 500)
    wait = parameters.integer(request, "wait", 0, 0, 60)
    page = await request.app[SERVICE].backend.read(run_id, after, limit)
    if wait and not page.entries and not page.closed:
        page = await _next_page(request, run_id, after, wait)
    entries = page.entries[:limit]
    gap = None
    if entries and entries[0].sequence > after + 1:
        gap = msgspec.structs.asdict(Gap(after + 1, entries[0].sequence))
    return json_response(
        {
            "events": [msgspec.Raw(entry.data) for entry in entries],
            "next_sequence": (entries[-1].sequence if entries else after) + 1,
            "done": page.closed and len(entries) == len(page.entries),
            "gap": gap,
        },
        headers=_HEADERS,
    )


async def _next_page(request: web.Request, run_id: str, after: int, wait: int) -> Page:
    """Wait for the next page: one with events, a closed one at the run's end, or `IDLE`."""
    service = request.app[SERVICE]
    limit = service.dockfile.streaming.connection.max_subscribers_per_run
    async with follow(service.backend, run_id, after, idle=wait, limit=limit) as pages:
        try:
            async with asyncio.timeout(time_left(wait, request)[0]) as deadline:
                service.streams.add(deadline)
                try:
                    return await anext(pages, Page((), closed=True))
                finally:
                    service.streams.remove(deadline)
        except TimeoutError:
            return IDLE
