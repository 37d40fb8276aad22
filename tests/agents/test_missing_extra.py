"""The extras, and frameworks that are not installed or broken."""

import importlib.util
import sys
import tomllib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import dockrion.agents
from dockrion.agents import tool_guard
from dockrion.agents.loading import check_agent, guard_tools, load_agent
from dockrion.cli import main
from dockrion.dockfile import Dockfile, load
from dockrion.errors import StartError
from tests.agents.graphs import one_node
from tests.e2e.process import ROOT, write_dockfile

MAKE = "def make():\n    raise AssertionError('called')\n"


def test_the_extras_of_dockrion_0_0_3_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras.keys() == {"langgraph", "langchain", "otel", "all", "jwt", "runtime", "dev", "dev-server"}
    assert extras["all"] == ["dockrion[langgraph,langchain]"]


@pytest.fixture(params=["langgraph", "langchain"])
def framework(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    find_spec = importlib.util.find_spec

    def not_installed(name: str, package: str | None = None) -> Any:
        return None if name.startswith(("langgraph", "langchain")) else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", not_installed)
    monkeypatch.chdir(tmp_path)
    agent = {"name": "tested", "entrypoint": "agent:make", "framework": request.param}
    write_dockfile(tmp_path, MAKE, agent=agent)
    return str(request.param)


async def test_start_error_says_what_to_install(framework: str, tmp_path: Path) -> None:
    loaded = load(tmp_path / "Dockfile.yaml", environ={})
    with pytest.raises(StartError) as refused:
        await load_agent(loaded.dockfile, tmp_path, AsyncExitStack())
    line = f"agent.framework: {framework} is not installed; pip install 'dockrion[{framework}]'"
    assert str(refused.value) == line


def test_validate_says_so_too(framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate"]) == 1
    assert f"pip install 'dockrion[{framework}]'" in capsys.readouterr().err


@pytest.mark.parametrize("framework", ["langgraph", "langchain"])
async def test_a_framework_that_cannot_be_imported_refuses_the_start(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, f"dockrion.agents.{framework}", None)  # an import of it fails
    monkeypatch.setattr(sys, "path", sys.path.copy())
    agent = {"name": "tested", "entrypoint": "frameworkless:make", "framework": framework}
    write_dockfile(tmp_path, agent=agent)
    (tmp_path / "frameworkless.py").write_text("def make():\n    return None\n")
    dockfile = load(tmp_path / "Dockfile.yaml", environ={}).dockfile
    with pytest.raises(StartError) as refused:
        await load_agent(dockfile, tmp_path, AsyncExitStack())
    assert str(refused.value).endswith(f"; pip install 'dockrion[{framework}]'")
    assert (await check_agent(dockfile, tmp_path)).errors == [str(refused.value)]


def make_graph() -> Any:
    return one_node(lambda state: state)


async def test_a_graph_for_which_langgraph_is_broken_refuses_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dockrion.agents.langgraph", None)  # an import of it fails
    monkeypatch.delattr(dockrion.agents, "langgraph", raising=False)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    entrypoint = f"{__name__}:make_graph"
    write_dockfile(tmp_path, agent={"name": "tested", "entrypoint": entrypoint, "framework": "langchain"})
    dockfile = load(tmp_path / "Dockfile.yaml", environ={}).dockfile
    with pytest.raises(StartError, match=r"^agent.framework: .*pip install 'dockrion\[langchain\]'$"):
        await load_agent(dockfile, tmp_path, AsyncExitStack())


@pytest.fixture
def restricted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dockfile:
    """Return a Dockfile of a handler that may call only one tool."""
    monkeypatch.chdir(tmp_path)
    write_dockfile(
        tmp_path, "def handle(payload):\n    return 1\n", policies={"tools": {"allowed": ["look"]}}
    )
    return load(tmp_path / "Dockfile.yaml", environ={}).dockfile


@pytest.mark.usefixtures("framework")
async def test_without_langchain_there_are_no_tools_to_guard(
    restricted: Dockfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dockrion.agents.tool_guard", None)  # an import of it fails
    await guard_tools(restricted, tmp_path)
    assert (await check_agent(restricted, tmp_path)).errors == []


async def test_tools_that_cannot_be_guarded_refuse_the_start(
    restricted: Dockfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dockrion.agents.tool_guard", None)  # an import of it fails
    with pytest.raises(StartError, match=r"^policies.tools: the tools of LangChain cannot be guarded"):
        await guard_tools(restricted, tmp_path)
    [line] = (await check_agent(restricted, tmp_path)).errors
    assert line.startswith("policies.tools: ")


async def test_guard_of_every_kind_of_agent_is_loaded(
    restricted: Dockfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[bool] = []
    monkeypatch.setattr(tool_guard, "install", lambda: installed.append(True))
    await guard_tools(restricted, tmp_path)
    assert installed
