"""Dockfiles that `run` and `validate` refuse."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dockrion.cli import main
from tests.e2e.process import write_dockfile

OK = "def handle(payload):\n    return payload\n"
ENTRYPOINT = {"name": "tested", "entrypoint": "agent:make", "framework": "custom"}
# Dockfiles that are refused: sections, and the expected parts of the error.
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "redis url": ({"streaming": {"backend": "redis", "redis": {"url": "http://h"}}}, ["streaming.redis.url"]),
    "auth": (
        {"auth": {"mode": "jwt", "jwt": {"public_key_env": "KEY_THAT_IS_NOT_SET"}}},
        ["auth.jwt.public_key_env", "KEY_THAT_IS_NOT_SET"],
    ),
    "policies": ({"policies": {"tools": {"allow": ["x"]}}}, ["policies.tools.allow", "an unknown field"]),
    "a policy for another process": (
        {
            "agent": {"name": "tested", "url": "http://127.0.0.1:9"},
            "policies": {"tools": {"allowed": ["look"]}},
        },
        ["policies.tools", "cannot be intercepted", "remove the section"],
    ),
    "secrets": (
        {"secrets": {"required": [{"name": "ONE"}, {"name": "TWO", "default": "2"}, {"name": "THREE"}]}},
        ["secrets.required", "ONE, THREE"],
    ),
    "rest and streams off": ({"expose": {"rest": False, "streaming": "none"}}, ["expose"]),
}

_PLACE = re.compile(r"^Dockfile\.yaml(:\d+:\d+)?: ")


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    sys.modules.pop("agent", None)  # `validate` has imported it


def test_levels_of_loggers_that_cannot_be_read_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_dockfile(tmp_path, OK)
    monkeypatch.setenv("DOCKRION_LOG_LEVELS", "httpx=loud")
    assert refused(capsys).startswith("DOCKRION_LOG_LEVELS: expected logger=level")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run `run` and `validate`, which must exit with 1 for the same reasons, and return these."""
    assert main(["run", *arguments, "--port", "0"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert main(["validate", *arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if not line.startswith("warning: ")]
    assert [_PLACE.sub("", line) for line in errors] == [_PLACE.sub("", line) for line in err.splitlines()]
    return err


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_feature_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    sections, parts = REFUSED[name]
    write_dockfile(tmp_path, OK, **sections)
    stderr = refused(capsys)
    assert len(stderr.splitlines()) == 1, stderr
    assert all(part in stderr for part in parts), stderr


def test_unsupported_features_have_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dockfile(
        tmp_path,
        OK,
        policies={"quota": 5},
        auth={"mode": "api_key"},
        secrets={"required": [{"name": "ONE"}]},
    )
    lines = refused(capsys).splitlines()
    paths = ["policies.quota: ", "secrets.required: ", "auth.api_keys.env_var: "]
    assert len(lines) == len(paths)
    assert all(path in line for path, line in zip(paths, lines, strict=True)), lines


def test_problems_of_a_dockfile_have_a_line_each_with_positions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "Dockfile.yaml"
    path.write_text(
        'version: "1.0"\nagent: {name: Bad, handler: agent:handle}\nio_schema: {}\n'
        "expose:\n  port: 0\nstreaming:\n  events:\n    heartbeat_interval: 0\n"
    )
    lines = refused(capsys).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["Dockfile.yaml:2:15", "agent.name"],
        ["Dockfile.yaml:5:9", "expose.port"],
        ["Dockfile.yaml:8:25", "streaming.events.heartbeat_interval"],
    ]


def test_missing_dockfile_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    stderr = refused(capsys, "nowhere.yaml")
    assert len(stderr.splitlines()) == 1
    assert "nowhere.yaml" in stderr


def test_directory_is_not_a_dockfile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(refused(capsys, str(tmp_path)).splitlines()) == 1


def test_missing_env_file_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dockfile(tmp_path, OK)
    stderr = refused(capsys, "--env-file", "nowhere.env")
    assert len(stderr.splitlines()) == 1
    assert "nowhere.env" in stderr
