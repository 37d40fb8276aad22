"""Processes with a role: how they are started, and what they refuse."""

from pathlib import Path

import pytest

from dockrion.cli import main
from tests.e2e.process import write_dockfile

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
