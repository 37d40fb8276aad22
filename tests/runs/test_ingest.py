"""Batches of pushed events: each taken whole or not at all, each number once, in order."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockrion.agents.external import ExternalAgent
from dockrion.backends.memory import MemoryBackend
from dockrion.backends.run_log import Run
from dockrion.errors import Conflict, DockrionError, InvalidRequest, RunNotFound, ServiceUnavailable
from dockrion.events import Entry
from dockrion.redaction import Redactor
from dockrion.runs import ingest
from dockrion.runs.agent import Agent
from dockrion.runs.ingest import MAX_BATCH, Batch, Ingest, Receipt
from tests.agents.harness import Bench, Ended, bench
from tests.backends.conformance import new_run
from tests.support import wait_until

END: dict[str, Any] = {"type": "complete", "output": "pushed"}
TAKEN_BEFORE = Receipt(0, duplicate=True)
law = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tokens(*contents: str) -> list[dict[str, Any]]:
    return [{"type": "token", "content": content} for content in contents]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@dataclass(frozen=True)
class Fed:
    """A run, and who takes what is pushed into it."""

    bench: Bench
    ingest: Ingest
    run_id: str

    async def push(self, events: list[Any], producer_seq: int | None = None) -> Receipt:
        return await self.ingest.push(self.run_id, Batch(events, producer_seq))

    async def ended(self) -> Ended:
        return await self.bench.ended(self.run_id)

    async def end(self) -> Ended:
        """Push the end of the run, and return all of it."""
        assert await self.push([END]) == Receipt(1)
        return await self.ended()


@asynccontextmanager
async def fed(agent: Callable[..., Any] | Agent | None = None, **more: Any) -> AsyncIterator[Fed]:
    """Begin a run that others feed, or that of an agent."""
    async with bench(agent or ExternalAgent(60), **more) as made:
        taking = Ingest(
            made.runs.find, made.backend, Redactor(more.get("secrets", ())), max_event_bytes=2**20
        )
        try:
            yield Fed(made, taking, await made.start())
        finally:
            await taking.aclose()


def batch_of(number: int) -> list[dict[str, Any]]:
    """Return a batch that no other number has, of one to three events."""
    return tokens(*(f"{number}.{part}" for part in range(1 + number % 3)))


def contents(numbers: Sequence[int]) -> list[str]:
    return [event["content"] for number in numbers for event in batch_of(number)]


async def outcome_of(push: Awaitable[Receipt]) -> Receipt | DockrionError:
    try:
        return await push
    except DockrionError as error:
        return error


@law
@given(numbers=st.lists(st.integers(1, 6), max_size=25))
async def test_whatever_the_order_the_batches_taken_are_one_to_k(numbers: list[int]) -> None:
    taken = 0
    async with fed() as run:
        for number in numbers:
            found = await outcome_of(run.push(batch_of(number), number))
            if number <= taken:
                assert found == TAKEN_BEFORE
            elif number == taken + 1:
                assert found == Receipt(len(batch_of(number)))
                taken = number
            else:
                assert isinstance(found, Conflict)
                assert found.details == {"expected": taken + 1}
        assert (await run.end()).tokens == contents(range(1, taken + 1))


@law
@given(numbers=st.lists(st.integers(1, 6), max_size=25), seed=st.integers())
async def test_of_batches_sent_at_once_each_number_is_taken_once_and_in_order(
    numbers: list[int], seed: int
) -> None:
    choose = random.Random(seed)
    async with fed() as run:

        async def send(number: int) -> tuple[int, Receipt | DockrionError]:
            for _ in range(choose.randrange(4)):
                await asyncio.sleep(0)
            return number, await outcome_of(run.push(batch_of(number), number))

        results = await asyncio.gather(*map(send, numbers))
        taken = [number for number, found in results if isinstance(found, Receipt) and found.accepted]
        assert sorted(taken) == list(range(1, len(taken) + 1))
        assert all(number <= len(taken) for number, found in results if found == TAKEN_BEFORE)
        assert (await run.end()).tokens == contents(sorted(taken))


@law
@given(count=st.integers(1, 12), copies=st.integers(1, 3), seed=st.integers())
async def test_producers_that_try_again_lose_nothing_and_repeat_nothing(
    count: int, copies: int, seed: int
) -> None:
    choose = random.Random(seed)
    async with fed() as run:

        async def insist(number: int) -> None:
            while isinstance(await outcome_of(run.push(batch_of(number), number)), Conflict):
                for _ in range(choose.randrange(3)):
                    await asyncio.sleep(0)

        numbers = [*range(1, count + 1)] * copies
        choose.shuffle(numbers)
        await asyncio.gather(*map(insist, numbers))
        assert (await run.end()).tokens == contents(range(1, count + 1))


async def test_the_number_of_the_end_is_known_when_the_run_is_over() -> None:
    async with fed() as run:
        await run.push(tokens("a"), 1)
        assert await run.push([*tokens("b"), END], 2) == Receipt(2)
        assert (await run.ended()).tokens == ["a", "b"]
        await wait_until(lambda: not run.bench.runs._in_flight._by_id)
        for number in (1, 2):
            assert await run.push([END], number) == TAKEN_BEFORE
        for late in (3, 4, None):
            with pytest.raises(InvalidRequest, match="finished"):
                await run.push(tokens("late"), late)


@pytest.mark.parametrize("pushed", [0, 7, -1, "x", None, [1]])
async def test_metadata_of_the_end_does_not_hide_which_numbers_were_taken(pushed: Any) -> None:
    async with fed() as run:
        await run.push([END | {"metadata": {"producer_seq": pushed, "model": "m"}}], 1)
        ended = await run.ended()
        assert ended.run.metadata["model"] == "m"
        await wait_until(lambda: not run.bench.runs._in_flight._by_id)
        assert await run.push([END], 1) == TAKEN_BEFORE
        with pytest.raises(InvalidRequest):
            await run.push([END], 2)


@pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
async def test_a_batch_of_an_impossible_size_is_refused(count: int) -> None:
    async with fed() as run:
        with pytest.raises(InvalidRequest, match="1000"):
            await run.push(tokens(*"x" * count), 1)
        assert (await run.end()).tokens == []


async def test_the_largest_batch_is_taken_in_one_piece() -> None:
    async with fed() as run:
        assert await run.push(tokens(*map(str, range(MAX_BATCH))), 1) == Receipt(MAX_BATCH)
        assert (await run.end()).tokens == [str(n) for n in range(MAX_BATCH)]


async def test_a_refused_batch_takes_nothing_not_even_its_number() -> None:
    async with fed() as run:
        with pytest.raises(InvalidRequest) as refused:
            await run.push([*tokens("a"), {"type": "token"}, *tokens("b"), {"type": "odd"}], 1)
        assert [problem["event"] for problem in refused.value.details] == [1, 3]
        assert await run.push(tokens("c"), 1) == Receipt(1)
        assert (await run.end()).tokens == ["c"]


async def test_filtered_events_are_accepted_and_dropped() -> None:
    async with fed(allowed=["progress"]) as run:
        assert await run.push(tokens("a", "b"), 1) == Receipt(2)
        assert (await run.end()).types == ["started", "complete"]


@pytest.mark.parametrize("depth", [300, 600, 800])
async def test_deep_details_of_an_error_leave_no_half_taken_batch(depth: int) -> None:
    end = {"type": "error", "error": "deep", "details": nested(depth)}
    async with fed() as run:
        found = await outcome_of(run.push([*tokens("a"), end], 1))
        if isinstance(found, Receipt):
            ended = await run.ended()
            assert (ended.error, ended.tokens) == ("deep", ["a"])
        else:
            assert isinstance(found, InvalidRequest)
            assert (await run.end()).tokens == []


async def test_unknown_run_is_not_found() -> None:
    async with fed() as run:
        with pytest.raises(RunNotFound):
            await run.ingest.push("nobody", Batch(tokens("a")))
        await run.end()


async def test_a_run_that_waits_for_its_slot_takes_nothing_yet() -> None:
    async with fed(slots=1) as run:
        second = await run.bench.start()
        with pytest.raises(ServiceUnavailable, match="slot"):
            await run.ingest.push(second, Batch(tokens("early"), 1))
        await run.end()
        await run.bench.emitted(second, 1)
        await run.ingest.push(second, Batch([*tokens("late"), END], 1))
        assert (await run.bench.ended(second)).tokens == ["late"]


async def test_a_run_that_nobody_works_on_is_unavailable() -> None:
    async with fed() as run:
        await run.bench.backend.create(new_run("orphan"))
        with pytest.raises(ServiceUnavailable):
            await run.ingest.push("orphan", Batch(tokens("a")))
        await run.end()


class Slow(MemoryBackend):
    """A backend that stores nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__(max_events=200_000, ttl=3600)
        self.go = asyncio.Event()

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        await self.go.wait()
        await super().append(run, entries)


def hundred(number: int) -> list[dict[str, Any]]:
    return tokens(*(f"{number}.{n}" for n in range(100)))


async def test_full_buffer_refuses_in_the_end_and_what_was_accepted_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest, "_ROOM_SECONDS", 0.05)
    backend = Slow()
    accepted = 0
    async with fed(backend=backend) as run:
        while isinstance(found := await outcome_of(run.push(hundred(accepted + 1), accepted + 1)), Receipt):
            accepted += 1
        assert isinstance(found, ServiceUnavailable)
        assert 1 <= accepted <= 10
        backend.go.set()
        assert await run.push(tokens("after"), accepted + 1) == Receipt(1)
        ended = await run.end()
        assert ended.tokens == [f"{k}.{n}" for k in range(1, accepted + 1) for n in range(100)] + ["after"]


async def test_pushes_that_wait_for_room_are_taken_once_when_it_is_there() -> None:
    backend = Slow()
    async with fed(backend=backend) as run:
        await run.push(tokens(*map(str, range(500))), 1)
        waiting = [asyncio.create_task(run.push(tokens("same"), 2)) for _ in range(10)]
        await asyncio.wait(waiting, timeout=0.02)
        assert not any(task.done() for task in waiting)
        backend.go.set()
        found = await asyncio.gather(*waiting)
        assert sorted(found, key=lambda receipt: receipt.accepted) == [TAKEN_BEFORE] * 9 + [Receipt(1)]
        assert (await run.end()).tokens == [*map(str, range(500)), "same"]
