"""An agent process that asks, in its response or in events that it pushes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from dockrion.runs.ingest import Batch, Receipt
from tests.agents.harness import Bench
from tests.agents.processes import (
    NDJSON,
    Process,
    ReceivedRequest,
    Wire,
    pusher,
    served,
    start_with_events_url,
)
from tests.support import wait_until

ASKED: dict[str, Any] = {
    "type": "input_requested",
    "request_id": "q1",
    "prompt": "Send it?",
    "schema": {"type": "boolean"},
}
END: dict[str, Any] = {"type": "complete", "output": "done"}


def line(event: dict[str, Any]) -> bytes:
    return msgspec.json.encode(event) + b"\n"


class Asking:
    """A process that asks in its response, and ends when it has been answered."""

    def __init__(self, *asked: dict[str, Any]) -> None:
        self.asked = asked or (ASKED,)
        self.go = asyncio.Event()
        self.headers: dict[str, str] = {}

    async def __call__(self, request: ReceivedRequest, wire: Wire) -> None:
        self.headers = request.headers
        await wire.begin(NDJSON)
        for event in self.asked:
            await wire.send(line(event))
        await self.go.wait()
        await wire.send(line(END))
        wire.close()


@asynccontextmanager
async def pushed(idle_timeout: float = 10) -> AsyncIterator[tuple[Bench, str, Callable[..., Any]]]:
    """Start a run whose events are pushed."""

    async def accept(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.whole(None, status="202 Accepted")

    made: Process
    async with served(accept, ingest=idle_timeout) as (runs, made), pusher(runs) as pushing:
        run_id = await start_with_events_url(runs)
        await wait_until(lambda: made.posts)

        async def push(*events: Any, seq: int | None = None) -> Receipt:
            batch = Batch(list(events), seq)
            return await pushing.ingest.push(run_id, batch, len(msgspec.json.encode(events)))

        yield runs, run_id, push
