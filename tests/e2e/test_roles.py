"""Processes with a role: how they are started, and what they refuse."""

import os
from pathlib import Path
from typing import Any

import pytest

from dockrion.cli import main
from tests.e2e.conftest import Start
from tests.e2e.fleet import Fleet
from tests.e2e.process import get, write_dockfile
from tests.e2e.reloading import loop
from tests.servers import KINDS, shared

ON_REDIS: dict[str, Any] = {
    "agent": {"name": f"roles-{os.getpid()}", "handler": "agent:handle"},
    "streaming": {"backend": "redis", "redis": {"url": shared(KINDS[0]).url}},
}
AGENT = "async def handle(payload):\n    return payload\n"


@pytest.mark.parametrize("role", ["api", "worker"])
def test_role_is_refused_on_the_memory_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dockfile(tmp_path, AGENT)
    assert main(["run", "--role", role, "--port", "0"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert all(part in line for part in ("streaming.backend: ", "memory", f"--role {role}", "redis"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reload", "--grace", "5"], "leave out --grace"),
        (["--open", "--role", "worker"], "a worker has no page"),
    ],
    ids=["reload and grace", "open and worker"],
)
def test_options_that_exclude_each_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dockfile(tmp_path, AGENT)
    assert main(["run", "--port", "0", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


async def test_processes_of_a_supervisor_have_its_role_and_grace(start: Start, tmp_path: Path) -> None:
    path = write_dockfile(tmp_path, AGENT, **ON_REDIS)
    arguments = ["--workers", "2", "--role", "worker", "--grace", "1.5"]
    supervisor = Fleet(await start(path, arguments=arguments, ready=False, TMPDIR=str(tmp_path)))
    try:
        await supervisor.until_logged("worker ready", 2)
        assert (await get(supervisor.process, "/ready"))[0] == 200
        assert (await get(supervisor.process, "/info"))[0] == 404
        supervisor.process.signal()
        assert await supervisor.process.exit_code() == 0
        assert [line["grace_seconds"] for line in supervisor.lines("shutting down")] == [1.5, 1.5]
    finally:
        supervisor.end()


async def test_reloaded_process_keeps_its_role_and_needs_the_backend_for_it(tmp_path: Path) -> None:
    async with loop(tmp_path, AGENT, "--role", "worker", **ON_REDIS) as service:
        await service.shown.until("ready in")
        assert (await service.get("/info"))[0] == 404
        write_dockfile(tmp_path, AGENT)
        await service.shown.until("keeps runs in one process")
        status, body = await service.get("/ready")
        assert status == 503
        assert "--role worker" in body["error"]
