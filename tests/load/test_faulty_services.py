"""A service that breaks a promise, or fails, is reported by kind and by the exit code."""

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
from dockrion.load import command, readers, users
from dockrion.load.options import Options
from dockrion.load.result import Result
from dockrion.wire import sse
from tests.e2e.process import run
from tests.load.faulty_services import (
    Behave,
    differs,
    disconnects,
    disconnects_once,
    event,
    ignores_last_event_id,
    responding,
    sends,
    sends_endless_event,
    sends_keepalives,
    serving_streams,
    whole_run,
)


def full_event(sequence: int, *, in_data: int) -> bytes:
    """Return an event whose id and data may differ."""
    data = events.encode("token", "r", in_data, datetime.now(UTC), {"content": "x"})
    return sse.encode_event(Entry(sequence, "token", data, 0.0))


VIOLATIONS: dict[str, tuple[Behave, dict[str, int]]] = {
    "loses": (sends(event(1) + event(3, "complete")), {"lost": 1}),
    "repeats": (sends(event(1) + event(1) + event(2, "complete")), {"repeated": 1}),
    "reorders": (sends(event(1) + event(3) + event(2) + event(4, "complete")), {"out of order": 1}),
    "starts late": (sends(event(2) + event(3, "complete")), {"lost": 1}),
    "ends twice": (sends(whole_run(2) + event(3, "error")), {"second terminal event": 1}),
    "sends events after the end": (sends(whole_run(2) + event(3)), {"event after the terminal one": 1}),
    "has a gap": (sends(sse.encode_control(Gap(1, 3)) + event(3) + event(4, "complete")), {"gap": 1}),
    "has a bad id": (sends(b"id: x\nevent: token\ndata: 1\n\n" + whole_run(2)), {"bad id": 1}),
    "has no id": (sends(b"event: token\ndata: 1\n\n" + whole_run(2)), {"bad id": 1}),
    "has another sequence in the data": (
        sends(full_event(1, in_data=7) + event(2, "complete")),
        {"bad id": 1},
    ),
    "has no end": (sends(event(1)), {"no terminal event": 1}),
    "sends nothing": (sends(b""), {"no terminal event": 1}),
}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_PAUSE", 0.001)


async def load(url: str, **more: Any) -> Result:
    async with asyncio.timeout(30):
        once: dict[str, Any] = {} if "duration" in more else {"runs": 1}
        return await command.load(Options(url=url, concurrency=1, **once, **more))


@pytest.mark.parametrize("name", VIOLATIONS)
@pytest.mark.parametrize("pattern", ["stream", "runs"])
async def test_a_broken_promise_is_reported(name: str, pattern: Any) -> None:
    behave, violations = VIOLATIONS[name]
    async with serving_streams(behave) as url:
        result = await load(url, pattern=pattern)
    assert result.violations == violations
    assert result.examples
    assert not result.ok


@pytest.mark.parametrize("pattern", ["stream", "runs"])
async def test_a_correct_service_has_no_violation(pattern: Any) -> None:
    async with serving_streams(sends(sse.PREAMBLE + sse.KEEPALIVE + whole_run())) as url:
        result = await load(url, pattern=pattern)
    assert (result.violations, result.errors) == ({}, {})
    assert result.ok
    assert (result.runs, result.events) == (1, 5)


async def test_readers_that_receive_different_events() -> None:
    async with serving_streams(differs) as url:
        result = await load(url, pattern="runs", readers=3)
    assert result.violations == {"bytes differ": 2}


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_violation_is_in_the_exit_code_and_the_table(processes: str, tmp_path: Path) -> None:
    behave, _ = VIOLATIONS["repeats"]
    arguments = ["--runs", "4", "--concurrency", "2", "--processes", processes]
    async with serving_streams(behave) as url:
        done = await asyncio.to_thread(run, "load", url, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "\nviolations: 4\n         4  repeated\n" in done.stdout
    assert "\n    run r: event 1 again, after event 1\n" in done.stdout


def server_error() -> web.Response:
    return web.Response(status=500, text="<h1>oops</h1>", content_type="text/html")


def too_many() -> web.Response:
    return web.json_response({"code": "TOO_MANY_RUNS"}, status=429)


def page() -> web.Response:
    return web.Response(text="<h1>hello</h1>", content_type="text/html")


@pytest.mark.parametrize(
    ("response", "pattern", "kind"),
    [
        (server_error, "stream", "HTTP 500 from POST /invoke/stream"),
        (server_error, "runs", "HTTP 500 from POST /runs"),
        (server_error, "invoke", "HTTP 500 from POST /invoke"),
        (too_many, "stream", "HTTP 429 TOO_MANY_RUNS from POST /invoke/stream"),
        (too_many, "runs", "HTTP 429 TOO_MANY_RUNS from POST /runs"),
        (too_many, "invoke", "HTTP 429 TOO_MANY_RUNS from POST /invoke"),
        (page, "stream", "the response is not text/event-stream"),
        (page, "runs", "HTTP 200 from POST /runs"),
        (page, "invoke", "the response is not application/json"),
    ],
)
async def test_a_wrong_response_is_an_error_of_its_kind(response: Any, pattern: Any, kind: str) -> None:
    async with responding(response) as url:
        result = await load(url, pattern=pattern)
    assert result.errors == {kind: 1}
    assert not result.ok


@pytest.mark.parametrize(
    "body", ["{}", "[]", "no JSON", '{"run_id": 5, "events_url": "x"}', '{"run_id": "", "events_url": "x"}']
)
async def test_a_response_that_names_no_run(body: str) -> None:
    async with responding(lambda: web.Response(status=202, text=body)) as url:
        result = await load(url, pattern="runs")
    assert result.errors == {"the response to POST /runs names no run": 1}


async def test_a_stream_that_breaks_within_an_event() -> None:
    async with serving_streams(disconnects) as url:
        result = await load(url)
    assert (result.errors, result.violations) == ({f"the connection to {url} broke": 1}, {})
    assert not result.ok


async def test_a_stream_that_always_breaks() -> None:
    async with serving_streams(disconnects) as url:
        result = await load(url, pattern="runs")
    assert result.errors == {
        f"the connection to {url} broke": 5,
        "connections break again and again without an event": 1,
    }
    assert not result.ok


async def test_a_stream_that_breaks_once_is_resumed() -> None:
    async with serving_streams(disconnects_once) as url:
        result = await load(url, pattern="runs")
    assert (result.errors, result.violations) == ({f"the connection to {url} broke": 1}, {})
    assert (result.runs_succeeded, result.events, result.reconnects) == (1, 4, 1)


async def test_a_slow_reader_may_be_disconnected() -> None:
    async with serving_streams(disconnects_once) as url:
        result = await load(url, pattern="runs", slow_readers=1)
    assert result.ok
    assert (result.events, result.slow_readers_disconnected) == (4, 1)


async def test_a_service_that_ignores_last_event_id() -> None:
    async with serving_streams(ignores_last_event_id) as url:
        result = await load(url, pattern="runs", reconnect=1.0)
    assert result.violations["repeated"] > 0
    assert not result.ok


async def test_a_service_that_never_responds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "STREAM", aiohttp.ClientTimeout(total=None, sock_read=0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = await load(url)
    assert result.errors == {f"{url} sent nothing for too long": 1}
    assert not result.ok


@pytest.mark.parametrize("pattern", ["stream", "runs"])
async def test_a_run_that_does_not_end(monkeypatch: pytest.MonkeyPatch, pattern: Any) -> None:
    monkeypatch.setattr(users, "RUN_TIMEOUT", 0.1)
    async with serving_streams(sends_keepalives) as url:
        result = await load(url, pattern=pattern)
    assert result.errors == {"a run is not over after 0.1 s": 1}


async def test_a_run_that_does_not_end_in_time_after_the_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "GRACE_SECONDS", 0.1)
    async with serving_streams(sends_keepalives) as url:
        result = await load(url, duration=0.3)
    assert result.errors == {"not finished 0.1 s after --duration": 1}


async def test_a_service_without_tls() -> None:
    async with serving_streams(sends(whole_run())) as url:
        result = await load(https := url.replace("http:", "https:"))
    ((kind, _),) = result.errors.items()
    assert kind.startswith(f"cannot reach {https}: TLS ")


async def test_an_endless_event_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_MESSAGE_BYTES", 1_000_000)
    async with serving_streams(sends_endless_event) as url:
        result = await load(url)
    assert result.errors == {"an event is larger than any that a service sends": 1}


async def test_a_service_that_is_not_there() -> None:
    result = await load("http://127.0.0.1:1")
    assert result.errors == {"cannot reach http://127.0.0.1:1: Connection refused": 1}
    assert not result.ok
