"""Batches of pushed events: each accepted whole or not at all, each number once, in order."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
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
from dockrion.runs.owner_requests import OwnerRequests
from dockrion.runs.tool_policy import ToolPolicy
from tests.agents.harness import Bench, Ended, bench
from tests.backends.conformance import new_run
from tests.support import TIMEOUT_SECONDS, wait_until

END: dict[str, Any] = {"type": "complete", "output": "pushed"}
DUPLICATE = Receipt(0, duplicate=True)
law = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tokens(*contents: str) -> list[dict[str, Any]]:
    return [{"type": "token", "content": content} for content in contents]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


async def push(receiver: Ingest, run_id: str, events: list[Any], producer_seq: int | None = None) -> Receipt:
    return await receiver.push(run_id, Batch(events, producer_seq), len(msgspec.json.encode(events)))


@dataclass(frozen=True)
class PushedRun:
    """A run, and the ingest that pushes into it."""

    bench: Bench
    ingest: Ingest
    run_id: str

    async def push(self, events: list[Any], producer_seq: int | None = None) -> Receipt:
        return await push(self.ingest, self.run_id, events, producer_seq)

    async def push_json(self, body: bytes) -> Receipt:
        """Push a batch as it was sent, in whatever notation."""
        return await self.ingest.push(self.run_id, Batch(msgspec.json.decode(body)), len(body))

    async def ended(self) -> Ended:
        return await self.bench.ended(self.run_id)

    async def end(self) -> Ended:
        """Push the end of the run, and return all of it."""
        assert await self.push([END]) == Receipt(1)
        return await self.ended()


@asynccontextmanager
async def pushed_run(
    agent: Callable[..., Any] | Agent | None = None, **more: Any
) -> AsyncIterator[PushedRun]:
    """Start a run of an external agent, or of a given one."""
    tools = ToolPolicy(more.pop("allowed_tools", None))
    async with bench(agent or ExternalAgent(60), **more) as made:
        redactor = Redactor(more.get("secrets", ()))
        requests = OwnerRequests(made.backend)
        receiver = Ingest(made.runs.find, made.backend, requests, redactor, tools, max_event_bytes=2**20)
        try:
            yield PushedRun(made, receiver, await made.start())
        finally:
            await requests.aclose(1)


def batch_of(number: int) -> list[dict[str, Any]]:
    """Return a batch of one to three events that are unique to its number."""
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
async def test_in_any_order_the_accepted_batches_are_one_to_k(numbers: list[int]) -> None:
    accepted = 0
    async with pushed_run() as run:
        for number in numbers:
            result = await outcome_of(run.push(batch_of(number), number))
            if number <= accepted:
                assert result == DUPLICATE
            elif number == accepted + 1:
                assert result == Receipt(len(batch_of(number)))
                accepted = number
            else:
                assert isinstance(result, Conflict)
                assert result.details == {"expected": accepted + 1}
        assert (await run.end()).tokens == contents(range(1, accepted + 1))


@law
@given(numbers=st.lists(st.integers(1, 6), max_size=25), seed=st.integers())
async def test_of_concurrent_batches_each_number_is_accepted_once_and_in_order(
    numbers: list[int], seed: int
) -> None:
    choose = random.Random(seed)
    async with pushed_run() as run:

        async def send(number: int) -> tuple[int, Receipt | DockrionError]:
            for _ in range(choose.randrange(4)):
                await asyncio.sleep(0)
            return number, await outcome_of(run.push(batch_of(number), number))

        results = await asyncio.gather(*map(send, numbers))
        accepted = [number for number, result in results if isinstance(result, Receipt) and result.accepted]
        assert sorted(accepted) == list(range(1, len(accepted) + 1))
        assert all(number <= len(accepted) for number, result in results if result == DUPLICATE)
        assert (await run.end()).tokens == contents(sorted(accepted))


@law
@given(count=st.integers(1, 12), copies=st.integers(1, 3), seed=st.integers())
async def test_producers_that_retry_lose_nothing_and_repeat_nothing(
    count: int, copies: int, seed: int
) -> None:
    choose = random.Random(seed)
    async with pushed_run() as run:

        async def insist(number: int) -> None:
            while isinstance(await outcome_of(run.push(batch_of(number), number)), Conflict):
                for _ in range(choose.randrange(3)):
                    await asyncio.sleep(0)

        numbers = [*range(1, count + 1)] * copies
        choose.shuffle(numbers)
        await asyncio.gather(*map(insist, numbers))
        assert (await run.end()).tokens == contents(range(1, count + 1))


async def test_the_last_batch_is_a_duplicate_when_the_run_is_over() -> None:
    async with pushed_run() as run:
        await run.push(tokens("a"), 1)
        assert await run.push([*tokens("b"), END], 2) == Receipt(2)
        assert (await run.ended()).tokens == ["a", "b"]
        await wait_until(lambda: not run.bench.runs._in_flight._by_id)
        for number in (1, 2):
            assert await run.push([END], number) == DUPLICATE
        for late in (3, 4, None):
            with pytest.raises(InvalidRequest, match="finished"):
                await run.push(tokens("late"), late)


@pytest.mark.parametrize("pushed", [0, 7, -1, "x", None, [1]])
async def test_pushed_metadata_does_not_hide_which_numbers_were_accepted(pushed: Any) -> None:
    async with pushed_run() as run:
        await run.push([END | {"metadata": {"producer_seq": pushed, "model": "m"}}], 1)
        ended = await run.ended()
        assert ended.run.metadata["model"] == "m"
        await wait_until(lambda: not run.bench.runs._in_flight._by_id)
        assert await run.push([END], 1) == DUPLICATE
        with pytest.raises(InvalidRequest):
            await run.push([END], 2)


@pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
async def test_a_batch_of_an_impossible_size_is_refused(count: int) -> None:
    async with pushed_run() as run:
        with pytest.raises(InvalidRequest, match="1000"):
            await run.push(tokens(*"x" * count), 1)
        assert (await run.end()).tokens == []


async def test_the_largest_batch_is_accepted() -> None:
    async with pushed_run() as run:
        assert await run.push(tokens(*map(str, range(MAX_BATCH))), 1) == Receipt(MAX_BATCH)
        assert (await run.end()).tokens == [str(n) for n in range(MAX_BATCH)]


async def test_a_refused_batch_changes_nothing_not_even_the_next_number() -> None:
    async with pushed_run() as run:
        with pytest.raises(InvalidRequest) as refused:
            await run.push([*tokens("a"), {"type": "token"}, *tokens("b"), {"type": "odd"}], 1)
        assert [problem["event"] for problem in refused.value.details] == [1, 3]
        assert await run.push(tokens("c"), 1) == Receipt(1)
        assert (await run.end()).tokens == ["c"]


async def test_filtered_events_are_accepted_and_dropped() -> None:
    async with pushed_run(allowed=["progress"]) as run:
        assert await run.push(tokens("a", "b"), 1) == Receipt(2)
        assert (await run.end()).types == ["started", "complete"]


@pytest.mark.parametrize("depth", [300, 600, 800])
async def test_deep_details_of_an_error_do_not_split_a_batch(depth: int) -> None:
    end = {"type": "error", "error": "deep", "details": nested(depth)}
    async with pushed_run() as run:
        result = await outcome_of(run.push([*tokens("a"), end], 1))
        if isinstance(result, Receipt):
            ended = await run.ended()
            assert (ended.error, ended.tokens) == ("deep", ["a"])
        else:
            assert isinstance(result, InvalidRequest)
            assert (await run.end()).tokens == []


numbers = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.builds("{}e{}".format, st.integers(-99, 99), st.integers(-300, 300)),
    st.just("1e15"),
)
json_texts = st.recursive(
    st.one_of(numbers, st.text().map(lambda text: msgspec.json.encode(text).decode())),
    lambda inner: st.lists(inner, min_size=1).map(lambda items: f"[{','.join(items)}]"),
)


@settings(max_examples=30)
@given(json_texts)
def test_json_grows_no_more_than_the_size_check_assumes(text: str) -> None:
    sent = f'{{"a":{text}}}'.encode()
    assert len(msgspec.json.encode(msgspec.json.decode(sent))) <= ingest._MAX_GROWTH * len(sent)


@pytest.mark.parametrize("count", [1, 20_000, 50_000, 60_000, 100_000])
async def test_an_event_that_grows_when_it_is_encoded_spoils_its_batch_only_as_a_whole(count: int) -> None:
    grows = b'{"type":"custom:numbers","values":[' + b",".join([b"1e15"] * count) + b"]}"
    async with pushed_run() as run:
        result = await outcome_of(run.push_json(b'[{"type":"token","content":"a"},' + grows + b"]"))
        ended = await run.end()
        if count * len("1000000000000000.0,") < 2**20 - 1000:
            assert (result, ended.tokens) == (Receipt(2), ["a"])
        else:
            assert isinstance(result, InvalidRequest)
            assert [problem["event"] for problem in result.details] == [1]
            assert ended.tokens == []


async def test_unknown_run_is_not_found() -> None:
    async with pushed_run() as run:
        with pytest.raises(RunNotFound):
            await push(run.ingest, "unknown", tokens("a"))
        await run.end()


async def test_a_run_that_waits_for_its_slot_accepts_nothing_yet() -> None:
    async with pushed_run(slots=1) as run:
        second = await run.bench.start()
        with pytest.raises(ServiceUnavailable, match="slot"):
            await push(run.ingest, second, tokens("early"), 1)
        await run.end()
        await run.bench.emitted(second, 1)
        await push(run.ingest, second, [*tokens("late"), END], 1)
        assert (await run.bench.ended(second)).tokens == ["late"]


async def test_a_run_without_an_owner_is_unavailable() -> None:
    async with pushed_run() as run:
        await run.bench.backend.create(new_run("orphan"))
        with pytest.raises(ServiceUnavailable):
            await push(run.ingest, "orphan", tokens("a"))
        await run.end()


class Slow(MemoryBackend):
    """A backend that stores nothing until it is released."""

    def __init__(self) -> None:
        super().__init__(max_events=200_000, ttl=3600)
        self.go = asyncio.Event()

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        await self.go.wait()
        await super().append(run, entries)


def hundred(number: int) -> list[dict[str, Any]]:
    return tokens(*(f"{number}.{n}" for n in range(100)))


async def test_a_full_buffer_refuses_batches_and_loses_no_accepted_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest, "_ROOM_SECONDS", 0.05)
    backend = Slow()
    accepted = 0
    async with pushed_run(backend=backend) as run:
        while isinstance(result := await outcome_of(run.push(hundred(accepted + 1), accepted + 1)), Receipt):
            accepted += 1
        assert isinstance(result, ServiceUnavailable)
        assert 1 <= accepted <= 10
        monkeypatch.setattr(ingest, "_ROOM_SECONDS", TIMEOUT_SECONDS)
        backend.go.set()
        assert await run.push(tokens("after"), accepted + 1) == Receipt(1)
        ended = await run.end()
        assert ended.tokens == [f"{k}.{n}" for k in range(1, accepted + 1) for n in range(100)] + ["after"]


async def test_equal_batches_that_wait_for_room_are_accepted_once() -> None:
    backend = Slow()
    async with pushed_run(backend=backend) as run:
        await run.push(tokens(*map(str, range(500))), 1)
        waiting = [asyncio.create_task(run.push(tokens("same"), 2)) for _ in range(10)]
        await asyncio.wait(waiting, timeout=0.02)
        assert not any(task.done() for task in waiting)
        backend.go.set()
        result = await asyncio.gather(*waiting)
        assert sorted(result, key=lambda receipt: receipt.accepted) == [DUPLICATE] * 9 + [Receipt(1)]
        assert (await run.end()).tokens == [*map(str, range(500)), "same"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b'{"type":"Receipt","accepted":1,"duplicate":false}', Receipt(1)),
        (b'{"type":"_Refused","kind":"Conflict","message":"late","details":{"expected":2}}', Conflict),
    ],
)
async def test_replies_have_the_form_that_replicas_of_other_versions_use(
    monkeypatch: pytest.MonkeyPatch, reply: bytes, expected: Receipt | type[DockrionError]
) -> None:
    async def request_owner(*_request: Any) -> bytes:
        return reply

    backend = MemoryBackend(max_events=10, ttl=60)
    run = new_run()
    await backend.create(run)
    monkeypatch.setattr(backend, "request_owner", request_owner)
    requests = OwnerRequests(backend)
    receiver = Ingest(lambda *_: None, backend, requests, Redactor(()), ToolPolicy(), max_event_bytes=2**20)
    try:
        outcome = await outcome_of(push(receiver, run.run_id, [END]))
        assert outcome == expected or type(outcome) is expected
    finally:
        await requests.aclose(1)
        await backend.aclose()
