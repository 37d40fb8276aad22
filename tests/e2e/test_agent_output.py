"""What an agent logs, prints and warns of, in the log of a real process."""

from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.e2e.conftest import Start
from tests.e2e.process import write_dockfile

SECRET = "s3cr3t-value"
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
AGENT = """
import asyncio, logging, os, subprocess, sys, warnings

print("imported")
logging.getLogger("own.library").warning("at import")

def work():
    logging.getLogger("own.library").info("logged %s", os.environ["KEY"])
    print("printed", os.environ["KEY"])
    print("to stderr", file=sys.stderr)
    sys.stdout.buffer.write(b"as bytes\\n")
    warnings.warn("careful")
    subprocess.run(["echo", "a child's line"])
    print("no end", end="", flush=True)

async def handle(payload):
    await asyncio.to_thread(work)
    return os.getpid()

async def shutdown():
    print("closed", end="")
"""
OF_RUNS = {
    "logged ***": ("own.library", "info"),
    "printed ***": ("stdout", "info"),
    "to stderr": ("stderr", "warning"),
    "as bytes": ("stdout", "info"),
    "no end": ("stdout", "info"),
}


async def test_every_line_is_json_and_those_of_a_run_carry_its_id_and_its_trace(
    start: Start, tmp_path: Path
) -> None:
    dockfile = write_dockfile(tmp_path, AGENT, secrets={"required": [{"name": "KEY"}]})
    process = await start(dockfile, KEY=SECRET)
    async with aiohttp.ClientSession(process.url) as session:
        sent = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "X-Request-ID": "req-1"}
        async with session.post("/runs", json={}, headers=sent) as response:
            run_id = (await response.json())["run_id"]
        async with session.get(f"/runs/{run_id}/events") as events:
            assert "event: complete" in await events.text()
        async with session.post("/invoke", json={}) as response:
            assert response.status == 200
            invoked = response.headers["X-Request-ID"]
    process.signal()
    assert await process.exit_code() == 0

    printed = process.out.splitlines()
    assert [line for line in printed if not line.startswith("{")] == ["a child's line"] * 2
    log: list[dict[str, Any]] = [msgspec.json.decode(line) for line in printed if line.startswith("{")]
    assert SECRET not in process.out
    assert process.err == ""
    for message, (logger, level) in OF_RUNS.items():
        ours, others = [line for line in log if line["message"] == message]
        assert (ours["logger"], ours["level"], ours["run_id"]) == (logger, level, run_id)
        assert (ours["trace_id"], ours["span_id"]) == (TRACE_ID, SPAN_ID)
        assert ours["request_id"] == "req-1"
        assert others["run_id"] not in (None, run_id)
        assert others["request_id"] == invoked
        assert "trace_id" not in others
    warning = next(line for line in log if line["logger"] == "py.warnings")
    assert "UserWarning: careful" in warning["message"]
    assert warning["run_id"] == run_id
    for message in ("imported", "at import", "closed"):
        (line,) = [line for line in log if line["message"] == message]
        assert "run_id" not in line
        assert "request_id" not in line


async def test_levels_of_single_loggers_are_set_in_the_environment(start: Start, tmp_path: Path) -> None:
    dockfile = write_dockfile(tmp_path, AGENT, secrets={"required": [{"name": "KEY"}]})
    levels = "dockrion.requests=warn,own=error,stdout=error,dockrion.runs=debug"
    (tmp_path / ".env").write_text(f"DOCKRION_LOG_LEVELS={levels}\n")
    process = await start(dockfile, KEY=SECRET)
    async with aiohttp.ClientSession(process.url) as session, session.post("/runs", json={}) as response:
        run_id = (await response.json())["run_id"]
        async with session.get(f"/runs/{run_id}/events") as events:
            await events.read()
    process.signal()
    assert await process.exit_code() == 0
    log = [msgspec.json.decode(line) for line in process.out.splitlines() if line.startswith("{")]
    loggers = {line["logger"] for line in log}
    assert loggers >= {"dockrion.runs", "stderr"}
    assert loggers.isdisjoint({"dockrion.requests", "own.library", "stdout"})
