"""Several workers on one port: requests, metrics, and the death of a worker."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from dockrion.cli import main
from tests.e2e.conftest import Start, Workers
from tests.e2e.fleet import MODULE, PID, WAITS, Fleet, alive
from tests.e2e.process import TIMEOUT_SECONDS, get, run, write_dockfile
from tests.support import wait_until
from tests.web.wire import request

BREAKS = f"""
import os
if os.path.exists("broken"):
    raise ValueError("broken now")
{PID}"""
COUNTS = f"from prometheus_client import Counter\nCounter('mine', 'x').inc()\n{WAITS}"
RUNS: dict[str, str] = {"method": "POST", "endpoint": "/runs", "status": "202"}


async def answering(fleet: Fleet) -> set[int]:
    """Send requests until every ready worker has responded."""
    answered: set[int] = set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while len(answered) < len(fleet.pids):
            responses = await asyncio.gather(*(fleet.post() for _ in range(10)))
            answered |= {response["output"] for response in responses}
    return answered


async def test_all_workers_serve_one_port(fleet: Workers) -> None:
    workers = await fleet(PID, 3)
    assert len(workers.pids) == 3
    assert await answering(workers) == workers.pids
    assert len(workers.lines("listening")) == 1


async def test_no_worker_serves_a_name_that_is_rebound_to_loopback(fleet: Workers) -> None:
    workers = await fleet(PID, 2)
    await answering(workers)

    async def status(host: str) -> int:
        url = f"{workers.process.url}/invoke"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json={}, headers={"Host": host}) as response,
        ):
            return response.status

    asked = (status(host) for host in ["evil.example", "localhost"] * 10)
    assert await asyncio.gather(*asked) == [421, 200] * 10


async def test_log_lines_name_their_worker(fleet: Workers) -> None:
    workers = await fleet(PID)
    await answering(workers)
    assert {line["worker"] for line in workers.lines("request")} == workers.pids
    assert "worker" not in workers.lines("listening")[0]


async def test_single_worker_has_no_supervisor(start: Start, tmp_path: Path) -> None:
    process = await start(write_dockfile(tmp_path, PID), module=MODULE, WORKERS="1")
    assert (await Fleet(process).post())["output"] == process.popen.pid
    assert '"worker"' not in process.out
    process.signal()
    assert await process.exit_code() == 0


async def test_killed_worker_is_replaced_while_the_others_serve(fleet: Workers) -> None:
    workers = await fleet(PID, 3)
    before = workers.pids
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    (line,) = await workers.until_logged("worker died")
    assert (line["worker"], line["exit_code"]) == (killed, -signal.SIGKILL)
    for _ in range(10):
        assert (await workers.post())["output"] != killed
    await workers.until_logged("worker ready", 4)
    assert len(workers.pids - before) == 1
    assert await answering(workers) == workers.pids


async def test_dying_worker_loses_no_queued_connection(fleet: Workers) -> None:
    workers = await fleet(PID)
    dies, lives = workers.pids
    with workers.only(0), socket.socket() as client:
        client.connect(("127.0.0.1", int(workers.process.url.rpartition(":")[2])))
        client.sendall(request("POST", "/invoke", body=b"{}"))
        client.settimeout(TIMEOUT_SECONDS)
        os.kill(dies, signal.SIGKILL)
        await wait_until(lambda: not alive(dies))
        os.kill(lives, signal.SIGCONT)
        assert b" 200 OK" in await asyncio.to_thread(client.recv, 1000)


async def test_failing_replacement_is_retried_while_the_others_serve(fleet: Workers, tmp_path: Path) -> None:
    workers = await fleet(BREAKS)
    dies, lives = workers.pids
    (tmp_path / "broken").touch()
    os.kill(dies, signal.SIGKILL)
    killed, *failed = [line["exit_code"] for line in await workers.until_logged("worker died", 2)]
    assert (killed, set(failed)) == (-signal.SIGKILL, {1})
    assert (await workers.post())["output"] == lives
    assert "broken now" in workers.process.err
    (tmp_path / "broken").unlink()
    await workers.until_logged("worker ready", 3)
    assert await answering(workers) == workers.pids
    workers.process.signal()
    assert await workers.process.exit_code() == 0


async def test_metrics_are_summed_over_workers(fleet: Workers) -> None:
    workers = await fleet(COUNTS)
    one, other = workers.pids
    for pid, runs in ((one, 3), (other, 2)):
        with workers.only(pid):
            for _ in range(runs):
                await workers.post("/runs")
    for pid in (one, other):
        with workers.only(pid):
            assert await workers.metric("dockrion_requests_total", **RUNS) == 5
            assert await workers.metric("dockrion_active_runs") == 5
            assert await workers.metric("dockrion_active_requests") == 1
    os.kill(one, signal.SIGKILL)
    await workers.until_logged("worker died")
    assert await workers.metric("dockrion_requests_total", **RUNS) == 5
    assert await workers.metric("dockrion_active_runs") == 2
    await workers.until_logged("worker ready", 3)
    (new,) = workers.pids - {other}
    with workers.only(new):
        await workers.post("/runs")
        assert await workers.metric("dockrion_requests_total", **RUNS) == 6
        assert await workers.metric("dockrion_active_runs") == 3


async def test_replacement_continues_the_metrics_of_a_dead_worker(fleet: Workers, tmp_path: Path) -> None:
    workers = await fleet(PID)
    files = len(list(tmp_path.glob("tmp/*/*.db")))
    os.kill(min(workers.pids), signal.SIGKILL)
    await workers.until_logged("worker ready", 3)
    assert len(list(tmp_path.glob("tmp/*/*.db"))) == files


@pytest.mark.parametrize("count", [1, 2])
async def test_prometheus_directory_of_another_program_is_not_used(
    start: Start, tmp_path: Path, count: int
) -> None:
    theirs = tmp_path / "theirs"
    variables = {"PROMETHEUS_MULTIPROC_DIR": str(theirs), "WORKERS": str(count)}
    process = await start(write_dockfile(tmp_path, PID), module=MODULE, **variables, ready=False)
    await process.until_logged("agent loaded")
    workers = Fleet(process)
    await workers.post()
    assert await workers.metric("dockrion_requests_total", endpoint="/invoke", status="200") == 1
    assert not theirs.exists()
    process.signal()
    assert await process.exit_code() == 0


async def test_healthy_but_not_ready_until_a_worker_is_ready(fleet: Workers, tmp_path: Path) -> None:
    loads = f"import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)\n{PID}"
    workers = await fleet(loads, ready=False)
    assert (await get(workers.process, "/health"))[0] == 200
    assert (await get(workers.process, "/ready"))[0] == 503
    assert not workers.lines("worker ready")
    (tmp_path / "go").touch()
    await workers.until_logged("worker ready")
    assert (await get(workers.process, "/ready"))[0] == 200
    await workers.until_logged("worker ready", 2)


# What ends the start, with its exit code and a part of stderr.
FAILING = {
    "no handler": ("", "no 'handle'"),
    "import that raises": ("raise ValueError('no way')\n", "ValueError: no way"),
    "import that exits": ("import os\nos._exit(0)\n", ""),
}


@pytest.mark.parametrize("kind", FAILING)
def test_agent_that_fails_to_load_is_reported_once(tmp_path: Path, kind: str) -> None:
    code, message = FAILING[kind]
    write_dockfile(tmp_path, code)
    (tmp_path / "tmp").mkdir()
    variables = {"WORKERS": "3", "TMPDIR": str(tmp_path / "tmp")}
    result = run("run", "--port", "0", cwd=tmp_path, module=MODULE, **variables)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == bool(message)
    assert message in result.stderr
    assert result.stdout.count("worker died") == 1
    assert "no worker can be started" in result.stdout.splitlines()[-1]
    assert not list((tmp_path / "tmp").iterdir())


def test_invalid_dockfile_starts_no_worker(tmp_path: Path) -> None:
    write_dockfile(tmp_path, PID, expose={"port": 0})
    result = run("run", cwd=tmp_path, module=MODULE, WORKERS="3")
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1


def test_taken_port_is_reported_once(tmp_path: Path) -> None:
    write_dockfile(tmp_path, PID)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = run("run", "--port", port, cwd=tmp_path, module=MODULE, WORKERS="3")
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line


def test_workers_are_refused_on_the_memory_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dockfile(tmp_path, PID)
    assert main(["run", "--workers", "2", "--port", "0"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert all(part in line for part in ("streaming.backend: ", "memory", "--workers 2", "redis"))


@pytest.mark.parametrize("count", ["0", "65", "-1", "2.5", "two", "", "²"])
def test_invalid_number_of_workers_is_wrong_usage(capsys: pytest.CaptureFixture[str], count: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", f"--workers={count}"])
    assert ended.value.code == 2
    assert "expected 1 to 64" in capsys.readouterr().err
