"""Slots for running agents, and the queue behind them."""

import asyncio
import threading
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support import TIMEOUT_SECONDS, Served, wait_until
from tests.web.helpers import BlockedAgent

ONE: dict[str, Any] = {"max_concurrent_runs": 1}


class OneByOne:
    """An agent whose runs the test ends one by one."""

    def __init__(self) -> None:
        self.order: list[Any] = []
        self.working = 0
        self.most = 0
        self.next = asyncio.Semaphore(0)

    async def __call__(self, payload: Any) -> Any:
        self.order.append(payload)
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            await self.next.acquire()
        finally:
            self.working -= 1
        return payload


async def cancel(served: Served, run_id: str) -> int:
    async with served.client.delete(f"/runs/{run_id}") as response:
        return response.status


async def test_waiting_runs_start_in_their_order(serve: Serve) -> None:
    served = await serve(agent := OneByOne(), streaming=ONE)
    runs = [await served.start(n) for n in range(6)]
    for _ in runs:
        agent.next.release()
    for run_id in runs:
        assert (await served.finished(run_id))["status"] == "completed"
    assert agent.order == list(range(6))
    assert agent.most == 1


async def test_no_more_agents_run_than_there_are_slots(serve: Serve) -> None:
    served = await serve(agent := OneByOne(), streaming={"max_concurrent_runs": 3})
    runs = [await served.start(n) for n in range(9)]
    await wait_until(lambda: agent.working == 3)
    assert [(await served.record(run_id))["status"] for run_id in runs].count("running") == 3
    for _ in runs:
        agent.next.release()
    for run_id in runs:
        await served.finished(run_id)
    assert agent.most == 3


async def test_run_cancelled_while_it_waits_never_starts(serve: Serve) -> None:
    served = await serve(agent := OneByOne(), streaming=ONE)
    first, second, third = [await served.start(n) for n in range(3)]
    assert await cancel(served, second) == 200
    async with served.events(second) as reader:
        assert [message.event for message in await reader.all()] == ["cancelled"]
    record = await served.record(second)
    assert (record["status"], record["started_at"], record["last_sequence"]) == ("cancelled", None, 1)
    agent.next.release()
    agent.next.release()
    assert (await served.finished(third))["status"] == (await served.finished(first))["status"] == "completed"
    assert agent.order == [0, 2]


async def test_every_endpoint_shares_the_slots(serve: Serve) -> None:
    served = await serve(agent := OneByOne(), streaming=ONE)
    run_id = await served.start("run")
    pending = asyncio.create_task(served.client.post("/invoke", json="invoke"))
    await wait_until(lambda: len(served.service.runs._in_flight) == 2)
    async with served.stream("stream") as reader:
        assert agent.order == ["run"]
        for _ in range(3):
            agent.next.release()
        await reader.all()
    async with await pending as response:
        assert (await response.json())["output"] == "invoke"
    await served.finished(run_id)
    assert agent.order == ["run", "invoke", "stream"]
    assert agent.most == 1


async def test_disconnected_caller_of_invoke_leaves_the_queue(serve: Serve) -> None:
    served = await serve(agent := OneByOne(), streaming={**ONE, "max_queued_runs": 1})
    first = await served.start("first")
    pending = asyncio.create_task(served.client.post("/invoke", json="invoke"))
    await wait_until(lambda: len(served.service.runs._in_flight) == 2)
    pending.cancel()
    await wait_until(lambda: len(served.service.runs._in_flight) == 1)
    second = await served.start("second")
    agent.next.release()
    agent.next.release()
    await served.finished(first)
    await served.finished(second)
    assert agent.order == ["first", "second"]


async def test_agent_that_does_not_stop_keeps_its_slot(
    serve: Serve, stuck: BlockedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dockrion.runs.execution.STOP_SECONDS", 0.1)
    served = await serve(stuck, streaming=ONE)
    first = await served.start()
    await wait_until(stuck.working.is_set)
    assert await cancel(served, first) == 200
    second = await served.start()
    assert (await served.record(second))["status"] == "accepted"
    stuck.go.set()
    assert (await served.finished(second))["status"] == "completed"


async def test_slots_are_released_after_every_outcome(serve: Serve) -> None:
    async def agent(payload: str) -> None:
        if payload == "raise":
            raise ValueError("no")
        if payload == "wait":
            await asyncio.Event().wait()

    served = await serve(agent, streaming={**ONE, "max_queued_runs": 0})
    for payload in ("return", "raise", "wait"):
        run_id = await served.start(payload)
        if payload == "wait":
            assert await cancel(served, run_id) == 200
        await served.finished(run_id)
        await wait_until(lambda: not served.service.runs._in_flight)
    async with served.client.post("/invoke", json="return") as response:
        assert response.status == 200


async def test_sync_agents_run_concurrently_up_to_the_slots(serve: Serve) -> None:
    everybody = threading.Barrier(51)

    def agent(_payload: Any) -> str:
        everybody.wait(TIMEOUT_SECONDS)
        return "together"

    served = await serve(agent, streaming={"max_concurrent_runs": 50})
    runs = [await served.start(n) for n in range(50)]
    await asyncio.to_thread(everybody.wait, TIMEOUT_SECONDS)
    for run_id in runs:
        assert (await served.finished(run_id))["output"] == "together"
