"""`dockrion validate`: whatever `run` would refuse is an error, with its place, and a report for programs."""

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dockrion.cli import main
from tests.e2e.process import write_dockfile
from tests.support import WEBHOOK_SECRET

OK = "def handle(payload):\n    return payload\n"
CUSTOM = {"name": "tested", "entrypoint": "agent:make", "framework": "custom"}
GRAPH = {"name": "tested", "entrypoint": "agent:make", "framework": "langgraph"}
# Why `run` would refuse: the code, sections, and the beginning of the message
REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "missing module": (OK, {"agent": {"name": "t", "handler": "agnt:handle"}}, "agent.handler", "no module"),
    "missing function": ("", {}, "agent.handler", "{folder}/agent.py has no 'handle'"),
    "not callable": ("handle = 5", {}, "agent.handler", "'handle' in {folder}/agent.py is of type int"),
    "syntax error": ("def handle(:", {}, "agent.handler", "importing 'agent' failed at {folder}/agent.py:1"),
    "missing package": (
        "import nowhere_to_be_found",
        {},
        "agent.handler",
        "importing 'agent' failed at {folder}/agent.py:1: ModuleNotFoundError",
    ),
    "missing secret": (
        OK,
        {"secrets": {"required": [{"name": "NOT_SET_ANYWHERE"}]}},
        "secrets.required",
        "not set: NOT_SET_ANYWHERE; set them",
    ),
    "malformed secret of a webhook": (
        OK,
        {
            "secrets": {"optional": [{"name": "HOOK", "default": "no-such-secret"}]},
            "webhooks": [{"url": "https://hooks.example.com/", "secret_env": "HOOK"}],
        },
        "webhooks",
        "HOOK holds no secret for webhooks",
    ),
    "missing package of a factory": (
        "def make():\n    import nowhere_to_be_found",
        {"agent": CUSTOM},
        "agent.entrypoint",
        "agent:make() raised ModuleNotFoundError",
    ),
    "useless product": (
        "def make(): return 5",
        {"agent": CUSTOM},
        "agent.entrypoint",
        "agent:make cannot be used",
    ),
    "no graph": ("def make(): return 5", {"agent": GRAPH}, "agent.entrypoint", "agent:make() returned an un"),
    "bad hook of a product": (
        "class Agent:\n  def invoke(self, x): ...\n  def startup(self, x): ...\ndef make(): return Agent()",
        {"agent": CUSTOM},
        "agent.entrypoint",
        "what agent:make() returned: startup() is called without arguments",
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main(["validate", "--json"])
    return code, msgspec.json.decode(capsys.readouterr().out)


@pytest.mark.parametrize("name", REFUSED)
def test_what_run_would_refuse_is_an_error(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, sections, field, message = REFUSED[name]
    write_dockfile(folder, code, **sections)
    assert main(["validate"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("agent ")
    message = message.format(folder=folder)
    assert f": {field}: {message}" in err.splitlines()[-1]
    sys.modules.pop("agent", None)
    status, printed = report(capsys)
    assert (status, printed["valid"]) == (1, False)
    problem = printed["problems"][-1]
    assert (problem["severity"], problem["file"], problem["path"]) == ("error", "Dockfile.yaml", field)
    assert problem["message"].startswith(message)
    text = (folder / "Dockfile.yaml").read_text().splitlines()
    assert text[problem["line"] - 1][problem["column"] - 1 :].startswith(field.rpartition(".")[2])
    assert err.splitlines()[-1].startswith(f"Dockfile.yaml:{problem['line']}:{problem['column']}: ")


@pytest.mark.parametrize(
    "code",
    [
        "pool = None\ndef startup():\n  raise OSError\ndef make(): return pool.agent",
        "import contextlib\n@contextlib.asynccontextmanager\nasync def make():\n  raise OSError\n  yield",
    ],
    ids=["a factory that needs the module's startup", "a product that has to be opened"],
)
def test_nothing_is_opened(code: str, folder: Path) -> None:
    write_dockfile(folder, code, agent=CUSTOM)
    assert main(["validate"]) == 0


def test_the_report_describes_the_service(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dockfile(folder, "print('imported')\n" + OK, expose={"host": "127.0.0.1", "port": 81}, typo=1)
    code, printed = report(capsys)
    endpoints = printed.pop("endpoints")
    problem = printed["problems"].pop()
    assert (code, printed) == (
        0,
        {
            "valid": True,
            "problems": [],
            "agent": {
                "name": "tested",
                "framework": "custom",
                "mode": "handler",
                "target": "agent:handle",
            },
            "host": "127.0.0.1",
            "port": 81,
            "backend": "memory",
        },
    )
    assert {"GET /health", "POST /invoke", "GET /runs/{run_id}/events"} <= set(endpoints)
    assert problem.pop("line") > 1
    assert problem == {
        "severity": "warning",
        "file": "Dockfile.yaml",
        "column": 1,
        "path": "typo",
        "message": "unknown field",
    }


IN_MEMORY = """
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

def make():
    graph = StateGraph(MessagesState)
    graph.add_node("answer", lambda state: {})
    graph.add_edge(START, "answer")
    return graph.compile(checkpointer=InMemorySaver())
"""


def test_checkpoints_in_memory_are_warned_of_where_runs_begin_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    streaming = {"backend": "redis", "redis": {"url": "redis://localhost"}}
    write_dockfile(folder, IN_MEMORY, agent=GRAPH, streaming=streaming)
    assert report(capsys)[1]["problems"] == []
    write_dockfile(folder, IN_MEMORY, agent=GRAPH, streaming=streaming | {"on_worker_lost": "retry"})
    code, printed = report(capsys)
    (problem,) = printed["problems"]
    assert (code, problem["severity"], problem["path"]) == (0, "warning", "streaming.on_worker_lost")
    assert "the graph's checkpoints are in the memory of one process" in problem["message"]


def test_the_report_of_a_file_that_is_not_valid(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Dockfile.yaml").write_text('version: "1.0"\nport: 1\nagent: {name: a-, handler: a:b}\n')
    code, printed = report(capsys)
    assert (code, printed["valid"], printed["agent"], printed["port"]) == (1, False, None, None)
    assert [(each["severity"], each["line"], each["path"]) for each in printed["problems"]] == [
        ("error", 3, "agent.name"),
        ("warning", 2, "port"),
    ]


def test_the_report_of_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = report(capsys)
    (problem,) = printed["problems"]
    assert (code, problem["file"], problem["line"], problem["column"]) == (1, "Dockfile.yaml", None, None)


def test_the_report_masks_secrets(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2hunter2")
    code = "import os\nraise ValueError(os.environ['A_SECRET'])"
    write_dockfile(folder, code, secrets={"required": [{"name": "A_SECRET"}]})
    assert report(capsys)[0] == 1
    assert main(["validate", "--json"]) == 1
    out, err = capsys.readouterr()
    assert "hunter2" not in out + err


def test_the_smallest_dockfile_has_four_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "agent.py").write_text(OK)
    lines = ['version: "1.0"', "agent:", "  name: tested", "  handler: agent:handle"]
    (folder / "Dockfile.yaml").write_text("\n".join(lines))
    assert main(["validate"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert {"POST", "/invoke", "0.0.0.0:8080", "everybody"} <= set(out.split())


def test_the_summary_names_who_is_notified_without_tokens(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("HOOK", WEBHOOK_SECRET)
    url = "https://hooks.example.com/a-token?b=another"
    webhooks = {
        "targets": [{"url": url, "secret_env": "HOOK", "events": ["complete", "error"]}],
        "allowed_hosts": ["partner.example", "10.0.0.0/8"],
        "secret_env": "HOOK",
    }
    write_dockfile(folder, OK, webhooks=webhooks)
    assert main(["validate"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "notifies https://hooks.example.com of complete, error" in lines
    assert "         callers' URLs at partner.example, 10.0.0.0/8" in lines
