"""Workers and supervisors that are killed again and again: back-off, its limit, and recovery."""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import Workers
from tests.e2e.fleet import MODULE, PID, WAITS, alive
from tests.e2e.process import START_SECONDS, TIMEOUT_SECONDS, command, environment
from tests.e2e.resources import cpu_seconds
from tests.servers import free_port
from tests.support import wait_until

BREAKS = f"""
import os
if os.path.exists("broken"):
    raise ValueError("broken now")
{PID}"""
SHORT = {"FIRST_DELAY": "0.01", "LONGEST_DELAY": "0.02", "FAILED_STARTS": "1"}
LONG = {"FIRST_DELAY": "300", "LONGEST_DELAY": "300"}


async def test_supervisor_gives_up_when_no_worker_can_be_started(fleet: Workers, tmp_path: Path) -> None:
    workers = await fleet(BREAKS, **SHORT)
    (tmp_path / "broken").touch()
    for pid in workers.pids:
        os.kill(pid, signal.SIGKILL)
    assert await workers.process.exit_code(60) == 1
    lines = workers.process.out.splitlines()
    assert '"message":"no worker can be started","failed_starts":2' in lines[-1]
    assert len(workers.lines("worker died")) <= 2 + 2
    assert not list((tmp_path / "tmp").iterdir())


async def test_supervisor_does_not_give_up_while_a_worker_serves(fleet: Workers, tmp_path: Path) -> None:
    workers = await fleet(BREAKS, **SHORT)
    dies, lives = workers.pids
    (tmp_path / "broken").touch()
    os.kill(dies, signal.SIGKILL)
    await workers.until_logged("worker died", 1 + 3)
    assert (await workers.post())["output"] == lives
    (tmp_path / "broken").unlink()
    await workers.until_logged("worker ready", 3)
    workers.process.signal()
    assert await workers.process.exit_code() == 0


async def test_worker_killed_again_and_again_is_replaced_less_and_less_often(fleet: Workers) -> None:
    workers = await fleet(PID, FIRST_DELAY="0.1")
    began = time.monotonic()
    for kill in range(3):
        os.kill(workers.lines("worker ready")[-1]["worker"], signal.SIGKILL)
        await workers.until_logged("worker ready", 3 + kill)
    assert time.monotonic() - began > 0.1 * (1 + 2)
    assert cpu_seconds(workers.pid) < 3
    assert (await workers.post())["output"] in workers.pids
    assert len(workers.process.out.splitlines()) < 60


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_signal_during_the_back_off_ends_the_supervisor_at_once(fleet: Workers, signum: int) -> None:
    workers = await fleet(PID, **LONG)
    for pid in workers.pids:
        os.kill(pid, signal.SIGKILL)
    await workers.until_logged("worker died", 2)
    workers.process.signal(signum)
    assert await workers.process.exit_code() == 0
    assert not workers.lines("shut down")
    assert workers.process.err == ""


async def test_address_is_free_at_once_when_the_supervisor_is_killed(fleet: Workers, tmp_path: Path) -> None:
    """The workers that are left finish their runs; a new supervisor serves meanwhile."""
    port = str(free_port())  # not one that a connection of another test may get
    workers = await fleet(WAITS, arguments=["--port", port])
    pids, pending = workers.pids, []
    for pid in pids:
        with workers.only(pid):
            pending.append(asyncio.create_task(workers.post()))
            await wait_until((tmp_path / f"works-{pid}").exists)
    workers.process.signal(signal.SIGKILL)
    await workers.until_logged("shutting down", 2)
    await wait_until(lambda: workers.process.popen.poll() is not None)
    variables = environment(WORKERS="2", TMPDIR=str(tmp_path / "tmp"))
    arguments = command("run", tmp_path / "Dockfile.yaml", "--port", port, module=MODULE)
    with (tmp_path / "next.log").open("wb") as out:
        process = subprocess.Popen(arguments, cwd=tmp_path, env=variables, stdout=out, stderr=out)
    try:
        await wait_until(lambda: b'"worker ready"' in (tmp_path / "next.log").read_bytes(), START_SECONDS)
        assert all(map(alive, pids))
        (tmp_path / "go").touch()
        assert (await workers.post())["output"] not in pids
        assert {response["output"] for response in await asyncio.gather(*pending)} == pids
        await workers.until_gone(pids)
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        process.terminate()
        assert await asyncio.to_thread(process.wait, TIMEOUT_SECONDS) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def test_directories_of_killed_supervisors_are_removed(fleet: Workers, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    abandoned = tmp_path / "tmp" / "dockrion-metrics-abandoned"
    used = tmp_path / "tmp" / "dockrion-metrics-used"
    link = tmp_path / "tmp" / "dockrion-metrics-link"
    for directory in (abandoned, used, tmp_path / "elsewhere"):
        directory.mkdir()
        (directory / "counter_0.db").touch()
    link.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tmp" / "dockrion-metrics-file").touch()
    descriptor = os.open(used, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        await fleet(PID)
    finally:
        os.close(descriptor)
    assert not abandoned.exists()
    assert (used / "counter_0.db").exists()
    assert (link / "counter_0.db").exists()
    assert len(list((tmp_path / "tmp").iterdir())) == 4


async def test_worker_is_replaced_without_room_for_its_metrics(fleet: Workers, tmp_path: Path) -> None:
    workers = await fleet(PID, FIRST_DELAY="0.1")
    shutil.rmtree(tmp_path / "tmp")
    (tmp_path / "tmp").touch()  # so that no directory can be made there
    os.kill(min(workers.pids), signal.SIGKILL)
    await workers.until_logged("worker ready", 3)
    for pid in workers.pids:
        with workers.only(pid):
            await workers.post()
            assert await workers.metric("dockrion_requests_total", method="POST", endpoint="/invoke") >= 1
    files = 4  # of counters, of histograms, of gauges that are added up and of those that are not
    assert 1 <= len(workers.lines("metrics cannot be stored at present")) <= files
    assert "traceback" not in workers.process.out
    workers.process.signal()
    assert await workers.process.exit_code() == 0
    assert workers.process.err == ""
