"""Long polling: a run's events as one JSON response."""

import asyncio

import msgspec
from aiohttp import web

from dockrion.backends.follow import follow
from dockrion.backends.pages import IDLE, Page
from dockrion.backends.run_log import Run
from dockrion.events.control_frames import Gap
from dockrion.ids import INCARNATION_HEADER
from dockrion.web import parameters
from dockrion.web.responses import json_response
from dockrion.web.service import SERVICE
from dockrion.web.streams import first_position, time_left

MEDIA_TYPE = "application/json"
_HEADERS = {"Cache-Control": "no-store", "Vary": "Accept"}


async def poll(request: web.Request, run: Run, after: int) -> web.Response:
    """Respond with the events after a position; with `?wait=`, not before there is one or the run ends.

    Args:
        request: The request.
        run: The run's record.
        after: The last sequence the reader has.

    Raises:
        RunNotFound: No such run.
        TooManySubscribers: The run has as many waiting readers as it may.
    """
    limit = parameters.integer(request, "limit", 100, 1, 500)
    wait = parameters.integer(request, "wait", 0, 0, 60)
    start = first_position(run, after)
    page = await request.app[SERVICE].backend.read(run.run_id, start, limit, run.incarnation)
    if wait and not page.entries and not page.closed:
        page = await _next_page(request, run, start, wait)
    entries = page.entries[:limit]
    first = entries[0].sequence if entries else start + 1
    gap = None if first == after + 1 else msgspec.structs.asdict(Gap(after + 1, first))
    return json_response(
        {
            "events": [msgspec.Raw(entry.data) for entry in entries],
            "next_sequence": first + len(entries),
            "done": page.closed and len(entries) == len(page.entries),
            "gap": gap,
        },
        headers={**_HEADERS, INCARNATION_HEADER: run.incarnation},
    )


async def _next_page(request: web.Request, run: Run, after: int, wait: int) -> Page:
    """Wait for the next page: one with events, a closed one at the run's end, or `IDLE`."""
    service = request.app[SERVICE]
    limit = service.dockfile.streaming.connection.max_subscribers_per_run
    log = service.backend
    async with follow(log, run.run_id, after, run.incarnation, idle=wait, limit=limit) as pages:
        try:
            async with asyncio.timeout(time_left(wait, request)[0]) as deadline:
                service.streams.add(deadline)
                try:
                    return await anext(pages, Page((), closed=True))
                finally:
                    service.streams.remove(deadline)
        except TimeoutError:
            return IDLE
