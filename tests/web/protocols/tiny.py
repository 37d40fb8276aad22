"""The endpoints of `tests/protocols/tiny.py`, and their clients."""

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from aiohttp import hdrs, web

from dockrion.backends.owner_messages import RunRef
from dockrion.events import Entry
from dockrion.protocols.conversation import Conversation
from dockrion.web import parameters
from dockrion.web.access import INVOKE, READ_EVENTS, READ_RUNS
from dockrion.web.invoke import cancels_on_disconnect, run_headers
from dockrion.web.protocols.resuming import final_state, resume, stored_state
from dockrion.web.protocols.starting import read_request, start_conversation_run
from dockrion.web.protocols.stream import ProtocolStream, stream_new_run
from dockrion.web.responses import json_response
from dockrion.web.routes import Route
from dockrion.web.service import SERVICE
from tests.protocols.tiny import Skip, TinyEncoder, TinyState
from tests.support import Served, wait_until

TINY = {"protocols": ["vercel-ai"]}  # in whose place it is served


class Ask(msgspec.Struct):
    text: str
    fields: dict[str, object] = {}


class CountingEncoder(TinyEncoder, frozen=True):
    """Keeps a list of the first sequences that were encoded, and breaks where an event says so."""

    calls: ClassVar[list[int]] = []

    def encode(self, state: TinyState, entries: Sequence[Entry]) -> tuple[bytes, TinyState]:
        self.calls.append(entries[0].sequence)
        if any(b"break the encoder" in entry.data for entry in entries):
            raise ValueError("broken")
        return super().encode(state, entries)


ENCODER = CountingEncoder()


async def create(request: web.Request) -> web.StreamResponse:
    asked = await read_request(request, Ask)
    cancel = cancels_on_disconnect(request)
    conversation = Conversation([{"role": "user", "content": asked.text}], asked.fields)
    run, replayed = await start_conversation_run(
        request, conversation, protocol={"text": asked.text}, cancel_on_disconnect=cancel
    )
    headers = run_headers(request, run, replayed=replayed)
    cancel = cancel and not replayed
    return await stream_new_run(request, run, ENCODER, headers=headers, cancel_on_disconnect=cancel)


async def watch(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    run = await service.access.readable_run(request)
    ref = RunRef(run.run_id, run.incarnation)
    last = request.headers.get("Last-Event-ID")
    found = await resume(service.backend, ref, ENCODER, Skip(int(last))) if last is not None else None
    stream = ProtocolStream(request, ENCODER)
    await stream.send_events(ref, found, timeout=parameters.timeout(request))
    return stream.response


async def state(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    run = await service.access.readable_run(request)
    ref = RunRef(run.run_id, run.incarnation)
    if "now" in request.query:
        return json_response(await stored_state(service.backend, ref, ENCODER))
    return json_response(await final_state(request, ref, ENCODER))


ROUTES = (
    Route(hdrs.METH_POST, "/tiny", create, INVOKE, streams=True),
    Route(hdrs.METH_GET, "/tiny/{run_id}", watch, READ_EVENTS, streams=True),
    Route(hdrs.METH_GET, "/tiny/{run_id}/state", state, READ_RUNS),
)


async def read(served: Served, run_id: str, last: int | None = None, **query: str) -> bytes:
    """Return what a reader gets who has so many frames."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    async with served.client.get(f"/tiny/{run_id}", headers=headers, params=query) as response:
        assert response.status == 200, await response.text()
        return await response.read()


async def streams_open(served: Served, number: int) -> None:
    """Wait until there are so many readers."""
    await wait_until(lambda: len(served.service.streams._deadlines) == number)
