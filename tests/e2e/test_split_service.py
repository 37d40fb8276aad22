"""An API process and two workers: callers notice no split, and nothing is lost when workers end."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.process import TIMEOUT_SECONDS, Process, get, post
from tests.e2e.split_service import SLOTS, SplitService
from tests.exposition import metric
from tests.support import Reader, data, wait_until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SplitService]:
    service = SplitService(tmp_path_factory.mktemp("split"), f"split-{os.getpid()}")
    try:
        asyncio.run(service.start())
        yield service
    finally:
        service.end()


@pytest.fixture
async def service(running: SplitService) -> SplitService:
    while len(running.workers) < 2:
        await running.start_worker()
    await running.free_slots()
    return running


def pids(service: SplitService) -> set[str]:
    return {str(worker.popen.pid) for worker in service.workers}


async def shown(process: Process, name: str, **labels: str) -> float:
    """Return a metric of a process."""
    async with aiohttp.ClientSession() as session, session.get(f"{process.url}/metrics") as response:
        return metric(await response.text(), name, **labels)


async def total(service: SplitService, name: str, **labels: str) -> float:
    """Return the sum of a metric over the workers."""
    return sum([await shown(worker, name, **labels) for worker in service.workers])


async def until_active(service: SplitService, count: int) -> None:
    """Wait until the workers work on `count` runs."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await total(service, "dockrion_active_runs") < count:
            await asyncio.sleep(0.01)


async def worker_of(reader: Reader) -> str:
    """Return the process id that the agent emits first."""
    return str(data((await reader.until("token"))[-1])["content"])


async def status_of(service: SplitService, run_id: str) -> str:
    return str((await get(service.api, f"/runs/{run_id}"))[1]["status"])


async def test_runs_and_streams_are_carried_out_by_workers(service: SplitService) -> None:
    _, accepted = await post(service.api, "/runs", {"say": "hello"})
    async with service.events(accepted["run_id"]) as reader:
        first, token, last = await reader.all()
    assert (first.event, last.event) == ("started", "complete")
    assert data(token)["content"] in pids(service)
    assert data(last)["output"] == "hello"
    async with service.stream({"say": "hello"}) as reader:
        assert [message.event for message in await reader.all()] == ["started", "token", "complete"]


# What `/invoke` answers, by payload: status, and the body without what differs each time.
ANSWERS: dict[str, tuple[Any, int, dict[str, Any]]] = {
    "output": ({"say": [1.50, "é"]}, 200, {"success": True, "output": [1.5, "é"]}),
    "an agent that raises": (
        {"do": "raise"},
        500,
        {"success": False, "error": "ValueError: no", "code": "AGENT_EXECUTION_ERROR"},
    ),
    "an unusable output": ({"do": "unusable"}, 500, {"success": False, "code": "INVALID_OUTPUT"}),
    "a timeout": ({"do": "sleep", "seconds": 30}, 504, {"success": False, "code": "TIMEOUT_ERROR"}),
    "a body that breaks the schema": ({"do": 1}, 400, {"success": False, "code": "VALIDATION_ERROR"}),
}


@pytest.mark.parametrize("kind", ANSWERS)
async def test_invoke_answers_as_in_one_process(service: SplitService, kind: str) -> None:
    payload, expected, part = ANSWERS[kind]
    api = await service.start_api(impatient=True) if kind == "a timeout" else service.api
    status, body = await post(api, "/invoke", payload)
    assert (status, body | part) == (expected, body)
    if status == 200:
        assert body["metadata"].pop("latency_seconds") >= 0
        assert body["metadata"] == {"agent": service.agent, "framework": "custom"}
    _, listed = await get(service.api, "/runs?status=running")
    assert listed["items"] == []


async def test_stream_begins_at_once_while_its_run_waits(service: SplitService, tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with AsyncExitStack() as stack:
        for _ in range(2 * SLOTS):
            reader = await stack.enter_async_context(service.stream({"do": "wait", "file": str(go)}))
            await reader.until("token")
        assert [(await get(each, "/ready?accepting=1"))[0] for each in service.workers] == [503, 503]
        assert [(await get(each, "/ready"))[0] for each in service.workers] == [200, 200]
        waiting = await stack.enter_async_context(service.stream({}))  # returns with its status and headers
        assert await status_of(service, waiting.run_id) == "accepted"
        for process in (service.api, *service.workers):
            assert await shown(process, "dockrion_queued_runs") == 1
            assert await shown(process, "dockrion_queue_payload_bytes") > 0
        go.touch()
        assert [message.event for message in await waiting.all()] == ["started", "token", "complete"]
    assert await total(service, "dockrion_queue_wait_seconds_count") >= 2 * SLOTS + 1


async def test_leaving_an_invocation_stops_its_agent(service: SplitService, tmp_path: Path) -> None:
    payload = {"do": "wait", "file": str(tmp_path / "go")}
    cancelled = await total(service, "dockrion_runs_total", outcome="cancelled")
    asked = asyncio.create_task(post(service.api, "/invoke", payload))
    await until_active(service, 1)
    asked.cancel()
    await service.free_slots()
    assert await total(service, "dockrion_runs_total", outcome="cancelled") == cancelled + 1


@pytest.mark.parametrize("begun", [True, False], ids=["at work", "waiting"])
async def test_leaving_a_stream_cancels_its_run(service: SplitService, tmp_path: Path, begun: bool) -> None:
    go = tmp_path / "go"
    async with AsyncExitStack() as stack:
        for _ in range(0 if begun else 2 * SLOTS):
            reader = await stack.enter_async_context(service.stream({"do": "wait", "file": str(go)}))
            await reader.until("token")
        async with service.stream({"do": "wait", "file": str(go)}) as left:
            if begun:
                await left.until("token")
        async with service.events(left.run_id) as reader:
            events = [message.event for message in await reader.all()]
        assert events == ["started", "token", "cancelled"] if begun else ["cancelled"]


async def test_killed_worker_loses_no_run(service: SplitService, tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(service.stream({"do": "wait", "file": str(go)}))
            for _ in range(3 * SLOTS)
        ]
        at_work = await worker_of(readers[0])
        (killed,) = [each for each in service.workers if str(each.popen.pid) == at_work]
        await service.end_worker(killed, signal.SIGKILL)
        go.touch()
        rest = await asyncio.gather(*(reader.all() for reader in readers))
    assert all([message.event for message in messages][-1] == "complete" for messages in rest)
    again = [data(message) for message in rest[0] if message.event == "started"]
    assert [(each["attempt"], each["previous"]) for each in again] == [(2, "worker_lost")]


async def test_rolling_restart_loses_no_run(service: SplitService) -> None:
    accepted: list[str] = []
    restarted = asyncio.Event()

    async def call() -> None:
        while not restarted.is_set() or len(accepted) < 20:
            payload = {"do": "sleep", "seconds": 0.4 if len(accepted) % 5 == 0 else 0.01}
            status, body = await post(service.api, "/runs", payload)
            assert status == 202, body
            accepted.append(body["run_id"])
            await asyncio.sleep(0.02)

    async def restart() -> None:
        for worker in tuple(service.workers):
            await service.start_worker()
            await service.end_worker(worker)
        restarted.set()

    await asyncio.gather(call(), restart())
    for run_id in accepted:
        async with service.events(run_id) as reader:
            assert (await reader.all())[-1].event == "complete"


async def test_api_process_that_shuts_down_lets_its_callers_finish(
    service: SplitService, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    api, payload = await service.start_api(), {"do": "wait", "file": str(go), "say": "waited"}
    asked = asyncio.create_task(post(api, "/invoke", payload))
    async with service.stream(payload, api) as reader:
        await until_active(service, 2)
        api.signal()
        await api.until_logged("shutting down")
        assert (await get(api, "/ready"))[0] == 503
        go.touch()
        assert (await reader.all())[-1].event == "complete"
    status, body = await asked
    assert (status, body["output"]) == (200, "waited")
    assert await api.exit_code() == 0


async def test_agent_that_keeps_its_worker_busy_does_not_hold_up_streams(
    service: SplitService, tmp_path: Path
) -> None:
    finished, file = (await post(service.api, "/runs", {}))[1]["run_id"], tmp_path / "burn"
    async with service.stream({"do": "burn", "file": str(file)}) as burning:
        await burning.until("token")
        file.touch()
        await wait_until(file.with_suffix(".burns").exists)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                for _ in range(10):
                    async with service.events(finished) as reader:
                        assert (await reader.all())[-1].event == "complete"
        finally:
            file.unlink()
        assert [message.event for message in await burning.all()] == ["complete"]
