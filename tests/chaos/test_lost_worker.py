"""A replica dies, and nothing else fails."""

import time
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.chaos.readers import STREAM
from tests.chaos.service import Service
from tests.chaos.storages import SingleServer
from tests.support import Reader, wait_until

_LEASE_SECONDS = 15.0


@pytest.mark.long
async def test_runs_of_a_dead_replica_end_in_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SingleServer("redis", tmp_path) as storage:
        service = Service(storage, tmp_path, ["all", "all"])
        try:
            await service.start()
            await wait_until(lambda: both_have_sent_heartbeats(storage))
            async with aiohttp.ClientSession(timeout=STREAM) as session:
                seconds = await _die(service, session)
        finally:
            service.end()
    with capsys.disabled():
        print(f"\nthe run of a dead replica ended after {seconds:.1f} s")


def both_have_sent_heartbeats(storage: SingleServer) -> bool:
    (server,) = storage.masters
    counts = server.command("HVALS", storage.keys.replicas)
    return len(counts) == 2 and min(map(int, counts)) >= 2


async def _die(service: Service, session: aiohttp.ClientSession) -> float:
    """Kill a replica that executes a run; return after how many seconds another one has ended the run."""
    one, other = (replica.process.url for replica in service.current)
    payload = {"tokens": 1000, "pause": 0.1, "threaded": False, "request": 1}
    async with session.post(f"{one}/runs?run_id=doomed", json=payload) as response:
        assert response.status == 202
    async with session.get(f"{other}/runs/doomed/events") as response:
        reader = Reader(response)
        await reader.until("token")
        service.current[0].kill()
        died_at = time.monotonic()
        events = [message for message in await reader.all() if message.id]
        seconds = time.monotonic() - died_at
    end = msgspec.json.decode(events[-1].data)
    assert [message.event for message in events].count("error") == 1
    assert (events[-1].event, end["code"]) == ("error", "WORKER_LOST")
    assert seconds < _LEASE_SECONDS
    async with session.get(f"{other}/runs/doomed") as response:
        record = await response.json()
    assert (record["status"], record["error"]["code"]) == ("failed", "WORKER_LOST")
    assert record["last_sequence"] == end["sequence"]
    return seconds
