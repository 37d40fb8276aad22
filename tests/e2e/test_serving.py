"""The default Dockfile, served by a real process to real clients."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from dockrion.wire.sse import Decoder, Message
from tests.curl import command as curl_command
from tests.e2e.conftest import Start
from tests.e2e.process import ROOT, get, post, write_dockfile
from tests.support import Reader, data, sequences

DEFAULT = ROOT / "config" / "Dockfile.yaml"
TEA = {"topic": "tea", "words": 12, "pause_ms": 1}
EXITS = """
import asyncio, sys

async def leave(how):
    raise SystemExit(3) if how == "exit" else KeyboardInterrupt

async def handle(payload):
    if payload == "callback":
        asyncio.get_running_loop().call_soon(sys.exit, 3)
        await asyncio.sleep(0.05)
    else:
        await asyncio.wait([asyncio.create_task(leave(payload))])
    return "still here"
"""


async def curl(*arguments: str) -> list[Message]:
    """Run curl and return the messages that it prints."""
    process = await asyncio.create_subprocess_exec(
        *curl_command(), "-sN", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return list(Decoder().feed(out))


async def test_default_dockfile_serves_invoke(start: Start) -> None:
    process = await start(DEFAULT)
    status, body = await post(process, "/invoke", TEA)
    assert status == 200
    assert body["output"]["words"] == 12
    assert body["output"]["text"].startswith("tea is a fine thing")


async def test_name_rebound_to_loopback_is_refused(start: Start, session: aiohttp.ClientSession) -> None:
    process = await start(DEFAULT)
    for host, status in (
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("localhost", 200),
        ("[::1]:1", 200),
    ):
        async with session.post(f"{process.url}/invoke", json=TEA, headers={"Host": host}) as response:
            assert response.status == status


async def test_default_dockfile_streams_to_its_caller(start: Start, session: aiohttp.ClientSession) -> None:
    process = await start(DEFAULT)
    async with session.post(f"{process.url}/invoke/stream", json=TEA) as response:
        messages = await Reader(response).all()
    kinds = [message.event for message in messages]
    assert kinds[:3] == ["started", "progress", "checkpoint"]
    assert kinds.count("token") == 12
    assert kinds[-2:] == ["step", "complete"]
    assert sequences(messages) == list(range(1, len(messages) + 1))


async def test_default_dockfile_streams_a_run_to_many(start: Start, session: aiohttp.ClientSession) -> None:
    process = await start(DEFAULT)
    _, accepted = await post(process, "/runs", TEA)

    async def read() -> bytes:
        async with session.get(process.url + accepted["events_url"]) as response:
            reader = Reader(response)
            await reader.all()
            return reader.raw

    raws = await asyncio.gather(*(read() for _ in range(5)))
    assert raws == [raws[0]] * 5
    assert raws[0].count(b"event: complete\n") == 1
    assert (await get(process, f"/runs/{accepted['run_id']}"))[1]["status"] == "completed"


async def test_curl_reads_both_patterns(start: Start) -> None:
    process = await start(DEFAULT)
    json = ("--json", '{"topic": "tea", "words": 3, "pause_ms": 1}')
    caller = await curl(*json, f"{process.url}/invoke/stream")
    assert [message.event for message in caller].count("token") == 3
    reader = await curl(f"{process.url}/runs/{data(caller[0])['run_id']}/events")
    assert reader == caller


async def test_events_arrive_one_by_one_while_the_agent_runs(
    start: Start, session: aiohttp.ClientSession
) -> None:
    process = await start(DEFAULT)
    slow = {"topic": "tea", "words": 1000, "pause_ms": 10000}
    async with session.post(f"{process.url}/invoke/stream", json=slow) as response:
        messages = await Reader(response).until("checkpoint")
        run_id = data(messages[0])["run_id"]
        assert (await get(process, f"/runs/{run_id}"))[1]["status"] == "running"


async def test_disconnected_caller_cancels_the_run(start: Start, session: aiohttp.ClientSession) -> None:
    process = await start(DEFAULT)
    slow = {"topic": "tea", "words": 1000, "pause_ms": 10000}
    async with session.post(f"{process.url}/invoke/stream", json=slow) as response:
        await Reader(response).until("checkpoint")
        response.close()
    line = await process.until_logged("run cancelled")
    assert line["reason"] == "the caller disconnected"


@pytest.mark.parametrize("how", ["exit", "interrupt", "callback"])
async def test_agent_whose_own_task_exits_does_not_end_the_service(
    start: Start, tmp_path: Path, how: str
) -> None:
    process = await start(write_dockfile(tmp_path, EXITS))
    for _ in range(2):
        assert (await post(process, "/invoke", how))[1].get("output") == "still here"
    assert (await get(process, "/health"))[0] == 200
    process.signal()
    assert await process.exit_code() == 0


async def test_every_line_of_the_log_is_json_and_nothing_is_on_stderr(start: Start) -> None:
    process = await start(DEFAULT)
    await post(process, "/invoke", TEA)
    await post(process, "/invoke", {})
    process.signal()
    assert await process.exit_code() == 0
    assert process.logged("no such message") is None  # decodes every line
    assert process.logged("request") is not None
    assert process.err == ""
