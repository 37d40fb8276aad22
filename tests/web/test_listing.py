"""GET /runs: newest first, by status, page by page."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from dockrion.backends.run_log import Run
from dockrion.events import Entry
from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, wait_until

pytestmark = pytest.mark.usefixtures("every_backend")


async def page(served: Served, **query: str) -> tuple[list[str], str | None]:
    async with served.client.get("/runs", params=query) as response:
        assert response.status == 200
        body = await response.json()
    return [item["run_id"] for item in body["items"]], body["next"]


async def with_runs(serve: Serve, count: int) -> Served:
    served = await serve()
    for number in range(count):
        await served.start(run_id=f"r{number}")
        await served.finished(f"r{number}")
    return served


async def test_newest_runs_come_first(serve: Serve) -> None:
    served = await with_runs(serve, 5)
    assert await page(served) == (["r4", "r3", "r2", "r1", "r0"], None)


async def test_no_runs_give_an_empty_list(serve: Serve) -> None:
    assert await page(await serve()) == ([], None)


async def test_pages_contain_every_run_once(serve: Serve) -> None:
    served = await with_runs(serve, 7)
    first, cursor = await page(served, limit="3")
    second, cursor = await page(served, limit="3", cursor=str(cursor))
    third, end = await page(served, limit="3", cursor=str(cursor))
    assert [first, second, third] == [["r6", "r5", "r4"], ["r3", "r2", "r1"], ["r0"]]
    assert end is None


async def test_page_with_exactly_the_rest_is_the_last(serve: Serve) -> None:
    served = await with_runs(serve, 3)
    assert await page(served, limit="3") == (["r2", "r1", "r0"], None)


async def test_new_runs_do_not_shift_the_pages(serve: Serve) -> None:
    served = await with_runs(serve, 4)
    _, cursor = await page(served, limit="2")
    await served.start(run_id="new")
    assert await page(served, limit="2", cursor=str(cursor)) == (["r1", "r0"], None)


async def test_limit_is_a_hundred_by_default(serve: Serve) -> None:
    served = await serve()
    for number in range(101):
        await served.start(run_id=f"r{number}")
    runs, cursor = await page(served)
    assert len(runs) == 100
    assert await page(served, cursor=str(cursor)) == (["r0"], None)


async def test_runs_are_filtered_by_status(serve: Serve) -> None:
    async def agent(payload: str) -> None:
        if payload == "failed":
            raise ValueError("no")
        if payload in ("running", "cancelled"):
            await asyncio.Event().wait()

    served = await serve(agent, streaming={"max_concurrent_runs": 3})
    for status in ("completed", "failed", "cancelled"):
        await served.start(status, run_id=status)
        if status == "cancelled":
            async with served.client.delete("/runs/cancelled") as response:
                assert response.status == 200
        await served.finished(status)
    await wait_until(lambda: served.service.runs.slots.free == 3)
    for number in range(3):
        await served.start("running", run_id=f"running{number}")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while len((await page(served, status="running"))[0]) < 3:
            await asyncio.sleep(0.005)
    await served.start("waiting", run_id="accepted")
    for status in ("accepted", "completed", "failed", "cancelled"):
        assert await page(served, status=status) == ([status], None)
    first, cursor = await page(served, status="running", limit="2")
    rest = await page(served, status="running", limit="2", cursor=str(cursor))
    assert (first, rest) == (["running2", "running1"], (["running0"], None))


async def test_items_are_records_without_their_inputs_and_outputs(serve: Serve) -> None:
    served = await with_runs(serve, 1)
    async with served.client.get("/runs") as response:
        (item,) = (await response.json())["items"]
    expected: dict[str, Any] = await served.record("r0")
    del expected["input"], expected["output"]
    assert item == expected | {"input_excerpt": item["input_excerpt"], "truncated": False}


async def test_page_of_large_records_is_small_and_each_is_read_whole(serve: Serve) -> None:
    served = await serve()
    error = {"error": "m" * 4_000, "code": "AGENT_EXECUTION_ERROR", "details": {"large": "x" * 1_000_000}}
    metadata = {"output_errors": ["y" * 1_000_000], "agent": "tested", "framework": "custom"}
    for number in range(5):
        made = Run(run_id=f"r{number}", status="accepted", created_at=datetime.now(UTC))
        await served.service.backend.create(made)
        ended = msgspec.structs.replace(
            made, status="failed", last_sequence=1, error=error, metadata=metadata
        )
        await served.service.backend.append(ended, [Entry(1, "error", b"{}", 1.0)])
    async with served.client.get("/runs") as response:
        body = await response.read()
        items = (await response.json())["items"]
    assert len(body) < 5 * 4_096
    shown = {"error": "m" * 500, "code": "AGENT_EXECUTION_ERROR", "details": None}
    assert [(item["error"], item["truncated"]) for item in items] == [(shown, True)] * 5
    assert items[0]["metadata"] == {"agent": "tested", "framework": "custom"}
    record = await served.record("r0")
    assert (record["error"], record["metadata"]) == (error, metadata)
    assert "truncated" not in record


async def test_owner_is_never_shown(serve: Serve) -> None:
    served = await serve()
    made = Run(run_id="r0", status="accepted", created_at=datetime.now(UTC), owner="tenant|someone")
    await served.service.backend.create(made)
    async with served.client.get("/runs") as response:
        assert "r0" in (listed := await response.text())
    assert "owner" not in await served.record("r0")
    assert not any(word in listed for word in ("owner", "someone"))


async def test_short_page_may_have_a_successor(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("memory.index", "redis.index"):
        monkeypatch.setattr(f"dockrion.backends.{module}.MAX_SCANNED", 3)
    served = await with_runs(serve, 5)
    runs, cursor = await page(served)
    assert runs == ["r4", "r3", "r2"]
    assert await page(served, cursor=str(cursor)) == (["r1", "r0"], None)
