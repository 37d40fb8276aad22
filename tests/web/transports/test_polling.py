"""Long polling: events as pages of JSON."""

import asyncio
from typing import Any

import pytest

from dockrion import StreamContext
from tests.conftest import Serve
from tests.support import Served, wait_until
from tests.web.helpers import Waits, error_of
from tests.web.transports.readers import JSON

SMALL = {"redis": {"max_events_per_run": 10}}


async def poll(served: Served, **query: Any) -> dict[str, Any]:
    async with served.client.get("/runs/r/events", params=query, headers=JSON) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Cache-Control"] == "no-store"
        page = dict(await response.json())
    assert page.keys() == {"events", "next_sequence", "done", "gap"}
    return page


def sequences(page: dict[str, Any]) -> list[int]:
    return [event["sequence"] for event in page["events"]]


async def emit_tokens(payload: int, context: StreamContext) -> None:
    for _ in range(payload):
        await context.emit_token("x")


async def finished(serve: Serve, tokens: int, **sections: Any) -> Served:
    served = await serve(emit_tokens, **sections)
    await served.start(tokens, run_id="r")
    await served.finished("r")
    return served


SCALAR: dict[str, Any] = {"io_schema": {"input": {"type": "integer"}}}


async def test_pages_respect_the_limit_and_continue(serve: Serve) -> None:
    served = await finished(serve, 150, **SCALAR)
    pages = [await poll(served)]
    while not pages[-1]["done"]:
        pages.append(await poll(served, from_sequence=pages[-1]["next_sequence"], limit=30))
    assert [len(page["events"]) for page in pages] == [100, 30, 22]
    assert [sequence for page in pages for sequence in sequences(page)] == list(range(1, 153))
    assert pages[-1]["next_sequence"] == 153


@pytest.mark.parametrize("wait", [0, 60])
async def test_end_of_a_finished_run_is_reported_at_once(serve: Serve, wait: int) -> None:
    served = await finished(serve, 1, **SCALAR)
    page = await poll(served, from_sequence=4, wait=wait)
    assert page == {"events": [], "next_sequence": 4, "done": True, "gap": None}


async def test_page_of_a_live_run_is_returned_at_once_and_not_done(serve: Serve) -> None:
    served = await serve(agent := Waits())
    await served.start(run_id="r")
    await wait_until(lambda: served.backend._logs["r"].run.last_sequence == 2)
    page = await poll(served, wait=60)
    assert (sequences(page), page["next_sequence"], page["done"]) == ([1, 2], 3, False)
    page = await poll(served, from_sequence=3)
    assert page == {"events": [], "next_sequence": 3, "done": False, "gap": None}
    agent.go.set()


async def test_wait_ends_with_the_next_event(serve: Serve) -> None:
    served = await serve(agent := Waits())
    await served.start(run_id="r")
    waiting = asyncio.create_task(poll(served, from_sequence=3, wait=60))
    await wait_until(lambda: served.service.streams._deadlines)
    agent.go.set()
    assert sequences(await waiting)[0] == 3


async def test_waiter_gets_no_more_than_its_limit_and_what_is_left_afterwards(serve: Serve) -> None:
    served = await serve(agent := Waits())
    await served.start(run_id="r")
    waiting = asyncio.create_task(poll(served, from_sequence=3, wait=60, limit=1))
    await wait_until(lambda: served.service.streams._deadlines)
    agent.go.set()  # the last two events are stored at once
    page = await waiting
    assert (sequences(page), page["next_sequence"], page["done"]) == ([3], 4, False)
    page = await poll(served, from_sequence=4, limit=1)
    assert (sequences(page), page["next_sequence"], page["done"]) == ([4], 5, True)


async def test_wait_ends_after_its_seconds(serve: Serve) -> None:
    served = await serve(agent := Waits())
    await served.start(run_id="r")
    page = await poll(served, from_sequence=3, wait=1)
    assert page == {"events": [], "next_sequence": 3, "done": False, "gap": None}
    assert not served.service.streams._deadlines
    agent.go.set()


async def test_disconnected_waiter_is_released(serve: Serve) -> None:
    served = await serve(agent := Waits())
    await served.start(run_id="r")
    waiting = asyncio.create_task(poll(served, from_sequence=3, wait=60))
    await wait_until(lambda: served.service.streams._deadlines)
    waiting.cancel()
    await wait_until(lambda: not served.backend._logs["r"].watches)
    agent.go.set()


async def test_gap_is_reported_or_refused(serve: Serve) -> None:
    served = await finished(serve, 50, streaming=SMALL, **SCALAR)
    page = await poll(served, from_sequence=5)
    assert page["gap"] == {"requested": 5, "first_available": 43}
    assert sequences(page) == list(range(43, 53))
    query = {"from_sequence": "5", "strict": "true"}
    async with served.client.get("/runs/r/events", params=query, headers=JSON) as response:
        await error_of(response, 410, "GONE")


async def test_a_position_that_the_run_never_reached_starts_over(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming={"max_concurrent_runs": 1})
    await served.start()  # takes the only slot, so that the next run has no event yet
    await served.start(run_id="r")
    page = await poll(served, from_sequence=9)
    assert page == {
        "events": [],
        "next_sequence": 1,
        "done": False,
        "gap": {"requested": 9, "first_available": 1},
    }
    agent.go.set()
    await served.finished("r")
    page = await poll(served, from_sequence=9)
    assert page["gap"] == {"requested": 9, "first_available": 1}
    assert (sequences(page), page["next_sequence"], page["done"]) == ([1, 2, 3, 4], 5, True)


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "wait=-1", "wait=61", "wait=1.5"])
async def test_bad_query_is_refused(serve: Serve, query: str) -> None:
    served = await serve()
    await served.start(run_id="r")
    async with served.client.get(f"/runs/r/events?{query}", headers=JSON) as response:
        await error_of(response, 400, "VALIDATION_ERROR")
