"""Replicas and Redis fail all the time; clients see nothing of it but delays."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.chaos.clients import Clients
from tests.chaos.faults import Faults
from tests.chaos.quick import PACE
from tests.chaos.readers import Shared
from tests.chaos.service import MAX_ATTEMPTS, Service
from tests.chaos.storages import ClusterStorage, SentinelStorage, SingleServer, Storage
from tests.chaos.verdict import Verdict

_SETTLE_SECONDS = 60.0
_system = random.SystemRandom()  # pytest-randomly seeds the common generator
_WITH_RETRIES = {"on_worker_lost": "retry", "max_attempts": MAX_ATTEMPTS, "max_concurrent_runs": 6}


@dataclass
class Setup:
    """What is subjected to chaos.

    Attributes:
        storage: Makes its storage.
        roles: The roles of its replicas.
        part: For which part of the time.
        service: Further arguments of the service.
    """

    storage: Callable[[Path], Storage]
    roles: tuple[str, ...]
    part: float = 0.1
    service: dict[str, Any] = field(default_factory=lambda: {"pace": PACE, **_WITH_RETRIES})


_SETUPS = {
    "redis": Setup(partial(SingleServer, "redis"), ("all", "all", "all"), part=0.5, service={}),
    "valkey": Setup(partial(SingleServer, "valkey"), ("api", "worker", "worker")),
    "sentinel": Setup(SentinelStorage, ("all", "all", "worker")),
    "cluster": Setup(ClusterStorage, ("api", "api", "worker", "worker", "worker")),
}


@pytest.mark.long
@pytest.mark.parametrize("name", _SETUPS)
async def test_chaos(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = _SETUPS[name]
    seconds = float(request.config.getoption("--chaos-seconds")) * setup.part
    seed = request.config.getoption("--chaos-seed")
    seed = _system.randrange(10**6) if seed is None else int(seed)
    counts: Counter[str] = Counter()
    with setup.storage(tmp_path) as storage:
        service = Service(storage, tmp_path, setup.roles, **setup.service)
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                shared = Shared(service, session, seed, counts)
                await service.start()
                await _run_chaos(service, shared, seconds, seed)
        finally:
            service.end()
    shown = [f"{count:7} {what}" for what, count in sorted(counts.items())]
    with capsys.disabled():
        print(f"\nchaos of {name}, {seconds:g} s, --chaos-seed={seed}", *shown, sep="\n")
    assert not shared.failures, f"--chaos-seed={seed}, {tmp_path}:\n" + "\n".join(shared.failures[:20])


async def _run_chaos(service: Service, shared: Shared, seconds: float, seed: int) -> None:
    faults = Faults(service, seconds, seed, shared.counts)
    clients = Clients(shared)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(clients.run(faults.over))
            group.create_task(faults.run())
        repaired_at = time.monotonic()
        verdict = Verdict(service, shared)
        await verdict.until_ready()
        await verdict.until_ended()
        shared.counts["seconds until all runs had ended"] = round(time.monotonic() - repaired_at)
        await clients.settle(_SETTLE_SECONDS)
        await verdict.check_runs(clients)
        verdict.check_starts(clients)
        await verdict.until_idle()
        shared.counts["seconds until nothing was left"] = round(time.monotonic() - repaired_at)
        verdict.check_logs()
    finally:
        await clients.cancel()
