"""`startup` and `shutdown` of an agent, in a real process."""

import asyncio
from pathlib import Path

import msgspec

from tests.e2e.conftest import Start, Workers
from tests.e2e.process import TIMEOUT_SECONDS, get, post, run, write_dockfile

SECRET = "s3cr3t-value"
SECRETS = {"secrets": {"required": [{"name": "KEY"}]}}
AGENT = """
import asyncio, logging, os

async def until(name):
    while not os.path.exists(name):
        await asyncio.sleep(0.01)

async def startup():
    await until("open")
    logging.info("opened")

async def handle(payload):
    logging.info("working")
    await until("go")
    logging.info("worked")
    return payload

async def shutdown():
    raise ValueError("cannot close " + os.environ["KEY"])
"""
FAILING = (
    "import os\nprint('imported')\nasync def startup():\n    raise ValueError('no ' + os.environ['KEY'])\n"
)
HANDLER = "def handle(payload):\n    return payload\n"


async def test_agent_is_opened_before_ready_and_closed_after_the_last_run(
    start: Start, tmp_path: Path
) -> None:
    process = await start(write_dockfile(tmp_path, AGENT, **SECRETS), ready=False, KEY=SECRET)
    assert (await get(process, "/ready"))[0] == 503
    assert (await get(process, "/health"))[0] == 200
    (tmp_path / "open").touch()
    await process.until_logged("agent loaded")
    assert (await get(process, "/ready"))[0] == 200

    invocation = asyncio.create_task(post(process, "/invoke", {"n": 1}))
    await process.until_logged("working")
    process.signal()
    await process.until_logged("shutting down")
    (tmp_path / "go").touch()
    status, body = await invocation
    assert (status, body["output"]) == (200, {"n": 1})
    assert await process.exit_code() == 0
    messages = ["opened", "agent loaded", "working", "shutting down", "worked", "agent shutdown failed"]
    places = [process.out.index(f'"message":"{message}"') for message in messages]
    assert places == sorted(places)
    failed = process.logged("agent shutdown failed")
    assert failed is not None
    assert failed["traceback"].endswith("ValueError: cannot close ***")
    assert SECRET not in process.out + process.err


def test_failing_startup_is_explained_in_one_line(tmp_path: Path) -> None:
    write_dockfile(tmp_path, FAILING + HANDLER, **SECRETS)
    result = run("run", "--host", "127.0.0.1", "--port", "0", cwd=tmp_path, KEY=SECRET)
    assert result.returncode == 1
    assert result.stderr == "agent.handler: module 'agent': startup() raised ValueError: no ***\n"
    assert SECRET not in result.stdout
    assert "imported" in [msgspec.json.decode(line)["message"] for line in result.stdout.splitlines()]
    validated = run("validate", cwd=tmp_path, KEY=SECRET)
    assert (validated.returncode, validated.stderr) == (0, "imported\n")
    assert validated.stdout.startswith("agent ")


async def test_signal_during_startup_ends_the_process(start: Start, tmp_path: Path) -> None:
    process = await start(write_dockfile(tmp_path, AGENT, **SECRETS), ready=False, KEY=SECRET)
    process.signal()
    assert await process.exit_code() == 0


async def test_workers_whose_startup_fails_end_the_service(fleet: Workers) -> None:
    code = "async def startup():\n    print('opening')\n    raise ValueError('no')\n"
    workers = await fleet(code + HANDLER, ready=False)
    assert await workers.process.exit_code(TIMEOUT_SECONDS) == 1
    assert "startup() raised ValueError: no" in workers.process.err
    assert len(workers.lines("no worker can be started")) == 1
    (line,) = workers.lines("opening")
    assert line["worker"] == workers.lines("worker died")[0]["worker"]
