"""`dockrion test`: the agent once, as a service would run it, without a service."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import process
from tests.e2e.process import run, write_dockfile

AGENT = """
import asyncio, os

def startup():
    print("started up")

async def handle(payload, context):
    print("printed", os.environ.get("KEY"))
    await context.emit_token("Hi")
    await context.emit("hidden", {"n": 1})
    match payload.get("do"):
        case "raise": raise ValueError(f"no good {os.environ['KEY']}")
        case "wait": await asyncio.Event().wait()
        case "ask": return {"answered": await context.ask("Send it?", {"type": "string", "minLength": 3})}
        case "caller": return {"caller": context.caller}
    return {"given": payload}
"""
SCHEMA = {"input": {"properties": {"do": {"type": "string"}}}}


def outcome_of(folder: Path, *arguments: str, stdin: str = "", **sections: Any) -> tuple[int, str, str]:
    """Return the exit code and what was printed."""
    write_dockfile(folder, AGENT, io_schema=SCHEMA, **sections)
    result = subprocess.run(
        process.command("test", *arguments),
        cwd=folder,
        env=process.environment(KEY="s3cr3t-value"),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


SECRET = {"required": [{"name": "KEY"}]}
OUTPUT = '{\n  "given": {\n    "do": "x"\n  }\n}\n'


def test_the_output_is_printed_apart_from_the_events(tmp_path: Path) -> None:
    # Neither callers nor a Redis are needed.
    sections: dict[str, Any] = {
        "auth": {"mode": "api_key", "api_keys": {"env_var": "KEY"}},
        "expose": {"rest": False, "streaming": "websocket"},
        "streaming": {"backend": "redis", "redis": {"url": "redis://127.0.0.1:1"}},
    }
    code, out, err = outcome_of(tmp_path, "-p", '{"do": "x"}', **sections)
    assert (code, out) == (0, OUTPUT)
    lines = err.splitlines()
    assert lines[0].endswith("started up")
    assert lines[1].endswith("printed ***")
    assert lines[2:] == ["Hi", '* hidden: {"n":1}']


def test_with_stream_events_and_output_are_printed_together(tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text('{"do": "x"}')
    events = {"events": {"allowed": ["token"]}}
    code, out, _ = outcome_of(tmp_path, "-f", "payload.json", "--stream", streaming=events)
    assert (code, out) == (0, f"Hi\n{OUTPUT}")


def test_an_exception_is_shown_with_its_traceback_and_without_secrets(tmp_path: Path) -> None:
    code, out, err = outcome_of(tmp_path, "--payload", '{"do": "raise"}', secrets=SECRET)
    assert (code, out) == (1, "")
    assert 'agent.py", line 12, in handle' in err
    assert err.endswith("failed: ValueError: no good *** (AGENT_EXECUTION_ERROR)\n")
    assert "s3cr3t" not in err


def test_an_input_that_breaks_the_schema_is_refused(tmp_path: Path) -> None:
    code, out, err = outcome_of(tmp_path, "-p", '{"do": 3}')
    assert (code, out) == (1, "")
    expected = 'refused: the body does not match io_schema.input\n  $.do: 3 is not of type "string"\n'
    assert err.endswith(expected)


def test_questions_are_answered_by_lines_of_standard_input(tmp_path: Path) -> None:
    code, out, err = outcome_of(tmp_path, "-p", '{"do": "ask"}', stdin="no\nyes\n")
    assert (code, out) == (0, '{\n  "answered": "yes"\n}\n')
    assert "? Send it?\n" in err
    assert '$: "no" is shorter than 3 characters' in err


def test_a_run_is_cancelled_if_nobody_can_answer_it(tmp_path: Path) -> None:
    code, out, err = outcome_of(tmp_path, "-p", '{"do": "ask"}')
    assert (code, out) == (1, "")
    assert "to answer: use a terminal, or write a line for each answer to standard input\n" in err
    assert err.endswith("cancelled: nobody could answer its question\n")


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text("{")
    code, _, err = outcome_of(tmp_path, "-f", "input.json")
    assert (code, err.splitlines()[-1]) == (
        2,
        "dockrion test: error: argument -f/--file: input.json is not JSON: Input data was truncated",
    )


def test_the_time_limit_of_an_invocation_applies(tmp_path: Path) -> None:
    code, _, err = outcome_of(tmp_path, "-p", '{"do": "wait"}', arguments={"timeout_sec": 1})
    assert code == 1
    assert err.endswith("failed: the agent exceeded its time limit (TIMEOUT_ERROR)\n")


def test_ctrl_c_cancels_the_run(tmp_path: Path) -> None:
    write_dockfile(tmp_path, AGENT)
    command = process.command("test", "--stream", "-p", '{"do": "wait"}')
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=process.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as testing:
        assert testing.stdout is not None
        assert testing.stderr is not None
        try:
            assert testing.stdout.read(2) == "Hi"
            testing.send_signal(signal.SIGINT)
            assert testing.wait(process.TIMEOUT_SECONDS) == 1
        finally:
            testing.kill()
        assert testing.stderr.read().endswith("cancelled: interrupted by the caller\n")


@pytest.mark.parametrize(
    ("kind", "last_lines"),
    [("", ["stopped"]), ("async ", ["KeyboardInterrupt", "stopped"])],
    ids=["sync", "async"],
)
def test_a_second_signal_ends_at_once_though_the_agent_blocks(
    tmp_path: Path, kind: str, last_lines: list[str]
) -> None:
    say = "print('working')" if kind else "context.sync_emit_token('working\\n')"
    write_dockfile(
        tmp_path, f"import time\n\n{kind}def handle(payload, context):\n    {say}\n    time.sleep(600)\n"
    )
    with subprocess.Popen(
        process.command("test"),
        cwd=tmp_path,
        env=process.environment(TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as testing:
        assert testing.stderr is not None
        try:
            assert testing.stderr.readline().endswith("working\n")
            testing.send_signal(signal.SIGINT)
            if not kind:
                assert testing.stderr.readline().startswith("cancelling run ")
            testing.send_signal(signal.SIGTERM)  # two of SIGINT may become one
            assert testing.wait(process.TIMEOUT_SECONDS) == 128 + signal.SIGINT
        finally:
            testing.kill()
        assert testing.stderr.read().splitlines()[-len(last_lines) :] == last_lines
    assert not list(tmp_path.glob("dockrion-*"))


@pytest.mark.parametrize(
    ("code", "sections"),
    [("handle = 5", {}), (AGENT, {"secrets": {"required": [{"name": "NOT_SET"}]}}), (AGENT, {"expose": 1})],
    ids=["agent", "secret", "Dockfile"],
)
def test_what_run_refuses_is_refused(tmp_path: Path, code: str, sections: dict[str, Any]) -> None:
    write_dockfile(tmp_path, code, **sections)
    served, tested = (run(name, *more, cwd=tmp_path) for name, *more in (["run", "--port=0"], ["test"]))
    assert (tested.returncode, tested.stdout, tested.stderr) == (1, "", served.stderr)
