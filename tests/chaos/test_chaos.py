"""Replicas and Redis fail all the time; clients see nothing of it but delays."""

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.chaos.clients import Clients
from tests.chaos.cluster import PASSWORD, Cluster, Faults
from tests.chaos.readers import Shared
from tests.chaos.verdict import Verdict
from tests.servers import RedisServer

_REPLICAS = 3
_SETTLE_SECONDS = 60.0
_PART = {"redis": 1.0, "valkey": 0.13}  # of the time
_system = random.SystemRandom()  # pytest-randomly seeds the common generator


@pytest.mark.long
@pytest.mark.parametrize("kind", _PART)
async def test_chaos(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = float(request.config.getoption("--chaos-seconds")) * _PART[kind]
    seed = request.config.getoption("--chaos-seed")
    seed = _system.randrange(10**6) if seed is None else int(seed)
    counts: Counter[str] = Counter()
    with RedisServer(kind, tmp_path, password=PASSWORD, aof=True) as server:
        cluster = Cluster(server, tmp_path)
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                shared = Shared(cluster, session, seed, counts)
                await cluster.start(_REPLICAS)
                await _run_chaos(cluster, shared, seconds, seed)
        finally:
            cluster.end()
    shown = [f"{count:7} {what}" for what, count in sorted(counts.items())]
    with capsys.disabled():
        print(f"\nchaos of {kind}, {seconds:g} s, --chaos-seed={seed}", *shown, sep="\n")
    assert not shared.failures, f"--chaos-seed={seed}, {tmp_path}:\n" + "\n".join(shared.failures[:20])


async def _run_chaos(cluster: Cluster, shared: Shared, seconds: float, seed: int) -> None:
    faults = Faults(cluster, seconds, seed, shared.counts)
    clients = Clients(shared)
    async with asyncio.TaskGroup() as group:
        group.create_task(clients.run(faults.over))
        group.create_task(faults.run())
    repaired_at = time.monotonic()
    verdict = Verdict(cluster, shared)
    await verdict.until_ready()
    await verdict.until_ended()
    shared.counts["seconds until all runs had ended"] = round(time.monotonic() - repaired_at)
    await clients.settle(_SETTLE_SECONDS)
    await verdict.check_runs(clients.runs.values())
    await verdict.until_idle()
    shared.counts["seconds until nothing was left"] = round(time.monotonic() - repaired_at)
    verdict.check_logs()
