"""The error for a framework that is not installed."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from dockrion.agents.loading import load_agent
from dockrion.cli import main
from dockrion.dockfile import load
from dockrion.errors import StartError
from tests.e2e.process import write_dockfile

MAKE = "def make():\n    raise AssertionError('called')\n"


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
        await load_agent(loaded.dockfile, tmp_path)
    line = f"agent.framework: {framework} is not installed; pip install 'dockrion[{framework}]'"
    assert str(refused.value) == line


def test_validate_says_so_too(framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate"]) == 1
    assert f"pip install 'dockrion[{framework}]'" in capsys.readouterr().err
