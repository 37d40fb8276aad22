"""Pushing events to a service with several workers."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dockrion import ids
from tests.backends.conformance import delete_keys
from tests.e2e.conftest import Start
from tests.e2e.fleet import MODULE, PID, Fleet
from tests.e2e.process import TIMEOUT_SECONDS, write_dockfile
from tests.servers import KINDS, shared
from tests.support import INGEST, PUSH_TOKEN, Reader, data

PARTS = range(3)
AUTHORIZED = {"Authorization": f"Bearer {PUSH_TOKEN}"}


@pytest.fixture
async def workers(start: Start, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Start workers on one Redis backend."""
    name, kind = f"tested-{ids.uuid7()}", KINDS[-1]
    redis = {"url": shared(kind).url, "max_events_per_run": 10_000}
    path = write_dockfile(
        tmp_path,
        PID,
        agent={"name": name, "handler": "agent:handle"},
        streaming={"backend": "redis", "redis": redis, "ingest": INGEST},
    )
    variables = {str(INGEST["token_env"]): PUSH_TOKEN}
    fleet = Fleet(await start(path, module=MODULE, ready=False, WORKERS="3", **variables))
    await fleet.until_logged("worker ready", 3)
    yield fleet
    fleet.end()
    delete_keys(kind, name)


async def push(fleet: Fleet, run_id: str, events: Any, **query: Any) -> tuple[int, dict[str, Any]]:
    """Push on a new connection, which any worker may accept."""
    url = f"{fleet.process.url}/runs/{run_id}/events"
    async with (
        aiohttp.ClientSession(headers=AUTHORIZED) as session,
        session.post(url, json=events, params=query) as response,
    ):
        return response.status, await response.json()


async def read(fleet: Fleet, run_id: str) -> list[dict[str, Any]]:
    url = f"{fleet.process.url}/runs/{run_id}/events"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200, await response.text()
        events = [data(each) for each in await Reader(response).all()]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events if event["type"] != "custom:x"] == ["started", "complete"]
    return events[1:-1]


async def test_pushes_to_any_worker_are_accepted_exactly_once(workers: Fleet) -> None:
    run_id = (await workers.post("/runs?external=true", AUTHORIZED))["run_id"]
    end: dict[str, Any] = {"type": "complete", "output": 1}

    async def insist(number: int) -> None:
        batch = [{"type": "custom:x", "number": number, "part": part} for part in PARTS]
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while (await push(workers, run_id, batch, producer_seq=number))[0] != 200:
                pass

    await asyncio.gather(*(insist(number) for number in range(20, 0, -1) for _ in range(2)))
    assert await push(workers, run_id, end, producer_seq=22) == (
        409,
        {
            "success": False,
            "code": "CONFLICT",
            "error": "batch 22 came before batch 21",
            "details": {"expected": 21},
        },
    )
    assert (await push(workers, run_id, end, producer_seq=21))[0] == 200
    found = [(event["number"], event["part"]) for event in await read(workers, run_id)]
    assert found == [(number, part) for number in range(1, 21) for part in PARTS]
    for _ in range(10):
        assert (await push(workers, run_id, end, producer_seq=21))[1]["duplicate"]
    served = {line["worker"] for line in workers.lines("request") if line["path"].endswith("/events")}
    assert len(served) > 1


@pytest.mark.long
async def test_dead_owner_is_unavailable_until_its_run_ends(workers: Fleet) -> None:
    run_id = (await workers.post("/runs?external=true", AUTHORIZED))["run_id"]
    (line,) = await workers.until_logged("run running")
    os.kill(line["worker"], signal.SIGKILL)
    status, body = await push(workers, run_id, {"type": "heartbeat"})
    assert (status, body["success"]) in ((503, False), (400, False))
