"""The shutdown of several workers: together, in time, and without leftovers."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Workers
from tests.e2e.fleet import PID, WAITS, Fleet
from tests.e2e.process import START_SECONDS, get
from tests.servers import free_port
from tests.support import wait_until


def interrupt(fleet: Fleet) -> None:
    """Send SIGINT to the process group, as a terminal's Ctrl-C does."""
    os.killpg(fleet.pid, signal.SIGINT)


HOW: dict[str, Callable[[Fleet], None]] = {
    "SIGTERM": lambda fleet: fleet.process.signal(signal.SIGTERM),
    "SIGINT": lambda fleet: fleet.process.signal(signal.SIGINT),
    "Ctrl-C": interrupt,
}


async def work(fleet: Fleet, folder: Path) -> list[asyncio.Task[Any]]:
    """Occupy every worker with a request, and return the tasks that wait for the responses."""
    tasks = []
    for pid in fleet.pids:
        with fleet.only(pid):
            tasks.append(asyncio.create_task(fleet.post()))
            await wait_until((folder / f"works-{pid}").exists)
    return tasks


def left(folder: Path) -> list[Path]:
    """Return the temporary files that are left."""
    return list((folder / "tmp").iterdir())


async def test_signal_ends_idle_workers_with_success(fleet: Workers, tmp_path: Path) -> None:
    workers = await fleet(PID, 3)
    pids = workers.pids
    assert left(tmp_path)
    workers.process.signal(signal.SIGTERM)
    assert await workers.process.exit_code() == 0
    assert {line["worker"] for line in workers.lines("shut down")} == pids
    await workers.until_gone(pids)
    assert not workers.lines("worker died")
    assert not left(tmp_path)
    assert workers.process.err == ""


@pytest.mark.parametrize("how", HOW)
async def test_runs_that_finish_within_the_grace_period_respond(
    fleet: Workers, tmp_path: Path, signal_file: Path, how: str
) -> None:
    workers = await fleet(WAITS)
    pids = workers.pids
    pending = await work(workers, tmp_path)
    HOW[how](workers)
    await workers.until_logged("shutting down", 2)
    assert (await get(workers.process, "/ready"))[0] == 503
    assert not any(task.done() for task in pending)
    signal_file.touch()
    assert {response["output"] for response in await asyncio.gather(*pending)} == pids
    assert await workers.process.exit_code() == 0
    assert {line["worker"] for line in workers.lines("shut down")} == pids
    assert not workers.lines("worker died")
    assert not left(tmp_path)
    assert workers.process.err == ""


async def test_second_signal_ends_all_at_once(fleet: Workers, tmp_path: Path) -> None:
    workers = await fleet(WAITS)
    pids = workers.pids
    pending = await work(workers, tmp_path)
    workers.process.signal()
    await workers.until_logged("shutting down", 2)
    workers.process.signal()
    assert await workers.process.exit_code() == 128 + signal.SIGTERM
    await workers.until_gone(pids)
    await asyncio.gather(*pending, return_exceptions=True)
    assert not left(tmp_path)


async def test_workers_of_a_killed_supervisor_shut_down(
    fleet: Workers, tmp_path: Path, signal_file: Path
) -> None:
    port = free_port()  # not one that a connection of another test may get
    workers = await fleet(WAITS, arguments=["--port", str(port)])
    pids = workers.pids
    pending = await work(workers, tmp_path)
    workers.process.signal(signal.SIGKILL)
    await workers.until_logged("the supervisor is gone", 2)
    await workers.until_logged("shutting down", 2)
    signal_file.touch()
    assert {response["output"] for response in await asyncio.gather(*pending)} == pids
    await workers.until_gone(pids)
    assert len(workers.lines("shut down")) == 2
    assert not left(tmp_path)
    socket.create_server(("127.0.0.1", port)).close()


async def test_killed_supervisor_does_not_shorten_the_grace_period(
    fleet: Workers, tmp_path: Path, signal_file: Path
) -> None:
    workers = await fleet(WAITS)
    pids = workers.pids
    pending = await work(workers, tmp_path)
    workers.process.signal()
    await workers.until_logged("shutting down", 2)
    workers.process.signal(signal.SIGKILL)
    await workers.until_logged("the supervisor is gone", 2)
    signal_file.touch()
    assert {response["output"] for response in await asyncio.gather(*pending)} == pids
    await workers.until_gone(pids)


@pytest.mark.parametrize("how", HOW)
async def test_signal_before_any_worker_runs_ends_the_supervisor(
    fleet: Workers, tmp_path: Path, how: str
) -> None:
    workers = await fleet(PID, ready=False)
    HOW[how](workers)
    assert await workers.process.exit_code() == 0
    assert workers.process.err == ""
    assert not left(tmp_path)


async def test_signal_while_the_first_agent_loads_ends_the_supervisor(fleet: Workers, tmp_path: Path) -> None:
    loads = (
        f"import os, time\nopen('loading', 'w')\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n{PID}"
    )
    workers = await fleet(loads, ready=False)
    await wait_until((tmp_path / "loading").exists, START_SECONDS)
    workers.process.signal()
    assert await workers.process.exit_code() == 0
    assert workers.process.err == ""


async def test_signal_during_a_replacement_ends_the_supervisor(fleet: Workers, tmp_path: Path) -> None:
    loads = (
        "import os, time\nopen(f'loading-{os.getpid()}', 'w').close()\n"
        f"while os.path.exists('hold'):\n    time.sleep(0.01)\n{PID}"
    )
    workers = await fleet(loads)
    (tmp_path / "hold").touch()
    for pid in workers.pids:
        os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: len(list(tmp_path.glob("loading-*"))) == 4, START_SECONDS)
    workers.process.signal()
    (tmp_path / "hold").unlink()
    assert await workers.process.exit_code() == 0
    assert len(workers.lines("worker died")) == 2
    assert workers.process.err == ""


async def test_worker_that_gets_a_signal_is_replaced(fleet: Workers) -> None:
    workers = await fleet(PID)
    os.kill(min(workers.pids), signal.SIGTERM)
    (line,) = await workers.until_logged("worker died")
    assert line["exit_code"] == 0
    await workers.until_logged("worker ready", 3)
    assert len(workers.pids) == 2
