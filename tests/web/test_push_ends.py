"""Terminal events that are pushed while the run's agent works or ends."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.runs.ingest import Receipt
from tests.conftest import Serve
from tests.runs.test_ingest import outcome_of, pushed_run, tokens
from tests.support import wait_until
from tests.web.helpers import BlockedAgent, Waits
from tests.web.test_push import ALL, ENABLED, END, own, push, refused

FIRST, LAST = ({"type": "token", "content": each, "finish_reason": None} for each in ("first", "last"))
PUSHED = END["output"]


@pytest.mark.parametrize("turns", range(8))
async def test_accepted_terminal_event_wins_over_the_agent_s_own(turns: int) -> None:
    go = asyncio.Event()

    async def agent(_payload: Any) -> str:
        await go.wait()
        return "own"

    async with pushed_run(agent) as run:
        await run.bench.emitted(run.run_id, 1)
        go.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        found = await outcome_of(run.push([*tokens("last"), END]))
        ended = await run.ended()
        if isinstance(found, Receipt):
            assert (ended.output, ended.tokens) == (PUSHED, ["last"])
        else:
            assert (ended.output, ended.tokens) == ("own", [])


async def test_terminal_event_during_a_timeout_is_refused_or_wins() -> None:
    cleaning, cleaned = asyncio.Event(), asyncio.Event()

    async def agent(_payload: Any, _context: StreamContext) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await cleaned.wait()

    async with pushed_run(agent, duration=0.05) as run:
        await cleaning.wait()
        found = await outcome_of(run.push([END]))
        cleaned.set()
        ended = await run.ended()
        if isinstance(found, Receipt):
            assert ended.output == PUSHED
        else:
            assert ended.code == "TIMEOUT_ERROR"


async def test_pushed_events_mix_with_the_agent_s_and_a_terminal_one_stops_it(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming=ENABLED)
    async with served.stream("asked") as reader:
        await reader.until("token")
        await push(served, reader.run_id, [*ALL, END], producer_seq=1)
        await reader.all()
    assert agent.stopped == ["asked"]
    assert agent.ended == []
    assert await own(served, reader.run_id) == [FIRST, *ALL]
    record = await served.record(reader.run_id)
    assert (record["status"], record["output"]) == ("completed", {"done": True})
    assert (await push(served, reader.run_id, END, producer_seq=1))["duplicate"]


async def test_agent_s_outcome_counts_if_none_was_pushed(serve: Serve) -> None:
    served = await serve(agent := Waits(), streaming=ENABLED)
    run_id = await served.start()
    await push(served, run_id, ALL, producer_seq=1)
    agent.go.set()
    await served.finished(run_id)
    found = await own(served, run_id)
    assert [event for event in found if event["type"] != "token" or event == ALL[1]] == ALL
    assert [found.index(FIRST), found.index(LAST)] == [0, len(found) - 1]
    await refused(served, run_id, ALL, producer_seq=2)
    assert (await push(served, run_id, ALL, producer_seq=1))["duplicate"]


@pytest.mark.parametrize("end", [{"type": "error", "error": "e"}, {"type": "cancelled", "reason": "r"}])
async def test_pushed_terminal_event_stops_a_sync_agent(serve: Serve, stuck: BlockedAgent, end: Any) -> None:
    served = await serve(stuck, streaming=ENABLED)
    run_id = await served.start()
    await wait_until(stuck.working.is_set)
    await push(served, run_id, end)
    stuck.go.set()
    await wait_until(stuck.stopped.is_set)
    assert (await served.finished(run_id))["status"] in ("failed", "cancelled")
    assert await own(served, run_id) == [FIRST]


@pytest.mark.parametrize("kind", ["error", "cancelled"])
async def test_secrets_in_a_pushed_terminal_event_are_masked(serve: Serve, tmp_path: Path, kind: str) -> None:
    (tmp_path / ".env").write_text("API_KEY=opensesame\n")
    served = await serve(streaming=ENABLED, secrets={"required": [{"name": "API_KEY"}]})
    run_id = await served.start(external="true")
    said = {"error": "with opensesame", "details": {"opensesame": ["opensesame"]}}
    await push(served, run_id, {"type": kind} | (said if kind == "error" else {"reason": "with opensesame"}))
    async with served.events(run_id) as reader:
        await reader.all()
    assert b"with ***" in reader.raw
    assert "opensesame" not in reader.raw.decode() + str(await served.finished(run_id))


async def test_invoke_accepts_no_pushed_events(serve: Serve) -> None:
    ids: list[str] = []

    async def agent(_payload: Any, context: StreamContext) -> None:
        ids.append(context.run_id)
        await asyncio.Event().wait()

    served = await serve(agent, streaming=ENABLED)
    pending = asyncio.create_task(served.client.post("/invoke", json={}))
    await wait_until(lambda: ids)
    await refused(served, ids[0], ALL, 404, "NOT_FOUND")
    pending.cancel()
    await asyncio.wait((pending,))
