"""What a supervisor shares with its workers, and a worker without one."""

import fcntl
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from dockrion.errors import StartError
from dockrion.server import supervisor
from dockrion.server.worker import WorkerSlot
from tests.e2e.process import START_SECONDS


def test_shared_directory_that_another_supervisor_removes_at_once_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one starts at the same time, and finds the directory before it is locked."""
    lock, made = fcntl.flock, []

    def remove_first(descriptor: int, operation: int) -> None:
        made.append(descriptor)
        if len(made) == 1:
            shutil.rmtree(next(tmp_path.iterdir()))
        lock(descriptor, operation)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", remove_first)
    with supervisor._shared_directory() as directory:
        assert list(tmp_path.iterdir()) == [Path(directory)]
    assert not list(tmp_path.iterdir())


def test_without_temporary_files_the_shared_directory_is_in_memory_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr(supervisor, "_MEMORY", str(tmp_path))
    with supervisor._shared_directory() as directory:
        assert list(tmp_path.iterdir()) == [Path(directory)]
    assert not list(tmp_path.iterdir())


def test_supervisor_without_any_directory_to_share_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr(supervisor, "_MEMORY", str(tmp_path / "missing"))
    with pytest.raises(StartError, match=r"--tmpfs /tmp.*TMPDIR"), supervisor._shared_directory():
        pass


def test_worker_whose_supervisor_is_gone_when_it_starts_shuts_down(tmp_path: Path) -> None:
    dockfile = tmp_path / "Dockfile.yaml"
    dockfile.write_text('{version: "1.0", agent: {name: tested, handler: "agent:answer"}}')
    (tmp_path / "agent.py").write_text("def answer(payload): return {}")
    ours, theirs = socket.socketpair()
    with theirs, socket.create_server(("127.0.0.1", 0)) as listening:
        ours.close()
        slot = WorkerSlot(0, theirs.fileno(), [listening.fileno()], str(tmp_path / "metrics"), first=True)
        command = [
            sys.executable,
            "-m",
            "dockrion",
            "run",
            f"--worker-slot={msgspec.json.encode(slot).decode()}",
        ]
        result = subprocess.run(
            [*command, str(dockfile)],
            pass_fds=[*slot.listening, slot.lifeline],
            capture_output=True,
            text=True,
            check=False,
            timeout=START_SECONDS,
        )
    assert "the supervisor is gone" in result.stdout
    assert result.stderr == ""
    assert (result.returncode, "shut down" in result.stdout) == (0, True)
