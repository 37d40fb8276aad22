"""A run in the trace of its caller: over two replicas, of which one is killed, and an agent process."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.backends.conformance import delete_keys
from tests.e2e.conftest import Start
from tests.e2e.fleet import MODULE, PID, Fleet
from tests.e2e.process import START_SECONDS, TIMEOUT_SECONDS, write_dockfile
from tests.servers import KINDS, shared
from tests.support import wait_until
from tests.tracing.receiver import Collector, Span, collecting
from tests.tracing.spans import CALLER, SAMPLED, TRACE_ID

NAME = f"traced-{os.getpid()}"
SECRET = "what only the caller and the agent know"
# An agent that calls a tool, and does not end before there is the file `go`.
AGENT = """
import asyncio
from pathlib import Path
import dockrion
from opentelemetry import trace

@dockrion.tool
async def look_up(word):
    with trace.get_tracer("library").start_as_current_span("query"):
        return word

async def handle(payload):
    found = await look_up(payload["word"])
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return found
"""


@pytest.fixture(autouse=True)
def delete_runs() -> Iterator[None]:
    yield
    delete_keys(KINDS[0], NAME)


def folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


async def test_a_run_is_followed_over_a_killed_replica_into_the_agent_process(
    start: Start, tmp_path: Path
) -> None:
    async with collecting() as collector:
        observability = {"tracing": {"endpoint": collector.url}}
        agent = write_dockfile(
            folder(tmp_path, "agent"),
            AGENT,
            agent={"name": "searcher", "handler": "agent:handle"},
            observability=observability,
        )
        searcher = await start(agent, OTEL_BSP_SCHEDULE_DELAY="10")
        service = write_dockfile(
            folder(tmp_path, "service"),
            agent={"name": NAME, "url": f"{searcher.url}/invoke/stream"},
            streaming={
                "backend": "redis",
                "on_worker_lost": "retry",
                "redis": {"url": shared(KINDS[0]).url},
            },
            observability=observability,
        )
        replicas = [
            await start(service, module="tests.chaos.quick", OTEL_BSP_SCHEDULE_DELAY="10") for _ in range(2)
        ]
        async with aiohttp.ClientSession() as session:
            url = f"{replicas[0].url}/runs?run_id=followed"
            async with session.post(url, json={"word": SECRET}, headers=SAMPLED) as response:
                assert response.status == 202
            await wait_until(lambda: len(collector.named("execute_tool look_up")) == 2)
            replicas[0].signal(signal.SIGKILL)
            await wait_until(lambda: len(collector.named("execute_tool look_up")) == 4, START_SECONDS)
            (tmp_path / "go").touch()
            run = await collector.span(f"invoke_agent {NAME}")
            async with session.get(f"{replicas[1].url}/runs/followed") as response:
                record = await response.json()
        assert (record["status"], record["attempt"], record["output"]) == ("completed", 2, SECRET)
        await wait_until(lambda: len(collector.named("invoke_agent searcher")) == 2)
        for process in (replicas[1], searcher):
            process.signal()
            assert await process.exit_code() == 0
    check(collector, run)


async def test_each_worker_sends_its_spans_before_it_ends(start: Start, tmp_path: Path) -> None:
    async with collecting() as collector:
        path = write_dockfile(tmp_path, PID, observability={"tracing": {"headers_env": "HEADERS"}})
        endpoint = f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.url}"
        (tmp_path / ".env").write_text(f"{endpoint}\nHEADERS=x-a=1\nOTEL_BSP_SCHEDULE_DELAY=60000\n")
        fleet = Fleet(await start(path, module=MODULE, ready=False, WORKERS="2", TMPDIR=str(tmp_path)))
        await fleet.until_logged("worker ready", 2)
        answered: set[int] = set()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while len(answered) < 2:
                answered.add((await fleet.post())["output"])
        assert collector.spans == []
        fleet.process.signal()
        assert await fleet.process.exit_code() == 0
        assert len({span.resource["service.instance.id"] for span in collector.named("POST /invoke")}) == 2
        assert {request.headers["x-a"] for request in collector.requests} == {"1"}


def check(collector: Collector, run: Span) -> None:
    """Check the trace of the run, all spans of which have arrived."""
    in_trace = [span for span in collector.spans if span.trace_id == TRACE_ID]
    assert Counter(span.name for span in in_trace) == {
        "POST /runs": 1,
        f"invoke_agent {NAME}": 1,
        "POST /invoke/stream": 2,
        "invoke_agent searcher": 2,
        "execute_tool look_up": 4,
        "query": 2,
    }
    (request,) = collector.named("POST /runs")
    assert (request.parent_id, run.parent_id, run.kind) == (CALLER, request.span_id, "client")
    assert request.resource["service.instance.id"] != run.resource["service.instance.id"]
    names = Counter(span.name for span in collector.children(run))
    assert names == {"POST /invoke/stream": 2, "execute_tool look_up": 2}
    for call in collector.named("POST /invoke/stream"):
        (attempt,) = collector.children(call)
        (tool,) = collector.children(attempt)
        (query,) = collector.children(tool)
        assert [attempt.name, tool.name, query.name] == [
            "invoke_agent searcher",
            "execute_tool look_up",
            "query",
        ]
    statuses = [each.attributes["dockrion.run.status"] for each in collector.named("invoke_agent searcher")]
    assert sorted(statuses) == ["cancelled", "completed"]
    events: list[dict[str, Any]] = [each.attributes for each in run.events if each.name == "dockrion.attempt"]
    assert events == [
        {"dockrion.run.attempt": 1},
        {"dockrion.run.attempt": 2, "dockrion.attempt.previous": "worker_lost"},
    ]
    assert not any(SECRET.encode() in body for body in collector.bodies)
