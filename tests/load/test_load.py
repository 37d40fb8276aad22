"""Load tests of the service itself: it keeps its promises, and the measurements are right."""

import asyncio
import signal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dockrion.load import command
from dockrion.load.options import Options
from dockrion.load.result import Result
from tests.conftest import Serve
from tests.e2e.process import command as dockrion
from tests.e2e.process import environment, run
from tests.support import Served, wait_until

TOKENS = 30
EVENTS = TOKENS + 2


async def speak(_payload: Any, context: Any) -> str:
    for number in range(TOKENS):
        await context.emit_token(f"token {number}")
        await asyncio.sleep(0)
    return "done"


def url_of(served: Served) -> str:
    return str(served.client.make_url("")).rstrip("/")


async def load(served: Served, **more: Any) -> Result:
    async with asyncio.timeout(60):
        return await command.load(Options(url=url_of(served), **more))


@pytest.mark.parametrize(
    "more",
    [
        {"pattern": "stream"},
        {"pattern": "stream", "reconnect": 1.0},
        {"pattern": "runs"},
        {"pattern": "runs", "readers": 5},
        {"pattern": "runs", "readers": 5, "reconnect": 1.0},
        {"pattern": "runs", "readers": 3, "slow_readers": 2},
        {"pattern": "stream", "slow_readers": 1},
        {"pattern": "stream", "processes": 2},
    ],
    ids=str,
)
async def test_every_reader_of_every_run_gets_every_event(serve: Serve, more: dict[str, Any]) -> None:
    served = await serve(speak)
    result = await load(served, runs=8, concurrency=4, **more)
    assert (result.errors, result.violations) == ({}, {})
    assert result.ok
    readers = more.get("readers", 1)
    assert (result.runs, result.runs_succeeded, result.events) == (8, 8, 8 * EVENTS * readers)
    assert result.bytes > result.events * 100
    slow = more.get("slow_readers", 0)
    if not slow:
        assert result.time_to_first_event.count == 8 * readers
        assert result.between_events.count == result.events - 8 * readers
    assert result.whole_run.count == 8
    assert 0 < result.whole_run.p50 <= result.whole_run.p90 <= result.whole_run.p99 <= result.whole_run.max
    assert result.series[-1].events == result.events
    assert bool(result.reconnects) == ("reconnect" in more)


async def test_invocations(serve: Serve) -> None:
    result = await load(await serve(), pattern="invoke", runs=50, payload=b'{"n": 1}')
    assert result.ok
    assert (result.runs_succeeded, result.events, result.whole_run.count) == (50, 0, 50)


async def test_a_duration_bounds_the_beginning_of_runs(serve: Serve) -> None:
    result = await load(await serve(speak), duration=0.3)
    assert result.ok
    assert result.runs == result.runs_succeeded > 0
    assert result.seconds >= 0.3


async def test_runs_that_fail_are_errors_by_code(serve: Serve) -> None:
    async def fail(_payload: Any) -> None:
        raise ValueError("no")

    served = await serve(fail)
    result = await load(served, runs=3)
    assert result.errors == {"a run ended with error AGENT_EXECUTION_ERROR": 3}
    assert (result.runs, result.runs_succeeded, result.violations) == (3, 0, {})
    result = await load(served, runs=3, pattern="invoke")
    assert result.errors == {"HTTP 500 AGENT_EXECUTION_ERROR from POST /invoke": 3}


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_an_interrupt_ends_it_early_with_what_there_is(serve: Serve, processes: str) -> None:
    began = asyncio.Event()

    async def endless(_payload: Any, context: Any) -> None:
        await context.emit_token("one")
        began.set()
        await asyncio.Event().wait()

    served = await serve(endless)
    process = await asyncio.create_subprocess_exec(
        *dockrion("load", url_of(served), "--processes", processes, "--concurrency", "2"),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        await began.wait()
        process.send_signal(signal.SIGINT)
        output, _ = await process.communicate()
    assert b"ended early" in output
    assert b"Traceback" not in output
    assert process.returncode == 1
    await wait_until(lambda: not served.service.runs._in_flight)


class Page(HTMLParser):
    """Finds scripts, and anything that would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action")]


async def test_the_command_line_its_files_and_its_exit_codes(serve: Serve, tmp_path: Path) -> None:
    served = await serve(speak)
    as_json, as_html = tmp_path / "result.json", tmp_path / "result.html"
    files = ["--json", str(as_json), "--html", str(as_html)]
    done = await asyncio.to_thread(run, "load", url_of(served), "--runs", "5", *files, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for line in ("runs ", "events ", "time to first event", "emit to receive", "errors: 0", "violations: 0"):
        assert f"\n{line}" in done.stdout
    result = msgspec.json.decode(as_json.read_bytes(), type=Result)
    assert (result.ok, result.runs, result.events) == (True, 5, 5 * EVENTS)
    page = Page()
    page.feed(as_html.read_text())
    assert page.tags >= {"svg", "rect", "polyline", "table", "style"} - (
        {"polyline"} if result.seconds < 0.1 else set()
    )
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert page.addresses == []
    assert "url(" not in as_html.read_text()
    refused = await asyncio.to_thread(run, "load", "http://127.0.0.1:1", "--runs", "1", cwd=tmp_path)
    assert refused.returncode == 1
    assert (refused.stdout, refused.stderr) == ("", "cannot reach http://127.0.0.1:1: Connection refused\n")


@pytest.mark.parametrize("pattern", ["stream", "runs", "invoke"])
async def test_what_is_wrong_with_a_payload_is_shown(serve: Serve, pattern: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "m": {}}, "required": ["m"]}
    served = await serve(speak, io_schema={"input": schema})
    result = await load(served, runs=3, concurrency=1, pattern=pattern, payload=b'{"n": "x"}')
    (kind,) = result.errors
    assert kind.startswith("HTTP 400 VALIDATION_ERROR from POST /")
    assert '$: "m" is a required property' in kind
    assert '$.n: "x" is not of type "integer"' in kind
