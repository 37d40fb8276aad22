"""Serve a recipe with its framework's fake model, and check what it streams and that it stops."""

import asyncio
import json
import os
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dockrion.client import Client
from tests.frameworks.environments import ROOT
from tests.frameworks.fakes import FOREVER, REASONING, STOPPED, TEXT
from tests.support import wait_until

DOCKFILE = ROOT / "config/agents/frameworks/Dockfile.yaml"
START_SECONDS = 60.0  # importing a large framework takes long
GRACE_SECONDS = 5.0  # a run that is still working then ends without its agent


async def check(python: Path, name: str) -> None:
    """Serve a recipe from an environment, ask it twice, and stop it."""
    async with _served(python, f"tests.frameworks.fakes.{name}") as (client, log):
        _check_events([json.loads(line) async for line in client.stream({"question": "Umbrella?"}).lines()])
        await _check_cancel(client, log)


def _check_events(events: list[dict[str, Any]]) -> None:
    def of(kind: str) -> list[dict[str, Any]]:
        return [event for event in events if event["type"] == kind]

    def text(kind: str) -> str:
        return "".join(event["content"] for event in of(kind))

    last = events[-1]
    assert last["type"] == "complete", last
    assert text("token") == last["output"] == "".join(TEXT)
    assert text("reasoning") == "".join(REASONING)
    [call], [result] = of("tool_call"), of("tool_result")
    assert (call["name"], call["arguments"]) == ("weather", {"city": "Rome"})
    assert (result["tool_call_id"], result["name"]) == (call["tool_call_id"], "weather")
    assert "It rains in Rome." in json.dumps(result["result"])
    assert (result["is_error"], result["duration_ms"] >= 0) == (False, True)
    [(model, usage)] = last["metadata"]["usage"].items()
    assert model in ("fake", "scripted-model")
    assert usage["input_tokens"] > 0 < usage["output_tokens"]
    order = [event["type"] for event in events if event["type"] in ("tool_call", "tool_result", "token")]
    assert order[:3] == ["tool_call", "tool_result", "token"]


async def _check_cancel(client: Client, log: Path) -> None:
    run = await client.start({"question": FOREVER})
    async for event in client.events(run.run_id):
        if event.type in ("token", "reasoning"):
            break
    async with asyncio.timeout(GRACE_SECONDS):
        await client.cancel(run.run_id)
    await wait_until(lambda: STOPPED in log.read_text())
    assert (await client.get(run.run_id)).status == "cancelled"


@asynccontextmanager
async def _served(python: Path, module: str) -> AsyncIterator[tuple[Client, Path]]:
    """Run the service until the block ends; yield a client of it, and its log."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [str(python), "-m", "dockrion", "run", str(DOCKFILE), "--host", "127.0.0.1", "--port", "0"]
        variables = {"AGENT": module, "OPENAI_API_KEY": "unused", "HF_TOKEN": "unused"}
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            async with Client(f"http://127.0.0.1:{await _port(process, log)}") as client:
                yield client, log
        finally:
            process.terminate()
            process.wait(GRACE_SECONDS * 2)


async def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until the agent is loaded, and return the port."""
    loaded = '"message":"agent loaded"'
    await wait_until(lambda: loaded in log.read_text() or process.poll() is not None, START_SECONDS)
    assert process.poll() is None, log.read_text()
    [port] = re.findall(r'"message":"listening".*"port":(\d+)', log.read_text())
    return int(port)
