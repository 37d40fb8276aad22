"""Output policies apply to pushed events."""

import asyncio
from typing import Any

import msgspec
import pytest

from dockrion.policies.patterns import MASK
from dockrion.runs.ingest import Batch, Receipt
from dockrion.runs.process_events import ProcessEvents
from tests.conftest import Serve
from tests.support import INGEST, wait_until
from tests.web.policy_agents import SECRET, safety, stored_events, stored_text, taking_long, text


@pytest.mark.usefixtures("every_backend")
async def test_pushed_events_are_masked(serve: Serve) -> None:
    served = await serve(policies=safety(), streaming={"ingest": INGEST})
    run_id = await served.start(external="true")
    batch: list[dict[str, Any]] = [{"type": "token", "content": each} for each in ("a secret", "-1", "234!")]
    batch += [
        {"type": "custom:mine", SECRET: {SECRET: [SECRET]}},
        {"type": "token", "content": "secret-"},
        {"type": "complete", "output": {"o": SECRET}, "metadata": {SECRET: [SECRET]}},
    ]
    for events in (batch[:2], batch[2:]):
        async with served.client.post(f"/runs/{run_id}/events", json=events) as response:
            assert response.status == 200, await response.text()
    record = await served.finished(run_id)
    assert (record["output"], record["metadata"][MASK]) == ({"o": MASK}, [MASK])
    assert text(await stored_events(served, run_id)) == f"a {MASK}!secret-"
    assert SECRET not in await stored_text(served, run_id)


async def test_batch_enlarged_by_masks_is_accepted_whole(serve: Serve) -> None:
    served = await serve(
        policies=safety(redact_patterns=["x"]),
        streaming={"ingest": INGEST},
        limits={"max_event_bytes": 1024},
    )
    run_id = await served.start(external="true")
    events = [{"type": "token", "content": "a"}, {"type": "token", "content": "x" * 400}]
    async with served.client.post(f"/runs/{run_id}/events", json=[*events, {"type": "complete"}]) as response:
        assert (await response.json())["accepted"] == 3
    assert (await served.finished(run_id))["status"] == "completed"
    assert text(await stored_events(served, run_id)) == "a" + MASK * 400


async def test_deepest_pushed_event_can_be_masked(serve: Serve) -> None:
    served = await serve(
        policies=safety(max_output_chars=100),
        streaming={"ingest": INGEST},
        limits={"max_json_depth": 500},
    )
    run_id = await served.start(external="true")
    deep: Any = SECRET
    for _ in range(247):
        deep = {"a": [deep]}
    events = [{"type": "custom:deep", "data": deep}, {"type": "complete", "output": deep}]
    async with served.client.post(f"/runs/{run_id}/events", json=events) as response:
        assert (await response.json())["accepted"] == 2
    assert (await served.finished(run_id))["status"] == "completed"
    whole = await stored_text(served, run_id)
    assert SECRET not in whole
    assert whole.count(MASK) == 3


async def test_large_batch_is_published_whole_and_before_the_next_even_if_its_push_is_cancelled(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    streaming = {"ingest": INGEST}
    served = await serve(policies=safety(redact_patterns=[r"[\w.+-]+@[\w-]+"]), streaming=streaming)
    run_id = await served.start(external="true")
    ingest = served.service.ingest
    run = served.service.runs.find(run_id, None)
    assert ingest is not None
    assert run is not None
    await wait_until(lambda: run.session)
    large = "lorem ipsum " * 20_000

    def push(number: int, *events: dict[str, Any]) -> asyncio.Future[Receipt]:
        size = len(msgspec.json.encode(events))
        return asyncio.ensure_future(ingest.push(run_id, Batch(list(events), number), size))

    begin = {"type": "checkpoint", "name": "n", "data": large}
    with taking_long(monkeypatch, ProcessEvents, "_publish_all"):
        first = push(1, begin, {"type": "token", "content": large})
        await wait_until(lambda: run.producer_seq == 1)
        last = push(2, {"type": "token", "content": "last "}, {"type": "complete", "output": 1})
        again = push(1, begin)
        first.cancel()
    assert await last == Receipt(2)
    assert await again == Receipt(0, duplicate=True)
    assert first.cancelled()
    assert (await served.finished(run_id))["status"] == "completed"
    stored = await stored_events(served, run_id)
    assert [event["data"] for event in stored if event["type"] == "checkpoint"] == [large]
    assert text(stored) == large + "last "
