"""A server that breaks a promise, or answers badly, is found out: by name, and by the exit code's reason."""

import asyncio
import socket
from typing import Any

import pytest
from aiohttp import web

from dockrion import sse
from dockrion.load import client, command, frames, readers
from dockrion.load.options import Options
from dockrion.load.result import Result
from tests.load.liar import (
    Behave,
    answering,
    breaks_off,
    differs,
    event,
    honest,
    lying,
    says,
    talks_without_end,
)

VIOLATIONS: dict[str, tuple[Behave, dict[str, int]]] = {
    "loses": (says(event(1) + event(3, "complete")), {"lost": 1}),
    "repeats": (says(event(1) + event(1) + event(2, "complete")), {"repeated": 1}),
    "reorders": (says(event(1) + event(3) + event(2) + event(4, "complete")), {"out of order": 1}),
    "begins late": (says(event(2) + event(3, "complete")), {"lost": 1}),
    "ends twice": (says(honest(2) + event(3, "error")), {"second terminal event": 1}),
    "goes on": (says(honest(2) + event(3)), {"event after the terminal one": 1}),
    "has a gap": (says(sse.gap(1, 3) + event(3) + event(4, "complete")), {"gap": 1}),
    "has no sequence": (says(b"id: x\nevent: token\ndata: 1\n\n" + honest(2)), {"bad id": 1}),
}


async def load(url: str, **more: Any) -> Result:
    async with asyncio.timeout(30):
        return await command.test(Options(url=url, runs=1, concurrency=1, **more))


@pytest.mark.parametrize("name", VIOLATIONS)
@pytest.mark.parametrize("pattern", ["stream", "runs"])
async def test_a_broken_promise_is_found(name: str, pattern: Any) -> None:
    behave, violations = VIOLATIONS[name]
    async with lying(behave) as url:
        found = await load(url, pattern=pattern)
    assert found.violations == violations
    assert found.examples
    assert not found.ok


@pytest.mark.parametrize("pattern", ["stream", "runs"])
async def test_an_honest_server_is_believed(pattern: Any) -> None:
    async with lying(says(sse.retry(2000) + sse.KEEP_ALIVE + honest())) as url:
        found = await load(url, pattern=pattern)
    assert (found.violations, found.errors) == ({}, {})
    assert found.ok
    assert (found.runs, found.events) == (1, 5)


async def test_readers_that_are_told_different_things() -> None:
    async with lying(differs) as url:
        found = await load(url, pattern="runs", readers=3)
    assert found.violations == {"bytes differ": 2}


async def test_a_stream_that_ends_without_an_end() -> None:
    async with lying(says(event(1))) as url:
        found = await load(url)
    assert found.violations == {"no terminal event": 1}
    assert not found.ok


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (lambda: web.Response(status=500, text="<h1>oops</h1>"), "HTTP 500 from POST /invoke/stream"),
        (
            lambda: web.json_response({"code": "TOO_MANY_RUNS"}, status=429),
            "HTTP 429 TOO_MANY_RUNS from POST /invoke/stream",
        ),
        (lambda: web.Response(text="<h1>hello</h1>"), "the answer is no text/event-stream"),
    ],
)
async def test_what_is_no_stream_is_an_error_by_its_kind(response: Any, kind: str) -> None:
    async with answering(response) as url:
        found = await load(url)
    assert found.errors == {kind: 1}
    assert not found.ok


@pytest.mark.parametrize("body", ["{}", "[]", "no JSON", '{"run_id": 5, "events_url": "x"}'])
async def test_an_answer_that_names_no_run(body: str) -> None:
    async with answering(lambda: web.Response(status=202, text=body)) as url:
        found = await load(url, pattern="runs")
    assert found.errors == {"the answer to POST /runs names no run": 1}


async def test_a_connection_that_breaks_off_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_PAUSE", 0.001)
    async with lying(breaks_off) as url:
        found = await load(url, pattern="runs")
    assert found.errors["the connection broke"] > 1
    assert found.errors["streams end again and again without an event"] == 1
    assert not found.ok


async def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = await load(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert found.errors == {"the server sent nothing for too long": 1}


async def test_a_frame_without_end_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_BYTES", 1_000_000)
    async with lying(talks_without_end) as url:
        found = await load(url)
    assert found.errors == {"a frame does not end": 1}


async def test_nobody_listens() -> None:
    found = await load("http://127.0.0.1:1")
    assert found.errors == {"cannot connect: Connection refused": 1}
    assert not found.ok
