"""Subscribers to finished, expired and unknown runs: what each gets, and that it ends at once."""

import asyncio
import time
from typing import Any

import pytest
from msgspec.structs import replace

from dockrion import StreamContext
from dockrion.backends import follow
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.web.wire import dechunked, frames, wire

ENDS = {"completed": "complete", "failed": "error", "cancelled": "cancelled", "timed out": "error"}
GONE = ["expired", "unknown"]
BEYOND = str(10**6)
BAD = ["-1", "x1"]
# Every finished run here has three events: started, token, and how it ended.
ALL, LAST_TWO, LAST = [1, 2, 3], [2, 3], [3]
BY_QUERY: dict[str | None, list[int] | int] = {
    None: ALL,
    "0": ALL,
    "1": ALL,
    "2": LAST_TWO,
    "3": LAST,
    "4": 204,
    BEYOND: ALL,
    "-1": 400,
    "x1": 400,
}
BY_HEADER: dict[str | None, list[int] | int] = {
    None: ALL,
    "0": ALL,
    "1": LAST_TWO,
    "2": LAST,
    "3": 204,
    "4": ALL,
    BEYOND: ALL,
    "-1": 400,
    "x1": 400,
}
CASES = [
    *(("query", cursor, expected) for cursor, expected in BY_QUERY.items()),
    *(("header", cursor, expected) for cursor, expected in BY_HEADER.items()),
]


@pytest.fixture(autouse=True)
def waits_are_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show that no subscription here waits for anything."""
    for name in ("_RETRY_SECONDS", "_RECREATED_SECONDS"):
        monkeypatch.setattr(follow, name, 3600.0)


async def end_as_requested(payload: str, context: StreamContext) -> None:
    await context.emit_token("text")
    if payload == "failed":
        raise ValueError("no")
    if payload != "completed":
        await asyncio.Event().wait()


async def make_run(served: Served, kind: str) -> None:
    """Create a run `r` that has ended this way."""
    if kind == "unknown":
        return
    if kind == "timed out":
        executor = served.service.runs._executor
        executor._settings = replace(executor._settings, max_run_duration=0.05)
    await served.start("completed" if kind == "expired" else kind, run_id="r")
    if kind == "cancelled":
        await wait_until(lambda: served.backend._logs["r"].run.last_sequence == 2)
        async with served.client.delete("/runs/r") as response:
            assert response.status == 200
    await served.finished("r")
    if kind == "expired":
        served.backend._retention._clock = lambda: time.monotonic() + 10_000
        served.backend._retention.expire()


async def subscribe(served: Served, how: str, cursor: str | None) -> tuple[int, bytes]:
    """Return the status and body of a subscription that ends at once."""
    path = "/runs/r/events"
    headers: dict[str, str] = {"Connection": "close"}
    if cursor is not None and how == "query":
        path += f"?from_sequence={cursor}"
    elif cursor is not None:
        headers["Last-Event-ID"] = cursor
    async with asyncio.timeout(TIMEOUT_SECONDS), wire(served) as connection:
        await connection.ask("GET", path, headers)
        raw = await connection.rest()
    status = int(raw.split()[1])
    return status, dechunked(raw) if status == 200 else raw.partition(b"\r\n\r\n")[2]


def ids(body: bytes) -> list[int]:
    firsts = [frame.split(b"\n")[0] for frame in frames(body)]
    return [int(first.removeprefix(b"id: ")) for first in firsts if first != b"event: gap"]


@pytest.mark.parametrize(("how", "cursor", "expected"), CASES)
@pytest.mark.parametrize("kind", ENDS)
async def test_subscriber_to_a_finished_run(
    serve: Serve, kind: str, how: str, cursor: str | None, expected: Any
) -> None:
    served = await serve(end_as_requested)
    await make_run(served, kind)
    status, body = await subscribe(served, how, cursor)
    if isinstance(expected, int):
        assert status == expected
        assert (b"VALIDATION_ERROR" in body) == (status == 400)
        return
    assert status == 200
    assert ids(body) == expected
    assert frames(body)[-1].split(b"\n")[1] == b"event: " + ENDS[kind].encode()


@pytest.mark.parametrize(("how", "cursor", "_expected"), CASES)
@pytest.mark.parametrize("kind", GONE)
async def test_subscriber_to_an_unknown_run(
    serve: Serve, kind: str, how: str, cursor: str | None, _expected: Any
) -> None:
    served = await serve(end_as_requested)
    await make_run(served, kind)
    status, body = await subscribe(served, how, cursor)
    assert status == (400 if cursor in BAD else 404)
    assert (b"VALIDATION_ERROR" if cursor in BAD else b"NOT_FOUND") in body


@pytest.mark.parametrize(
    ("kind", "code"), [("failed", "AGENT_EXECUTION_ERROR"), ("timed out", "TIMEOUT_ERROR")]
)
async def test_terminal_event_of_a_failed_run_has_its_code(serve: Serve, kind: str, code: str) -> None:
    served = await serve(end_as_requested)
    await make_run(served, kind)
    _, body = await subscribe(served, "query", None)
    assert f'"code":"{code}"'.encode() in frames(body)[-1]


async def test_subscriber_beyond_the_end_of_a_live_run_starts_over(serve: Serve) -> None:
    served = await serve(end_as_requested)
    await served.start("wait", run_id="r")
    async with served.events("r", last_event_id=BEYOND) as reader:
        async with served.client.delete("/runs/r") as response:
            assert response.status == 200
        async with asyncio.timeout(TIMEOUT_SECONDS):
            messages = await reader.all()
    assert [message.event for message in messages] == ["gap", "started", "token", "cancelled"]


async def test_reader_of_a_run_that_expires_meanwhile_gets_its_terminal_event(serve: Serve) -> None:
    served = await serve(end_as_requested)
    await served.start("wait", run_id="r")
    async with served.events("r") as reader:
        await reader.until("token")
        async with served.client.delete("/runs/r") as response:
            assert response.status == 200
        served.backend._retention._clock = lambda: time.monotonic() + 10_000
        served.backend._retention.expire()
        assert [message.event for message in await reader.all()] == ["cancelled"]
    await wait_until(lambda: not served.backend._logs)
