"""Several client processes: the sum of their measurements, and processes that fail."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from dockrion.load import command, processes
from dockrion.load.measurements import Measurements
from dockrion.load.options import Options
from dockrion.load.result import Result
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, wait_until

LOST = "a client process died"


async def load(url: str, processes: int = 2, **more: Any) -> Result:
    async with asyncio.timeout(TIMEOUT_SECONDS * 3):
        return await command.load(Options(url=url, runs=4, concurrency=4, processes=processes, **more))


def instead_of_python(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.parametrize("script", ["exit 3", "echo no snapshot", "printf '{\"measurements\": '"])
async def test_processes_that_die_are_reported(
    script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instead_of_python(tmp_path, script, monkeypatch)
    result = await load("http://127.0.0.1:1")
    assert result.errors == {LOST: 2}
    assert not result.ok


async def test_processes_that_cannot_start_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert (await load("http://127.0.0.1:1")).errors == {LOST: 2}


@pytest.mark.parametrize("script", ["exec sleep 1000", "exec 1>&-\nexec sleep 1000"])
@pytest.mark.parametrize("size", [2, 1_000_000])
async def test_processes_that_hang_are_killed(
    script: str, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instead_of_python(tmp_path, script, monkeypatch)
    monkeypatch.setattr(processes, "SNAPSHOT_TIMEOUT", 0.1)
    monkeypatch.setattr(processes, "EXIT_TIMEOUT", 0.1)
    assert (await load("http://127.0.0.1:1", payload=b"0" * size)).errors == {LOST: 2}


async def test_a_killed_process_does_not_stop_the_others(serve: Serve) -> None:
    working, go = asyncio.Semaphore(0), asyncio.Event()

    async def wait(_payload: Any) -> None:
        working.release()
        await go.wait()

    served = await serve(wait)
    url = str(served.client.make_url("")).rstrip("/")
    loading = asyncio.create_task(load(url, pattern="runs"))
    for _ in range(4):
        await working.acquire()
    os.kill(children()[0], signal.SIGKILL)
    await wait_until(lambda: len(children()) == 1)
    go.set()
    result = await loading
    assert result.errors == {LOST: 1}
    assert result.runs_succeeded == 2


def children() -> list[int]:
    """Return the ids of the running client processes."""
    tasks = Path("/proc/self/task").iterdir()
    pids = b" ".join(content(task / "children") for task in tasks).split()
    return [
        int(pid) for pid in pids if b"dockrion.load.worker" in content(Path("/proc", pid.decode(), "cmdline"))
    ]


def content(path: Path) -> bytes:
    """Return what a file of /proc says, nothing once its process or thread is gone."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_the_sum_is_shown_once_every_running_process_has_sent_a_snapshot() -> None:
    shown: list[int] = []
    totals = processes.Totals(3, lambda measurements: shown.append(measurements.events))
    for number in (0, 1, 0, 2, 2, 1, 0):
        totals.update(number, Measurements(events=10**number))
    assert shown == [111, 111]
    totals.end(1, succeeded=True)
    totals.update(0, Measurements(events=5))
    totals.update(2, Measurements(events=500))
    assert shown == [111, 111, 515]
    totals.end(0, succeeded=False)
    totals.end(2, succeeded=True)
    assert totals.total().errors == {LOST: 1}
