"""Runs whose backend fails: the agent is stopped, and nothing is left."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from dockrion import StreamContext
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.run_log import Run
from dockrion.errors import SequenceConflict, ServiceUnavailable
from dockrion.events import Entry
from dockrion.runs.agent import Call
from tests.agents.harness import Gate, bench, nothing_unretrieved
from tests.support import wait_until


@pytest.fixture(autouse=True)
async def quiet() -> AsyncIterator[None]:
    async with nothing_unretrieved():
        yield


class Failing(MemoryBackend):
    """A backend that stops working at some append, or at every create."""

    def __init__(self, *, append_at: int | None = None, create: bool = False) -> None:
        super().__init__(max_events=1000, ttl=3600)
        self.appends = 0
        self.append_at = append_at
        self.fail_create = create
        self.creating = asyncio.Event()
        self.may_create = asyncio.Event()
        self.may_create.set()

    async def create(self, run: Run, job: bytes | None = None) -> None:
        self.creating.set()
        await self.may_create.wait()
        if self.fail_create:
            raise ServiceUnavailable("away")
        await super().create(run, job)

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        self.appends += 1
        if self.append_at is not None and self.appends >= self.append_at:
            raise SequenceConflict(run.run_id)
        await super().append(run, entries)


@pytest.mark.parametrize("append_at", [1, 2, 5])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_run_that_cannot_be_stored_stops_its_agent_and_leaves_nothing(
    append_at: int, kind: str
) -> None:
    stopped: list[bool] = []

    def sync_agent(_payload: Any, context: StreamContext) -> None:
        try:
            while True:
                context.sync_emit_token("x")
        finally:
            stopped.append(context.cancelled)

    async def agent(_payload: Any, context: StreamContext) -> None:
        try:
            while True:
                await context.emit_token("x")
        finally:
            stopped.append(context.cancelled)

    backend = Failing(append_at=append_at)
    async with bench(sync_agent if kind == "sync" else agent, slots=1, backend=backend) as made:
        await made.start()
        await wait_until(lambda: not made.runs._in_flight)
        await wait_until(lambda: made.free_slots == 1)
        assert stopped == [True]
        assert not made.runs._in_flight._by_id
        assert made.sample("dockrion_active_runs") == 0


async def test_a_run_that_cannot_be_stored_affects_no_other_run() -> None:
    gate = Gate()
    backend = Failing()
    async with bench(gate, backend=backend) as made:
        healthy = await made.start("healthy")
        await made.emitted(healthy, 1)
        backend.append_at = 0
        await made.start("lost")
        await wait_until(lambda: len(made.runs._in_flight) == 1)
        backend.append_at = None
        gate.open.set()
        assert (await made.ended(healthy)).output == "healthy"


async def test_a_terminal_event_that_cannot_be_stored_still_frees_the_slot() -> None:
    backend = Failing()

    async def agent(_payload: Any) -> None:
        await wait_until(lambda: backend.appends == 1)
        backend.append_at = 2

    async with bench(agent, slots=1, backend=backend) as made:
        await made.start()
        await wait_until(lambda: not made.runs._in_flight)
        assert made.free_slots == 1


async def test_a_failed_create_frees_the_slot_and_reaches_the_caller() -> None:
    backend = Failing(create=True)
    async with bench(lambda _payload: 1, slots=1, queue=0, backend=backend) as made:
        for _ in range(3):
            with pytest.raises(ServiceUnavailable, match="away"):
                await made.start()
            assert made.free_slots == 1
        backend.fail_create = False
        assert (await made.run()).output == 1


@pytest.mark.parametrize("cancel", [False, True])
async def test_a_caller_that_leaves_during_start_leaves_a_run_that_ends(*, cancel: bool) -> None:
    gate = Gate()
    backend = Failing()
    backend.may_create.clear()
    async with bench(gate, backend=backend) as made:
        asking = asyncio.create_task(made.runs.start(Call(1), "left", cancel_on_disconnect=cancel))
        await backend.creating.wait()
        asking.cancel()
        await asyncio.wait((asking,))
        assert asking.cancelled()
        gate.open.set()
        backend.may_create.set()
        await wait_until(lambda: "left" in backend._logs)
        assert (await made.ended("left")).run.status == ("cancelled" if cancel else "completed")


async def test_a_caller_that_leaves_during_a_start_that_fails_leaves_nothing() -> None:
    backend = Failing(create=True)
    backend.may_create.clear()
    async with bench(Gate(), backend=backend) as made:
        asking = asyncio.create_task(made.start())
        await backend.creating.wait()
        asking.cancel()
        await asyncio.wait((asking,))
        backend.may_create.set()
        await wait_until(lambda: made.free_slots == 100)
