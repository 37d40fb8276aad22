"""A server that breaks a promise, or answers badly, is found out: by name, and by the exit code."""

import asyncio
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dockrion import events
from dockrion.events import Entry
from dockrion.events.control_frames import Gap
from dockrion.load import client, command, frames, readers, users
from dockrion.load.options import Options
from dockrion.load.result import Result
from dockrion.wire import sse
from tests.e2e.process import run
from tests.load.faulty_services import (
    Behave,
    answering,
    begins_again,
    breaks_off,
    breaks_off_once,
    differs,
    event,
    honest,
    lying,
    says,
    says_nothing,
    talks_without_end,
)


def whole_event(sequence: int, *, says: int) -> bytes:
    """Return an event whose id and data need not agree."""
    data = events.encode("token", "r", says, datetime.now(UTC), {"content": "x"})
    return sse.encode_event(Entry(sequence, "token", data, 0.0))


VIOLATIONS: dict[str, tuple[Behave, dict[str, int]]] = {
    "loses": (says(event(1) + event(3, "complete")), {"lost": 1}),
    "repeats": (says(event(1) + event(1) + event(2, "complete")), {"repeated": 1}),
    "reorders": (says(event(1) + event(3) + event(2) + event(4, "complete")), {"out of order": 1}),
    "begins late": (says(event(2) + event(3, "complete")), {"lost": 1}),
    "ends twice": (says(honest(2) + event(3, "error")), {"second terminal event": 1}),
    "goes on": (says(honest(2) + event(3)), {"event after the terminal one": 1}),
    "has a gap": (says(sse.encode_control(Gap(1, 3)) + event(3) + event(4, "complete")), {"gap": 1}),
    "has a bad id": (says(b"id: x\nevent: token\ndata: 1\n\n" + honest(2)), {"bad id": 1}),
    "has no id": (says(b"event: token\ndata: 1\n\n" + honest(2)), {"bad id": 1}),
    "says another sequence": (says(whole_event(1, says=7) + event(2, "complete")), {"bad id": 1}),
    "has no end": (says(event(1)), {"no terminal event": 1}),
    "says nothing": (says(b""), {"no terminal event": 1}),
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_PAUSE", 0.001)


async def load(url: str, **more: Any) -> Result:
    async with asyncio.timeout(30):
        once: dict[str, Any] = {} if "duration" in more else {"runs": 1}
        return await command.test(Options(url=url, concurrency=1, **once, **more))


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
    async with lying(says(sse.PREAMBLE + sse.KEEPALIVE + honest())) as url:
        found = await load(url, pattern=pattern)
    assert (found.violations, found.errors) == ({}, {})
    assert found.ok
    assert (found.runs, found.events) == (1, 5)


async def test_readers_that_are_told_different_things() -> None:
    async with lying(differs) as url:
        found = await load(url, pattern="runs", readers=3)
    assert found.violations == {"bytes differ": 2}


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_the_exit_code_and_the_table_say_it(processes: str, tmp_path: Path) -> None:
    behave, _ = VIOLATIONS["repeats"]
    arguments = ["--runs", "4", "--concurrency", "2", "--processes", processes]
    async with lying(behave) as url:
        done = await asyncio.to_thread(run, "load", url, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "\nviolations: 4\n         4  repeated\n" in done.stdout
    assert "\n    run r: event 1 once more, after event 1\n" in done.stdout


def oops() -> web.Response:
    return web.Response(status=500, text="<h1>oops</h1>", content_type="text/html")


def too_many() -> web.Response:
    return web.json_response({"code": "TOO_MANY_RUNS"}, status=429)


def page() -> web.Response:
    return web.Response(text="<h1>hello</h1>", content_type="text/html")


@pytest.mark.parametrize(
    ("response", "pattern", "kind"),
    [
        (oops, "stream", "HTTP 500 from POST /invoke/stream"),
        (oops, "runs", "HTTP 500 from POST /runs"),
        (oops, "invoke", "HTTP 500 from POST /invoke"),
        (too_many, "stream", "HTTP 429 TOO_MANY_RUNS from POST /invoke/stream"),
        (too_many, "runs", "HTTP 429 TOO_MANY_RUNS from POST /runs"),
        (too_many, "invoke", "HTTP 429 TOO_MANY_RUNS from POST /invoke"),
        (page, "stream", "the answer is no text/event-stream"),
        (page, "runs", "HTTP 200 from POST /runs"),
        (page, "invoke", "the answer is no application/json"),
    ],
)
async def test_what_is_no_answer_is_an_error_by_its_kind(response: Any, pattern: Any, kind: str) -> None:
    async with answering(response) as url:
        found = await load(url, pattern=pattern)
    assert found.errors == {kind: 1}
    assert not found.ok


@pytest.mark.parametrize("body", ["{}", "[]", "no JSON", '{"run_id": 5, "events_url": "x"}'])
async def test_an_answer_that_names_no_run(body: str) -> None:
    async with answering(lambda: web.Response(status=202, text=body)) as url:
        found = await load(url, pattern="runs")
    assert found.errors == {"the answer to POST /runs names no run": 1}


async def test_a_stream_that_breaks_off_within_a_frame() -> None:
    async with lying(breaks_off) as url:
        found = await load(url)
    assert (found.errors, found.violations) == ({"the connection broke": 1}, {})
    assert not found.ok


async def test_a_stream_that_breaks_off_again_and_again() -> None:
    async with lying(breaks_off) as url:
        found = await load(url, pattern="runs")
    assert found.errors == {
        "the connection broke": 5,
        "connections break again and again without an event": 1,
    }
    assert not found.ok


async def test_a_stream_that_breaks_off_once_is_resumed() -> None:
    async with lying(breaks_off_once) as url:
        found = await load(url, pattern="runs")
    assert (found.errors, found.violations) == ({"the connection broke": 1}, {})
    assert (found.runs_succeeded, found.events, found.reconnects) == (1, 4, 1)


async def test_a_slow_reader_may_be_cut_off() -> None:
    async with lying(breaks_off_once) as url:
        found = await load(url, pattern="runs", slow_readers=1)
    assert found.ok
    assert (found.events, found.slow_readers_disconnected) == (4, 1)


async def test_a_server_that_ignores_where_a_reader_was() -> None:
    async with lying(begins_again) as url:
        found = await load(url, pattern="runs", reconnect=1.0)
    assert found.violations["repeated"] > 0
    assert not found.ok


async def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "STREAM", aiohttp.ClientTimeout(total=None, sock_read=0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = await load(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert found.errors == {"the server sent nothing for too long": 1}
    assert not found.ok


@pytest.mark.parametrize("pattern", ["stream", "runs"])
async def test_a_run_that_does_not_end(monkeypatch: pytest.MonkeyPatch, pattern: Any) -> None:
    monkeypatch.setattr(users, "RUN_SECONDS", 0.1)
    async with lying(says_nothing) as url:
        found = await load(url, pattern=pattern)
    assert found.errors == {"a run is not over after 0.1 s": 1}


async def test_a_run_that_does_not_end_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "GRACE_SECONDS", 0.1)
    async with lying(says_nothing) as url:
        found = await load(url, duration=0.1)
    assert found.errors == {"not finished 0.1 s after the last run began": 1}


async def test_a_server_without_tls() -> None:
    async with lying(says(honest())) as url:
        found = await load(url.replace("http:", "https:"))
    ((kind, _),) = found.errors.items()
    assert kind.startswith("cannot connect: TLS ")


async def test_a_frame_without_end_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_BYTES", 1_000_000)
    async with lying(talks_without_end) as url:
        found = await load(url)
    assert found.errors == {"a frame does not end": 1}


async def test_nobody_listens() -> None:
    found = await load("http://127.0.0.1:1")
    assert found.errors == {"cannot connect: Connection refused": 1}
    assert not found.ok
