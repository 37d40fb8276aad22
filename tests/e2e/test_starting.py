"""Slow starts and failing starts."""

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from dockrion.cli import main
from tests.e2e.conftest import Start
from tests.e2e.process import get, post, run, write_dockfile

OK = "def handle(payload):\n    return payload\n"
SLOW = """
import os, time
while not os.path.exists("go"):
    time.sleep(0.01)

def handle(payload):
    return "loaded"
"""
ENTRYPOINT = {"name": "tested", "entrypoint": "agent:make", "framework": "custom"}
GRAPH = {"name": "tested", "entrypoint": "agent:handle", "framework": "langgraph"}
# Starts that fail: the code, sections, and the expected parts of the error. More of them, without a process,
# are in tests/agents/test_loading.py.
FAILING: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "missing module": (
        OK,
        {"agent": {"name": "t", "handler": "agnt:handle"}},
        ["no module 'agnt'", "did you mean agent?"],
    ),
    "import that raises": ("x = 1\nraise ValueError('no way')\n", {}, ["agent.py:2", "ValueError: no way"]),
    "import that exits": ("import sys\nsys.exit(0)\n", {}, ["agent.py:2", "SystemExit"]),
    "syntax error": ("def handle(payload):\n    return (\n", {}, ["agent.py:2", "SyntaxError"]),
    "not callable": ("handle = 5\n", {}, ["agent.handler", "of type int, not callable"]),
    "missing generator": (
        OK,
        {"streaming": {"id_generator": {"type": "custom", "handler": "agent:ids"}}},
        ["streaming.id_generator.handler", "no 'ids'"],
    ),
    "config of a graph": (
        OK,
        {"agent": GRAPH, "arguments": {"config": {"recursion_limit": 0}}},
        ["arguments.config", "recursion_limit"],
    ),
    "two callers with one key": (
        OK,
        {"auth": {"api_keys": {"prefix": "SAME_KEY_"}}},
        ["auth.api_keys", "have the same key"],
    ),
    "option of the Redis URL": (
        OK,
        {"streaming": {"backend": "redis", "redis": {"url": "rediss://h?ssl_cert_reqs=maybe"}}},
        ["streaming.redis.url", "malformed"],
    ),
}
SAME_KEYS = {"SAME_KEY_A": "0123456789abcdef", "SAME_KEY_B": "0123456789abcdef"}


@pytest.mark.parametrize("name", FAILING)
def test_failed_start_is_explained_in_one_line(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, sections, parts = FAILING[name]
    write_dockfile(tmp_path, code, **sections)
    result = run("run", "--port", "0", cwd=tmp_path, **SAME_KEYS)
    assert result.returncode == 1, result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert all(part in result.stderr for part in parts), result.stderr

    monkeypatch.chdir(tmp_path)
    for variable, value in SAME_KEYS.items():
        monkeypatch.setenv(variable, value)
    validated = main(["validate"])
    positions = re.compile(r"^Dockfile\.yaml:\d+:\d+: ", re.MULTILINE)
    assert (validated, positions.sub("", capsys.readouterr().err)) == (1, result.stderr)


def test_a_factory_that_fails_refuses_the_start_and_is_invalid(tmp_path: Path) -> None:
    write_dockfile(tmp_path, "import sys\ndef make():\n    sys.exit(0)\n", agent=ENTRYPOINT)
    result = run("run", "--port", "0", cwd=tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "agent:make()" in line
    assert "SystemExit" in line
    result = run("validate", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith(line)


def test_taken_port_is_reported(tmp_path: Path) -> None:
    write_dockfile(tmp_path, OK)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = run("run", "--host", "127.0.0.1", "--port", port, cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line


def test_invalid_host_is_reported(tmp_path: Path) -> None:
    write_dockfile(tmp_path, OK)
    result = run("run", "--host", "192.0.2.1", "--port", "0", cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    assert "192.0.2.1" in line


def test_verbose_shows_the_traceback(tmp_path: Path) -> None:
    write_dockfile(tmp_path, "raise ValueError('no way')\n")
    result = run("run", "--port", "0", "--verbose", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("agent.handler: ")
    assert "Traceback" in result.stderr
    assert 'agent.py", line 1' in result.stderr


def test_secret_in_the_message_of_an_import_is_masked(tmp_path: Path) -> None:
    code = "import os\nraise ValueError('key ' + os.environ['KEY'])\n"
    write_dockfile(tmp_path, code, secrets={"required": [{"name": "KEY"}]})
    for verbose in ([], ["--verbose"]):
        result = run("run", "--port", "0", *verbose, cwd=tmp_path, KEY="s3cr3t-value")
        assert result.returncode == 1
        assert "s3cr3t-value" not in result.stdout + result.stderr
        assert "key ***" in result.stderr


async def test_healthy_but_not_ready_until_the_agent_is_loaded(
    start: Start, tmp_path: Path, signal_file: Path
) -> None:
    process = await start(write_dockfile(tmp_path, SLOW), ready=False)
    assert (await get(process, "/health"))[0] == 200
    status, body = await get(process, "/ready")
    assert (status, body["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert (await post(process, "/invoke", {}))[0] == 503
    signal_file.touch()
    await process.until_logged("agent loaded")
    assert (await get(process, "/ready"))[0] == 200
    assert (await post(process, "/invoke", {}))[1]["output"] == "loaded"


async def test_signal_during_a_slow_import_ends_the_process(start: Start, tmp_path: Path) -> None:
    process = await start(write_dockfile(tmp_path, SLOW), ready=False)
    process.signal()
    assert await process.exit_code() == 0
    assert process.err == ""


async def test_default_secret_reaches_the_agent(start: Start, tmp_path: Path) -> None:
    code = "import os\ndef handle(payload):\n    return len(os.environ['TOKEN'])\n"
    secrets = {"optional": [{"name": "TOKEN", "default": "12345"}]}
    process = await start(write_dockfile(tmp_path, code, secrets=secrets))
    assert (await post(process, "/invoke", {}))[1]["output"] == 5


async def test_modules_beside_the_dockfile_are_found_from_anywhere(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "else where"
    folder.mkdir()
    process = await start(write_dockfile(folder, OK))
    assert (await post(process, "/invoke", {"n": 1}))[1]["output"] == {"n": 1}


async def test_misspelt_field_is_logged_as_a_warning(start: Start, tmp_path: Path) -> None:
    streaming = {"events": {"heartbeat_intervall": 3}}
    process = await start(write_dockfile(tmp_path, OK, streaming=streaming))
    warnings = [line for line in process.out.splitlines() if '"warning"' in line]
    assert len(warnings) == 1
    assert "heartbeat_intervall" in warnings[0]
    assert "heartbeat_interval'" in warnings[0] or "heartbeat_interval?" in warnings[0]


def test_unsupported_feature_exits_with_one(tmp_path: Path) -> None:
    write_dockfile(tmp_path, OK, auth={"mode": "api_key"})
    result = run("run", "--port", "0", cwd=tmp_path)
    assert result.returncode == 1
    assert "auth" in result.stderr
