"""The writer of a log: batches, the record, and a storage that is away or refuses events."""

import asyncio
from itertools import pairwise, product
from typing import Any

import msgspec
import pytest

from dockrion.errors import AppendRefused, RunClosed, SequenceConflict
from dockrion.runs.event_buffer import (
    BUFFER_BYTES,
)
from dockrion.runs.outcome import of_refusal
from tests.backends.conformance import advanced, entries, follow_all
from tests.backends.publishing import (
    BufferBench,
    contents,
    hold,
)
from tests.support import TIMEOUT_SECONDS, wait_until


async def test_a_lone_event_is_stored_at_once(bench: BufferBench) -> None:
    await asyncio.sleep(0)  # the writer waits
    bench.token("a")
    for _ in range(3):
        await asyncio.sleep(0)
    assert contents(bench.stored) == ["a"]


async def test_events_that_arrive_during_an_append_are_the_next_batch(bench: BufferBench) -> None:
    await hold(bench)
    for content in "bcd":
        bench.token(content)
        await asyncio.sleep(0)
    assert bench.backend.in_flight == [[1]]
    bench.backend.gate.set()
    await wait_until(lambda: len(bench.stored) == 4)
    assert bench.backend.in_flight == [[1], [2, 3, 4]]


async def test_events_of_one_turn_of_the_loop_are_one_batch(bench: BufferBench) -> None:
    for content in "abc":
        bench.token(content)
    await wait_until(lambda: len(bench.stored) == 3)
    assert bench.backend.in_flight == [[1, 2, 3]]


async def test_the_record_is_updated_with_the_events(bench: BufferBench) -> None:
    run_id = bench.buffer.run_id
    bench.buffer.publish("started", {"agent_name": "a", "framework": "f"}, status="running")
    bench.token("a")
    await wait_until(lambda: len(bench.stored) == 2)
    record = await bench.backend.get(run_id)
    assert (record.status, record.last_sequence) == ("running", 2)
    assert bench.log.run == record
    await bench.end()
    record = await bench.backend.get(run_id)
    assert (record.status, record.last_sequence) == ("cancelled", 3)


async def test_the_record_is_not_updated_before_its_event_is_stored(bench: BufferBench) -> None:
    await hold(bench)
    bench.buffer.publish("started", {"agent_name": "a", "framework": "f"}, status="running")
    assert bench.log.run.status == "accepted"
    bench.backend.gate.set()
    await wait_until(lambda: bench.log.run.status == "running")


async def test_closing_ends_the_writer(bench: BufferBench) -> None:
    bench.token("a")
    bench.buffer.close()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await bench.writer
    assert contents(bench.stored) == ["a"]


@pytest.mark.parametrize("size", [100, 40_000, BUFFER_BYTES // 2 + 1, 600_000])
async def test_a_batch_is_bounded_in_bytes_and_never_empty(bench: BufferBench, size: int) -> None:
    await hold(bench)
    for number in range(20):
        bench.token("x" * (size if number % 2 else 10))
    bench.backend.gate.set()
    log = await bench.end()
    sizes = {entry.sequence: len(entry.data) for entry in log}
    assert [number for batch in bench.backend.in_flight for number in batch] == list(sizes)
    for batch in bench.backend.in_flight:
        assert len(batch) == 1 or sum(sizes[number] for number in batch) <= BUFFER_BYTES
    for one, following in pairwise(bench.backend.in_flight[1:]):
        assert sum(sizes[number] for number in [*one, following[0]]) > BUFFER_BYTES


def publish_end(bench: BufferBench, end: str, size: int) -> None:
    text = "x" * size
    match end:
        case "complete":
            fields: dict[str, Any] = {"output": text, "latency_seconds": 1.0, "metadata": {}}
            output = msgspec.Raw(msgspec.json.encode(text))
            bench.buffer.publish(end, fields, status="completed", output=output)
        case "error":
            bench.buffer.publish(end, {"error": "e", "code": "C", "details": text}, status="failed")
        case "cancelled":
            bench.buffer.publish(end, {"reason": text}, status="cancelled")


@pytest.mark.parametrize(
    ("end", "refused"),
    [("complete", "end"), ("error", "end"), *product(("complete", "error", "cancelled"), ["event"])],
)
async def test_a_run_whose_storage_refuses_an_event_ends_with_an_error_after_a_gap(
    bench: BufferBench, end: str, refused: str
) -> None:
    bench.token("a")
    await wait_until(lambda: bench.stored)
    bench.backend.refused = 100_000
    if refused == "event":
        bench.token("x" * 200_000)
    publish_end(bench, end, 200_000 if refused == "end" else 1)
    with pytest.raises(AppendRefused) as error:
        await bench.writer
    await bench.log.force_close(of_refusal(error.value))
    run = await bench.backend.get(bench.buffer.run_id)
    log = await follow_all(bench.backend, run.run_id)
    assert log == bench.stored
    assert log[-1].sequence == run.last_sequence == (3 if refused == "event" else 2)
    if end == "cancelled":
        assert (log[-1].type, run.status) == ("cancelled", "cancelled")
        return
    assert (log[-1].type, run.status, run.output) == ("error", "failed", None)
    assert run.error == {"error": "too large", "code": "LIMIT_EXCEEDED", "details": None}
    assert msgspec.json.decode(log[-1].data).items() >= run.error.items()


async def test_a_log_that_is_closed_by_force_with_what_the_storage_refuses_ends_with_an_error(
    bench: BufferBench,
) -> None:
    await bench.backend.append(advanced(bench.log.run, 1), entries(1, 1))
    bench.token("a")
    with pytest.raises(SequenceConflict):
        await bench.writer
    bench.backend.refused = 100_000
    publish_end(bench, "complete", 200_000)
    await bench.log.force_close()
    assert [(entry.sequence, entry.type) for entry in bench.stored] == [(2, "error")]
    assert (await bench.backend.get(bench.buffer.run_id)).status == "failed"


async def test_a_log_with_another_writer_accepts_only_the_terminal_event(bench: BufferBench) -> None:
    run_id = bench.buffer.run_id
    await bench.backend.append(advanced(bench.log.run, 1), entries(1, 1))
    bench.token("a")
    with pytest.raises(SequenceConflict):
        await bench.writer
    bench.token("b")
    bench.finish()
    await bench.log.force_close()
    assert [entry.sequence for entry in bench.stored] == [3]
    stored = await follow_all(bench.backend, run_id)
    assert [(entry.sequence, entry.type) for entry in stored] == [(1, "token"), (3, "cancelled")]
    assert (await bench.backend.get(run_id)).status == "cancelled"


async def test_a_run_that_another_writer_has_ended_accepts_nothing(bench: BufferBench) -> None:
    await bench.backend.append(advanced(bench.log.run, 1, "failed"), entries(1, 1, "error"))
    bench.token("a")
    bench.finish()
    with pytest.raises(RunClosed):
        await bench.writer
    with pytest.raises(RunClosed):
        await bench.log.force_close()
    assert bench.stored == []


async def test_a_batch_waits_while_the_storage_is_away(bench: BufferBench) -> None:
    bench.backend.failures = 3
    for content in "abc":
        bench.token(content)
    assert contents(await bench.end()) == ["a", "b", "c"]
    assert bench.backend.failures == 0


async def test_a_change_of_the_record_alone_is_stored_at_once_and_in_order(bench: BufferBench) -> None:
    run_id = bench.buffer.run_id
    bench.buffer.change_record(owner="before")
    await wait_until(lambda: bench.log.run.owner == "before")
    assert bench.stored == []
    await hold(bench)
    bench.token("a")
    bench.buffer.change_record(owner="after a")
    bench.token("b")
    bench.buffer.change_record(status="running")
    bench.backend.gate.set()
    await wait_until(lambda: bench.log.run.status == "running")
    assert await bench.backend.get(run_id) == bench.log.run
    bench.buffer.change_record(owner="never", status="accepted")
    await bench.end()
    bench.buffer.change_record(owner="too late")
    assert not bench.buffer.pending
    assert (await bench.backend.get(run_id)).status == "cancelled"


async def test_a_change_of_the_record_alone_waits_for_the_storage(bench: BufferBench) -> None:
    bench.backend.failures = 3
    bench.buffer.change_record(owner="later")
    await wait_until(lambda: bench.log.run.owner == "later")
    assert bench.backend.in_flight == [[]] * 4


async def test_a_change_of_the_record_belongs_to_the_events_before_it(bench: BufferBench) -> None:
    await hold(bench)
    for number in range(3):
        bench.buffer.publish("token", {"content": "x" * (BUFFER_BYTES // 2 + 1), "finish_reason": None})
        bench.buffer.change_record(owner=str(number))
    batches = [bench.buffer.pop_batch() for _ in range(3)]
    assert [(len(entries), changes) for entries, changes in batches] == [
        (1, {"owner": str(number)}) for number in range(3)
    ]
    bench.backend.gate.set()
