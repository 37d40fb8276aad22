"""The variables of environment files in the agent's environment."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start, Workers
from tests.e2e.process import TIMEOUT_SECONDS, Process, post, write_dockfile

AGENT = """
import os

AT_IMPORT = os.environ["FROM_DOTENV"]

async def handle(payload):
    if payload:
        raise ValueError(f"{AT_IMPORT} {os.environ['DECLARED']}")
    names = ("ALL", "MOST", "SOME", "FROM_DOTENV", "FROM_YAML", "FROM_PROCESS", "DECLARED")
    return {"pid": os.getpid(), **{name: os.environ.get(name) for name in names}}
"""
SET = "variables set in the agent's environment"


@pytest.fixture
def files(tmp_path: Path) -> None:
    dotenv = "MOST=dotenv\nSOME=dotenv\nFROM_DOTENV=plain-value\nFROM_PROCESS=dotenv\nDECLARED=s3cr3t-value\n"
    (tmp_path / ".env").write_text(dotenv)
    (tmp_path / "env.yaml").write_text("SOME: yaml\nFROM_YAML: 010\nFROM_PROCESS: yaml\n")
    (tmp_path / "named.env").write_text("ALL=named\nMOST=named\nFROM_PROCESS=named\n")


async def invoke(process: Process) -> dict[str, Any]:
    output: dict[str, Any] = (await post(process, "/invoke", {}))[1]["output"]
    return output


@pytest.mark.usefixtures("files")
async def test_variables_of_all_files_reach_the_agent(start: Start, tmp_path: Path) -> None:
    path = write_dockfile(tmp_path, AGENT, secrets={"required": [{"name": "DECLARED"}]})
    process = await start(path, arguments=("--env-file", "named.env"), FROM_PROCESS="mine")
    assert await invoke(process) == {
        "pid": process.popen.pid,
        "ALL": "named",
        "MOST": "named",
        "SOME": "dotenv",
        "FROM_DOTENV": "plain-value",
        "FROM_YAML": "010",
        "FROM_PROCESS": "mine",
        "DECLARED": "s3cr3t-value",
    }
    line = process.logged(SET)
    assert line is not None
    assert line["names"] == ["ALL", "DECLARED", "FROM_DOTENV", "FROM_YAML", "MOST", "SOME"]
    assert "plain-value" not in process.out

    _, body = await post(process, "/invoke", {"fail": True})
    assert body["error"] == "ValueError: plain-value ***"
    assert "s3cr3t-value" not in process.out


@pytest.mark.usefixtures("files")
async def test_variables_of_files_reach_every_worker(fleet: Workers) -> None:
    workers = await fleet(AGENT)
    outputs: dict[int, Any] = {}
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while len(outputs) < 2:
            output = (await workers.post())["output"]
            outputs[output.pop("pid")] = output
    assert outputs.keys() == workers.pids
    for output in outputs.values():
        assert (output["SOME"], output["FROM_YAML"]) == ("dotenv", "010")
    (line,) = workers.lines(SET)
    assert "FROM_DOTENV" in line["names"]


async def test_nothing_is_logged_where_nothing_is_set(start: Start, tmp_path: Path) -> None:
    process = await start(write_dockfile(tmp_path, "def handle(payload):\n    return payload\n"))
    assert process.logged(SET) is None
