"""Several client processes: what they measure together, and what becomes of one that is lost."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from dockrion.load import command
from dockrion.load import processes as fleet
from dockrion.load.measurements import Figures
from dockrion.load.options import Options
from dockrion.load.result import Result
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, wait_until

LOST = "a client process died"


async def load(url: str, processes: int = 2, **more: Any) -> Result:
    async with asyncio.timeout(TIMEOUT_SECONDS * 3):
        return await command.test(Options(url=url, runs=4, concurrency=4, processes=processes, **more))


def instead_of_python(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(path))


@pytest.mark.parametrize("script", ["exit 3", "echo no figures", "printf '{\"figures\": '"])
async def test_processes_that_die_are_reported(
    script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instead_of_python(tmp_path, script, monkeypatch)
    found = await load("http://127.0.0.1:1")
    assert found.errors == {LOST: 2}
    assert not found.ok


async def test_processes_that_cannot_start_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert (await load("http://127.0.0.1:1")).errors == {LOST: 2}


@pytest.mark.parametrize("script", ["exec sleep 1000", "exec 1>&-\nexec sleep 1000"])
@pytest.mark.parametrize("size", [2, 1_000_000])
async def test_processes_that_hang_are_ended(
    script: str, size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instead_of_python(tmp_path, script, monkeypatch)
    monkeypatch.setattr(fleet, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(fleet, "LAST_WORDS_SECONDS", 0.1)
    assert (await load("http://127.0.0.1:1", payload=b"0" * size)).errors == {LOST: 2}


async def test_one_that_is_killed_does_not_stop_the_others(serve: Serve) -> None:
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
    found = await loading
    assert found.errors == {LOST: 1}
    assert found.runs_succeeded == 2


def children() -> list[int]:
    """Return the client processes that run."""
    tasks = Path("/proc/self/task").iterdir()
    pids = " ".join((task / "children").read_text() for task in tasks).split()
    return [
        int(pid)
        for pid in pids
        if b"dockrion.load.worker_process" in Path("/proc", pid, "cmdline").read_bytes()
    ]


def test_the_sum_is_shown_when_all_that_work_have_told() -> None:
    shown: list[int] = []
    parts = fleet._Parts(3, lambda figures: shown.append(figures.events))
    for number in (0, 1, 0, 2, 2, 1, 0):
        parts.tell(number, Figures(events=10**number))
    assert shown == [111, 111]
    parts.end(1, well=True)
    parts.tell(0, Figures(events=5))
    parts.tell(2, Figures(events=500))
    assert shown == [111, 111, 515]
    parts.end(0, well=False)
    parts.end(2, well=True)
    assert parts.total().errors == {LOST: 1}
