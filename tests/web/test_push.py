"""Pushing events: media types, targets and responses."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.agents.harness import COMMON, check_promises
from tests.conftest import Serve
from tests.support import INGEST, Served, data
from tests.web.helpers import Waits, error_of

pytestmark = pytest.mark.usefixtures("every_backend")

ENABLED: dict[str, Any] = {"ingest": INGEST, "redis": {"max_events_per_run": 10_000}}
END: dict[str, Any] = {"type": "complete", "output": {"done": True}}
ALL: list[dict[str, Any]] = [
    {"type": "progress", "step": "s", "progress": 0.5, "message": None},
    {"type": "token", "content": "ä\n\u2028", "finish_reason": "stop"},
    {"type": "step", "node_name": "n", "duration_ms": 1.5, "input_keys": ["a"], "output_keys": []},
    {"type": "checkpoint", "name": "c", "data": {"deep": [1, 2.5, None, "x", 2**70]}},
    {"type": "heartbeat"},
    {"type": "custom:mine", "anything": {"at": ["all"]}},
]


def lines(events: list[Any], end: bytes = b"\n") -> bytes:
    return end.join(msgspec.json.encode(event) for event in events)


async def push(served: Served, run_id: str, events: Any, **query: Any) -> dict[str, Any]:
    """Push events that must be accepted."""
    async with served.client.post(f"/runs/{run_id}/events", json=events, params=query) as response:
        assert response.status == 200, await response.text()
        return dict(await response.json())


async def refused(
    served: Served, run_id: str, events: Any, status: int = 400, code: str = "VALIDATION_ERROR", **query: Any
) -> dict[str, Any]:
    """Push events that must be refused, and return the response."""
    async with served.client.post(f"/runs/{run_id}/events", json=events, params=query) as response:
        return await error_of(response, status, code)


async def own(served: Served, run_id: str) -> list[dict[str, Any]]:
    """Read a finished run, check the promises, and return what was pushed: type and own fields."""
    async with served.events(run_id) as reader:
        events = [data(message) for message in await reader.all()]
    check_promises(await served.service.backend.get(run_id), events)
    assert events[0]["type"] == "started"
    return [
        {name: value for name, value in event.items() if name == "type" or name not in COMMON}
        for event in events[1:-1]
    ]


FORMS: dict[str, tuple[str, bytes]] = {
    "array": ("application/json", msgspec.json.encode(ALL)),
    "array of a vendor's type": ("application/x+json; charset=utf-8", msgspec.json.encode(ALL)),
    "lines": ("application/x-ndjson", lines(ALL)),
    "ended lines": ("application/jsonl; charset=utf-8", lines(ALL) + b"\n"),
    "lines of Windows": ("Application/JSONL", lines(ALL, b"\r\n") + b"\r\n"),
    "lines with blank ones": ("application/x-ndjson", b"\n \n" + lines(ALL, b"\n\n\r\n") + b"\n\n"),
}


@pytest.mark.parametrize("form", FORMS)
async def test_every_media_type_delivers_events_unchanged(serve: Serve, form: str) -> None:
    content_type, body = FORMS[form]
    served = await serve(streaming=ENABLED)
    run_id = await served.start(external="true")
    headers = {"Content-Type": content_type}
    async with served.client.post(f"/runs/{run_id}/events", data=body, headers=headers) as response:
        assert await response.json() == {
            "success": True,
            "run_id": run_id,
            "accepted": len(ALL),
            "duplicate": False,
        }
    await push(served, run_id, END)
    assert await own(served, run_id) == ALL


async def test_single_event_may_be_an_object(serve: Serve) -> None:
    served = await serve(streaming=ENABLED)
    run_id = await served.start(external="true")
    for event in ALL:
        assert (await push(served, run_id, event))["accepted"] == 1
    await push(served, run_id, END)
    assert await own(served, run_id) == ALL


async def test_events_read_from_another_run_can_be_pushed(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming=ENABLED)
    agent.go.set()
    async with served.stream() as reader:
        read = [data(message) for message in await reader.all()]
    run_id = await served.start(external="true")
    await push(served, run_id, read[1:])
    assert [event["content"] for event in await own(served, run_id)] == ["first", "last"]
    record = await served.record(run_id)
    assert (record["status"], record["output"]) == ("completed", {"done": True})


async def test_all_readers_get_the_same_bytes(serve: Serve) -> None:
    served = await serve(streaming=ENABLED)
    run_id = await served.start(external="true")
    async with served.events(run_id) as early, served.events(run_id) as other:
        readers = [asyncio.create_task(each.all()) for each in (early, other)]
        for number in range(1, 30):
            await push(served, run_id, ALL * number, producer_seq=number)
        await push(served, run_id, END, producer_seq=30)
        await asyncio.gather(*readers)
    async with served.events(run_id) as late:
        await late.all()
    assert early.raw == other.raw == late.raw
    assert await own(served, run_id) == ALL * sum(range(1, 30))


async def test_retry_changes_nothing_during_and_after_the_run(serve: Serve) -> None:
    served = await serve(streaming=ENABLED)
    run_id = await served.start(external="true")
    again = {"success": True, "run_id": run_id, "accepted": 0, "duplicate": True}
    await push(served, run_id, ALL[:2], producer_seq=1)
    assert await push(served, run_id, ALL[:2], producer_seq=1) == again
    await push(served, run_id, [ALL[2], END], producer_seq=2)
    for number in (1, 2, 2):
        assert await push(served, run_id, END, producer_seq=number) == again
    await served.finished(run_id)
    for number in (1, 2, 2):
        assert await push(served, run_id, END, producer_seq=number) == again
    assert await own(served, run_id) == ALL[:3]


async def test_skipped_producer_seq_is_a_conflict_with_the_expected_one(serve: Serve) -> None:
    served = await serve(streaming=ENABLED)
    run_id = await served.start(external="true")
    for expected, number in ((1, 2), (1, 2**63 - 1)):
        body = await refused(served, run_id, ALL, 409, "CONFLICT", producer_seq=number)
        assert body["details"] == {"expected": expected}
    await push(served, run_id, ALL[0], producer_seq=1)
    body = await refused(served, run_id, END, 409, "CONFLICT", producer_seq=3)
    assert body["details"] == {"expected": 2}
    await push(served, run_id, END, producer_seq=2)
    assert await own(served, run_id) == ALL[:1]


async def test_concurrent_duplicates_are_accepted_once(serve: Serve) -> None:
    served = await serve(streaming=ENABLED)
    run_id = await served.start(external="true")
    for number in range(1, 6):
        responses = await asyncio.gather(*(push(served, run_id, ALL, producer_seq=number) for _ in range(20)))
        assert sorted(response["accepted"] for response in responses) == [0] * 19 + [len(ALL)]
        assert sum(response["duplicate"] for response in responses) == 19
    await push(served, run_id, END, producer_seq=6)
    assert await own(served, run_id) == ALL * 5


@pytest.mark.parametrize("number", ["0", "-1", "+1", "x", "1.5", "", " 1", "²", str(2**63)])
async def test_invalid_producer_seq_is_refused(serve: Serve, number: str) -> None:
    served = await serve(streaming=ENABLED)
    run_id = await served.start(external="true")
    assert "producer_seq" in (await refused(served, run_id, ALL, producer_seq=number))["error"]
    await push(served, run_id, END)
    assert await own(served, run_id) == []


async def test_runs_that_accept_no_events(serve: Serve) -> None:
    served = await serve(streaming={**ENABLED, "max_concurrent_runs": 1})
    run_id = await served.start(external="true")
    waiting = await served.start(external="true")
    async with served.client.post(f"/runs/{waiting}/events", json=ALL) as response:
        await error_of(response, 503, "SERVICE_UNAVAILABLE")
        assert response.headers["Retry-After"]
    await push(served, run_id, END)
    await served.finished(run_id)
    assert "finished" in (await refused(served, run_id, ALL))["error"]
    await refused(served, "nobody", ALL, 404, "NOT_FOUND")
    await refused(served, "no%20id", ALL)
    async with served.events(waiting) as reader:
        await reader.until("started")
    await push(served, waiting, END)
    assert await own(served, waiting) == []


async def test_filtered_events_are_accepted_and_not_shown(serve: Serve) -> None:
    served = await serve(streaming={**ENABLED, "events": {"allowed": ["token", "custom:other"]}})
    run_id = await served.start(external="true")
    assert (await push(served, run_id, ALL))["accepted"] == len(ALL)
    await push(served, run_id, END)
    assert await own(served, run_id) == [ALL[1]]
