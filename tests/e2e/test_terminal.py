"""`dockrion run` at a terminal."""

import signal
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.e2e.process import run, write_dockfile
from tests.e2e.terminal import CTRL_C, terminal

AGENT = """
import asyncio, logging

async def handle(payload):
    print("printed \\x1b]0;title\\x07 s3cr3t-key")
    logging.getLogger("own").warning("logged")
    if "fail" in payload:
        raise ValueError("no good")
    if "wait" in payload:
        await asyncio.Event().wait()
    return payload
"""


async def test_service_speaks_to_a_person(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    path = write_dockfile(
        tmp_path, AGENT, expose={"host": "0.0.0.0"}, secrets={"required": [{"name": "KEY"}]}, unknown=1
    )
    with terminal(tmp_path, path, "--port=0", KEY="s3cr3t-key") as shown:
        await shown.until("ready in")
        assert "\x1b[33mwarning: " in shown.raw
        for fact in ("tested", "agent:handle (custom)", "http://localhost:", "/docs", "/metrics", "Ctrl-C"):
            assert fact in shown.text
        async with session.post(f"{shown.url}/invoke", json={}) as response:
            assert response.status == 200
        async with session.post(f"{shown.url}/runs?run_id=failing", json={"fail": 1}) as response:
            assert response.status == 202
        await shown.until("run failing failed", "ValueError: no good\n", "POST /runs 202")
        assert "POST /invoke 200" in shown.text
        assert "\x1b[32m200\x1b[0m" in shown.raw
        trace = shown.text[shown.text.index("Traceback") :].splitlines()
        assert trace[1].endswith("in handle")
        assert str(tmp_path / "agent.py") in trace[1]
        assert "frames of dockrion" in trace[3]
        assert "failing printed \N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER} ***" in shown.text
        assert "failing warning own: logged" in shown.text
        assert "{" not in shown.text
        shown.type(CTRL_C)
        assert await shown.exit_code() == 0
        await shown.until_end("stopped\n")


async def test_ctrl_c_says_what_it_waits_for_and_a_second_one_ends_at_once(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    path = write_dockfile(tmp_path, AGENT)
    with terminal(tmp_path, path, "--port=0", NO_COLOR="1") as shown:
        await shown.until("ready in")
        async with session.post(f"{shown.url}/runs?run_id=long", json={"wait": 1}):
            await shown.until("run long started")
        shown.type(CTRL_C)
        await shown.until("waiting up to 30 s for 1 run to end: long; Ctrl-C again ends at once\n")
        assert "^C\r" in shown.raw
        assert "\x1b[" not in shown.raw
        shown.type(CTRL_C)
        assert await shown.exit_code() == 128 + signal.SIGINT


@pytest.mark.parametrize("arguments", [(), ("--log-format=json",), ("--log-format=text",)], ids=str)
async def test_output_that_is_piped_is_json_unless_text_is_asked_for(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    path = write_dockfile(tmp_path, "def handle():\n    pass\n")  # which is refused
    result = run("run", path, "--port=0", *arguments, cwd=tmp_path)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    if "--log-format=text" in arguments:
        assert "  Agent     tested" in lines
        assert "\x1b" not in result.stdout
    else:
        assert msgspec.json.decode(lines[0])["message"] == "listening"


async def test_terminal_gets_json_if_it_is_asked_for(tmp_path: Path) -> None:
    with terminal(tmp_path, write_dockfile(tmp_path, AGENT), "--port=0", "--log-format=json") as shown:
        await shown.until('"message":"agent loaded"')
        await shown.until_end("\n")  # a line may arrive in parts
        assert all(msgspec.json.decode(line)["level"] for line in shown.text.splitlines())
