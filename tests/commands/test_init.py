"""`dockrion init`: each template runs as it is, and nothing is overwritten."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from dockrion.cli import main
from dockrion.client import Client, Complete, Token
from dockrion.commands import init
from dockrion.commands.init import agent_name
from dockrion.dockfile import load
from dockrion.web.app import create_app
from dockrion.web.service import SERVICE
from tests.servers import free_port
from tests.support import wait_until

CONVERSATION = {"messages": [{"role": "user", "content": "Why is the sky blue?"}]}
# template: a request, the text that it streams, and the output
TEMPLATES: dict[str, tuple[Any, str, Any]] = {
    "function": (
        {"name": "Ada"},
        "Hello Ada, what a pleasure to meet you! ",
        {"greeting": "Hello Ada, what a pleasure to meet you!"},
    ),
    "langgraph": (CONVERSATION, "Tell me more about blue.", {"topic": "blue"}),
    "langchain": ({"topic": "rain"}, "It falls, it runs, it is gone.", "It falls, it runs, it is gone."),
    "sidecar": ({"word": "hi"}, "h-i-", {"spelt": "h-i"}),
    "chat": (
        CONVERSATION,
        "This is answer 1. You wrote **Why is the sky blue?**. ",
        {"role": "assistant", "content": "This is answer 1. You wrote **Why is the sky blue?**."},
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@asynccontextmanager
async def agent_process(folder: Path) -> AsyncIterator[None]:
    """Run the sidecar's agent on a port that is free."""
    port = str(free_port())
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("9000", port))
    process = await asyncio.create_subprocess_exec(sys.executable, "agent.py", cwd=folder)
    try:
        await wait_until(lambda: process.returncode is not None or _accepts(int(port)))
        yield
    finally:
        process.terminate()
        await process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Client]:
    app = create_app(load(folder / "Dockfile.yaml", environ={}))
    async with TestClient(TestServer(app)) as server:
        await app[SERVICE].loading
        async with Client(str(server.make_url("/"))) as client:
            yield client


@pytest.mark.parametrize("template", TEMPLATES)
async def test_a_template_runs_as_it_is(
    template: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payload, text, output = TEMPLATES[template]
    assert await asyncio.to_thread(main, ["init", "Mein Böt 2", "--template", template]) == 0
    assert await asyncio.to_thread(main, ["validate", "Mein Böt 2/Dockfile.yaml"]) == 0
    assert capsys.readouterr().err == ""
    made = folder / "Mein Böt 2"
    assert len(list(made.glob("*.*"))) in (2, 3)
    async with agent_process(made) if template == "sidecar" else _nothing(), served(made) as client:
        invoked = await client.invoke(payload)
        events = [event async for event in client.stream(payload)]
    assert "".join(event.content for event in events if isinstance(event, Token)) == text
    assert sum(isinstance(event, Token) for event in events) > 1
    end = events[-1]
    assert isinstance(end, Complete)
    for result in (invoked.output, end.output):
        assert result == output or {key: result[key] for key in output} == output
    assert load(made / "Dockfile.yaml", environ={}).dockfile.agent.name == "mein-bot-2"


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


def test_every_template_is_tested_and_the_first_is_the_default(folder: Path) -> None:
    assert list(TEMPLATES) == list(init._KINDS)
    assert sorted(path.name for path in init._TEMPLATES.iterdir()) == sorted(TEMPLATES)
    assert main(["init", "a"]) == 0
    assert main(["init", "b/c", "--template", "function"]) == 0
    for name in ("Dockfile.yaml", "agent.py"):
        one, other = ((folder / made / name).read_text() for made in ("a", "b/c"))
        assert one.replace("name: a\n", "name: c\n") == other


def test_the_next_command_is_printed_last(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "new one"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        *("wrote new one/Dockfile.yaml", "wrote new one/agent.py"),
        *("", "Next:", "  cd 'new one'", "  dockrion run --reload"),
    ]
    (folder / "here").mkdir()
    os.chdir(folder / "here")
    assert main(["init"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["Next:", "  dockrion run --reload"]
    assert load(Path("Dockfile.yaml"), environ={}).dockfile.agent.name == "here"


def test_a_package_that_a_template_needs_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(init._PACKAGES, "langgraph", "not_installed_anywhere")
    assert main(["init", "--template", "langgraph"]) == 0
    assert "  pip install 'dockrion[langgraph]'\n  dockrion run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("there", "listed"),
    [
        (["new/agent.py"], ["new/agent.py"]),
        (["new/agent.py", "new/Dockfile.yaml"], ["new/Dockfile.yaml", "new/agent.py"]),
        (["new"], ["new"]),
    ],
    ids=str,
)
def test_nothing_is_overwritten_and_what_is_in_the_way_is_listed(
    folder: Path, capsys: pytest.CaptureFixture[str], there: list[str], listed: list[str]
) -> None:
    for name in there:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    assert main(["init", "new"]) == 1
    expected = "".join(f"{name}: there already; nothing was written\n" for name in listed)
    assert capsys.readouterr() == ("", expected)
    assert sorted(map(str, folder.rglob("*"))) == sorted(
        {str(folder / "new"), *(str(folder / each) for each in there)}
    )
    assert all((folder / name).read_text() == "mine" for name in there)


def test_a_link_to_nowhere_is_in_the_way(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "agent.py").symlink_to(folder / "nowhere")
    assert main(["init"]) == 1
    assert capsys.readouterr().err == "agent.py: there already; nothing was written\n"
    assert [path.name for path in folder.iterdir()] == ["agent.py"]


def test_a_folder_that_cannot_be_written_to_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "/proc/new"]) == 1
    assert capsys.readouterr() == ("", "cannot write /proc/new: No such file or directory\n")


def test_a_file_that_appears_meanwhile_is_kept_and_no_other_is_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "agent.py").write_text("mine")
    monkeypatch.setattr(os.path, "lexists", lambda _path: False)
    assert main(["init"]) == 1
    assert capsys.readouterr() == ("", "cannot write agent.py: File exists\n")
    assert [path.name for path in folder.iterdir()] == ["agent.py"]
    assert (folder / "agent.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("folder_name", "name"),
    [
        ("my-agent", "my-agent"),
        ("My Agent", "my-agent"),
        ("__café_2__", "cafe-2"),
        ("2 fast", "fast"),
        ("东京", "agent"),
        ("", "agent"),
        ("a" * 200, "a" * 50),
        ("a" * 49 + "--b", "a" * 49),
    ],
)
def test_the_agent_is_named_after_the_folder(folder_name: str, name: str) -> None:
    assert agent_name(folder_name) == name
