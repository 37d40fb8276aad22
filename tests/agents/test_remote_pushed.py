"""Agent processes that accept a payload (202) and push their events."""

import asyncio
from typing import Any

import pytest

from dockrion.agents import remote_run
from dockrion.agents.external import until_idle
from dockrion.errors import InvalidRequest
from dockrion.runs.ingest import Batch
from dockrion.runs.outcome import Outcome
from dockrion.runs.session import RunSession
from tests.agents.harness import Bench, Ended
from tests.agents.processes import (
    JSON,
    NDJSON,
    Process,
    ReceivedRequest,
    Wire,
    bytes_of,
    pusher,
    run_against,
    served,
    start_with_events_url,
)
from tests.loop_clock import advance
from tests.support import TIMEOUT_SECONDS, wait_until

TOKEN = {"type": "token", "content": "p"}
ENDS: list[tuple[dict[str, Any], str]] = [
    ({"type": "complete", "output": [1]}, "completed"),
    ({"type": "error", "error": "own", "code": "OWN_CODE"}, "failed"),
    ({"type": "cancelled", "reason": "own"}, "cancelled"),
]


async def accept(_request: ReceivedRequest, wire: Wire) -> None:
    await wire.whole(None, status="202 Accepted")


async def fed(runs: Bench, made: Process, *events: Any) -> Ended:
    """Start a run, and push its events once the process has accepted it."""
    async with pusher(runs) as push:
        run_id = await start_with_events_url(runs)
        await wait_until(lambda: made.posts)
        for event in events:
            await push.push(run_id, event)
        return await runs.ended(run_id)


@pytest.mark.parametrize(("end", "status"), ENDS)
async def test_accepted_run_is_open_until_its_end_is_pushed(end: dict[str, Any], status: str) -> None:
    async with served(accept, ingest=10) as (runs, made):
        ended = await fed(runs, made, TOKEN, TOKEN, end)
    assert ended.tokens == ["p", "p"]
    assert ended.run.status == status
    assert ended.terminal["type"] == end["type"]


@pytest.mark.parametrize("content_type", [None, JSON, "text/plain", "application/octet-stream"])
async def test_body_of_an_accepted_run_is_ignored(content_type: str | None) -> None:
    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.whole(content_type, b"queued as number 7", "202 Accepted")

    async with served(answer, ingest=10) as (runs, made):
        assert (await fed(runs, made, ENDS[0][0])).output == [1]


async def test_accepted_run_without_events_times_out() -> None:
    async with served(accept, ingest=0.1) as (runs, _):
        ended = await runs.ended(await start_with_events_url(runs))
    assert ended.code == "PRODUCER_TIMEOUT"


async def test_pushes_keep_an_accepted_run_open(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = asyncio.Event()

    async def noted(session: RunSession, seconds: float) -> Outcome:
        accepted.set()
        return await until_idle(session, seconds)

    monkeypatch.setattr(remote_run, "until_idle", noted)
    async with served(accept, ingest=6, read_timeout=3, total_timeout=3) as (runs, _):
        async with pusher(runs) as push:
            run_id = await start_with_events_url(runs)
            await accepted.wait()
            for _ in range(4):
                await push.push(run_id, TOKEN)
                await advance(4)
            await push.push(run_id, ENDS[0][0])
            ended = await runs.ended(run_id)
        assert ended.output == [1]
        assert len(ended.tokens) == 4


async def test_without_ingest_an_accepted_payload_has_no_output() -> None:
    assert (await run_against(accept)).output is None


async def test_accepted_invocation_ends_with_its_response() -> None:
    async with served(accept, ingest=10) as (runs, _):
        assert await runs.invoke() is None


async def test_pushed_and_responded_events_are_all_stored() -> None:
    pushed = asyncio.Event()

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(NDJSON)
        await wire.send(b'{"type":"token","content":"own"}\n')
        await pushed.wait()
        await wire.send(b'{"type":"complete","output":1}\n')
        wire.close()

    async with served(answer, ingest=10) as (runs, _), pusher(runs) as push:
        run_id = await start_with_events_url(runs)
        await runs.emitted(run_id, 2)
        await push.push(run_id, TOKEN)
        pushed.set()
        ended = await runs.ended(run_id)
    assert ended.tokens == ["own", "p"]
    assert ended.output == 1


async def test_pushed_terminal_event_closes_the_response() -> None:
    left = asyncio.Event()

    async def answer(_request: ReceivedRequest, wire: Wire) -> None:
        await wire.begin(NDJSON)
        await wire.disconnected()
        left.set()

    async with served(answer, ingest=10) as (runs, made):
        assert (await fed(runs, made, ENDS[0][0])).output == [1]
        await asyncio.wait_for(left.wait(), TIMEOUT_SECONDS)


@pytest.mark.parametrize("depth", [480, 600, 900])
async def test_pushed_error_of_any_depth_is_stored_or_rejected(depth: int) -> None:
    details: list[Any] = []
    for _ in range(depth):
        details = [details]
    async with served(accept, ingest=10) as (runs, made), pusher(runs) as push:
        run_id = await start_with_events_url(runs)
        await wait_until(lambda: made.posts)
        try:
            await push.push(run_id, TOKEN, {"type": "error", "error": "own", "details": details})
        except InvalidRequest:
            await push.push(run_id, {"type": "error", "error": "own"})
        assert (await runs.ended(run_id)).error == "own"


@pytest.mark.parametrize("way", ["answer", "push"])
async def test_metadata_of_the_process_does_not_replace_the_service_s_own(way: str) -> None:
    given = {"agent": "other", "framework": "other", "producer_seq": "x", "model": "small"}
    complete = {"type": "complete", "output": 1, "metadata": given}
    body = b'{"type":"complete","output":1,"metadata":{"agent":"other","producer_seq":"x","model":"small"}}'
    async with served(accept if way == "push" else bytes_of(NDJSON, body), ingest=10) as (runs, made):
        ended = await (fed(runs, made, complete) if way == "push" else runs.run())
        assert ended.run.metadata["agent"] == "tested"
        assert ended.run.metadata["model"] == "small"
        assert ended.terminal["metadata"]["agent"] == "tested"
        await wait_until(lambda: runs.runs.find(ended.run.run_id) is None)
        async with pusher(runs) as push:
            with pytest.raises(InvalidRequest, match="finished"):
                await push.ingest.push(ended.run.run_id, Batch([TOKEN], 1), size=100)
