"""The command line: output and exit codes."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import dockrion
from dockrion import cli
from dockrion.cli import main
from tests.e2e import process
from tests.e2e.process import ROOT, run, write_dockfile

OK = "def handle(payload):\n    return payload\n"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process, whose working directory becomes that of the test."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = main(arguments)
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    return run_command


def test_version(tmp_path: Path) -> None:
    result = run("--version", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, f"dockrion {dockrion.__version__}\n")


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert {"run", "validate"} <= set(re.findall(r"\w+", capsys.readouterr().out))


@pytest.mark.parametrize("command", ["test", "validate", "doctor"])
def test_ctrl_c_ends_a_command_by_the_signal_and_without_a_traceback(tmp_path: Path, command: str) -> None:
    # Again, as a user would: asyncio sees a signal that comes just before it waits only when it wakes up.
    send = "    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(5)\n"
    write_dockfile(tmp_path, f"import os, signal, time\n\nwhile True:\n{send}")
    result = run(command, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (-signal.SIGINT, "")


def test_only_the_command_that_is_used_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from dockrion.cli import main; main(['version']); "
        "print(*(n for n in sys.modules if n.startswith('dockrion.commands.') or n in ('aiohttp', 'yaml')))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=process.environment(), capture_output=True, check=True
    )
    imported = set(result.stdout.decode().splitlines()[1].split())
    assert imported == {"dockrion.commands.version"}


@pytest.mark.parametrize("command", ["", *cli._COMMANDS])
def test_help_has_an_example_that_works(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"] if command else ["--help"])
    (example,) = re.findall(
        r"^example: (?:source <\()?(dockrion .*?)\)?(?: > .*)?$", capsys.readouterr().out, re.MULTILINE
    )
    _, name, *arguments = shlex.split(example)
    assert name == (command or "init")
    assert cli._parser(name).parse_args([name, *arguments]).command


def test_wrong_usage_is_the_exit_code_of_the_process(tmp_path: Path) -> None:
    assert run("serve", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["serve"],
        ["run", "--port", "x"],
        ["run", "--port", "70000"],
        ["run", "--port", "-1"],
        ["run", "--nowhere"],
        ["run", "--role", "web"],
        ["run", "--grace", "-1"],
        ["run", "--grace", "86400.5"],
        ["run", "--grace", "inf"],
        ["run", "a.yaml", "b.yaml"],
        ["validate", "--port", "1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_two(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("usage: dockrion")
    assert "_port" not in stderr


def test_validate_summarizes_the_default_dockfile(tmp_path: Path) -> None:
    result = run("validate", ROOT / "config" / "Dockfile.yaml", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    for part in ("sample-writer (custom)", "handler agents.writer:write", "0.0.0.0:8080", "memory"):
        assert part in result.stdout
    assert "POST /invoke/stream" in result.stdout
    assert "DELETE /runs/{run_id}" in result.stdout


def test_openapi_prints_the_description_of_the_default_dockfile(tmp_path: Path) -> None:
    result = run("openapi", ROOT / "config" / "Dockfile.yaml", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    document = msgspec.json.decode(result.stdout)
    assert document["openapi"] == "3.1.1"
    assert document["info"]["title"] == "sample-writer"
    assert "post" in document["paths"]["/invoke"]


def test_the_reader_of_a_pipe_may_leave(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, "-m", "dockrion", "openapi", str(ROOT / "config/Dockfile.yaml")]
    with os.fdopen(writer, "wb") as pipe:
        result = subprocess.run(arguments, stdout=pipe, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    assert (result.returncode, result.stderr) == (1, b"")


TYPED = """
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

print("imported")

@dataclass
class Question:
    text: str

def handle(payload: Question) -> "Decimal":
    return payload.text
"""


def test_openapi_describes_the_types_of_the_handler(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(tmp_path, TYPED)
    result = run_here("openapi")
    assert result.returncode == 0
    schemas = msgspec.json.decode(result.stdout)["components"]["schemas"]
    assert schemas["AgentInput"]["properties"] == {"text": {"type": "string"}}
    assert "AgentOutput" not in schemas
    printed, warning = result.stderr.splitlines()
    assert printed == "imported"
    assert warning.startswith("warning: agent.handler: agent:handle: the type of its output is ignored: ")


def test_openapi_does_without_code_that_cannot_be_imported(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(tmp_path, "import nowhere_to_be_found")
    result = run_here("openapi")
    assert result.returncode == 0
    assert "AgentInput" not in msgspec.json.decode(result.stdout)["components"]["schemas"]
    assert result.stderr.startswith("warning: agent.handler: importing 'agent' failed")


def test_openapi_imports_no_code_if_the_dockfile_has_both_schemas(tmp_path: Path, run_here: Run) -> None:
    schema = {"type": "object"}
    write_dockfile(tmp_path, "import nowhere_to_be_found", io_schema={"input": schema, "output": schema})
    result = run_here("openapi")
    assert (result.returncode, result.stderr) == (0, "")


def test_validate_warns_of_types_that_are_ignored(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(tmp_path, TYPED)
    result = run_here("validate")
    assert result.returncode == 0
    assert " agent.handler: agent:handle: the type of its output is ignored: NameError" in result.stderr


def test_openapi_of_a_bad_dockfile_exits_with_one(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(tmp_path, OK, expose={"port": 0})
    result = run_here("openapi")
    assert result.returncode == 1
    assert "expose.port" in result.stderr
    assert result.stdout == ""


def test_validate_finds_the_dockfile_in_the_working_directory(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(tmp_path, OK)
    result = run_here("validate")
    assert (result.returncode, result.stderr) == (0, "")


def test_validate_names_only_endpoints_that_will_exist(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(tmp_path, OK, expose={"streaming": "none"}, streaming={"async_runs": False})
    result = run_here("validate")
    assert "POST /invoke" in result.stdout
    assert "/runs" not in result.stdout
    assert "/invoke/stream" not in result.stdout


def test_validate_lists_ignored_fields(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(tmp_path, OK, build={"include": {"directories": ["data"]}})
    result = run_here("validate")
    assert re.search(r"^ignores +build$", result.stdout, re.MULTILINE)


def test_validate_of_a_bad_dockfile_exits_with_one(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(tmp_path, OK, expose={"port": 0})
    result = run_here("validate")
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert re.match(r"Dockfile\.yaml:\d+:\d+: expose\.port: ", line)


def test_validate_warns_about_a_misspelt_field(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(tmp_path, OK, streaming={"events": {"heartbeat_intervall": 3}})
    result = run_here("validate")
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: Dockfile.yaml:")
    assert "heartbeat_intervall" in line
    assert re.search(r"heartbeat_interval\b", line)


def test_validate_exits_with_one_for_everything_that_run_refuses(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(
        tmp_path, "", auth={"mode": "api_key", "x": 1}, secrets={"required": [{"name": "ONE"}]}, typo=1
    )
    result = run_here("validate")
    assert result.returncode == 1
    assert "handler agent:handle" in result.stdout
    parts = [
        "warning: Dockfile.yaml:: auth.x: unknown field",
        "warning: Dockfile.yaml:: typo: unknown field",
        "Dockfile.yaml:: auth.x: not served by this version",
        "Dockfile.yaml:: secrets.required: not set: ONE;",
        "Dockfile.yaml:: auth.api_keys.env_var: DOCKRION_API_KEY is not set",
        "Dockfile.yaml:: agent.handler: ",
    ]
    lines = [re.sub(r"(?<=yaml:)\d+:\d+", "", line) for line in result.stderr.splitlines()]
    assert len(lines) == len(parts)
    assert all(line.startswith(part) for line, part in zip(lines, parts, strict=True)), lines


def test_validate_prints_problems_after_the_summary(tmp_path: Path) -> None:
    write_dockfile(tmp_path, "", typo=1)
    command = shlex.join(process.command("validate"))
    result = subprocess.run(
        ["sh", "-c", f"{command} 2>&1"],
        cwd=tmp_path,
        env=process.environment(),
        capture_output=True,
        text=True,
        timeout=process.START_SECONDS,
        check=False,
    )
    lines = result.stdout.splitlines()
    assert result.returncode == 1
    assert lines[0].startswith("agent ")
    assert lines[-2].startswith("warning: Dockfile.yaml:")
    assert re.match(r"Dockfile\.yaml:\d+:\d+: agent\.handler: ", lines[-1])


def test_validate_restores_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMPTY_HERE", "")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    code = "import os\nassert os.environ['FROM_DOTENV'] + os.environ['EMPTY_HERE'] == '12'\n" + OK
    secrets = {"optional": [{"name": "EMPTY_HERE", "default": "2"}]}
    write_dockfile(tmp_path, code, secrets=secrets)
    (tmp_path / ".env").write_text("FROM_DOTENV=1\n")
    before = dict(os.environ)
    assert main(["validate"]) == 0, capsys.readouterr()
    sys.modules.pop("agent")
    assert dict(os.environ) == before


def test_validate_prints_the_schema_of_dockfiles(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--schema"]) == 0
    schema = msgspec.json.decode(capsys.readouterr().out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert "streaming" in str(schema)


def test_validate_reads_variables_from_a_file(tmp_path: Path, run_here: Run) -> None:
    write_dockfile(tmp_path, OK, expose={"port": "${THE_PORT}"})
    (tmp_path / "some.env").write_text("THE_PORT=9123\n")
    result = run_here("validate", "--env-file", "some.env")
    assert result.returncode == 0
    assert ":9123" in result.stdout


def test_validate_masks_secrets(tmp_path: Path) -> None:
    write_dockfile(
        tmp_path,
        OK,
        agent={"name": "tested", "handler": "agent:handle", "s3cr3t-value": 1},
        secrets={"required": [{"name": "KEY"}]},
    )
    result = run("validate", cwd=tmp_path, KEY="s3cr3t-value")
    assert "s3cr3t-value" not in result.stdout + result.stderr


def test_closed_stdout_does_not_fail_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dockfile(tmp_path)
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["openapi", str(path)]) == 0
