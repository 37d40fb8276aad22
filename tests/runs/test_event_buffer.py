"""The event buffer and its writer: numbers, batches, back-pressure, and the end."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from itertools import pairwise, permutations, product
from typing import Any

import msgspec
import pytest

from dockrion.errors import AppendRefused, RunClosed, SequenceConflict
from dockrion.json_encoding import NotJSON
from dockrion.runs.event_buffer import (
    BUFFER_BYTES,
    BUFFER_EVENTS,
    UNYIELDING_BYTES,
    UNYIELDING_EVENTS,
    EventBuffer,
    State,
)
from dockrion.runs.outcome import of_refusal
from tests.backends.conformance import advanced, entries, follow_all, new_run, read_all
from tests.backends.publishing import (
    BufferBench,
    GatedBackend,
    contents,
    fill,
    hold,
    in_a_thread,
    join_threads,
    waiting_threads,
)
from tests.support import TIMEOUT_SECONDS, wait_until


@pytest.fixture
async def bench() -> AsyncIterator[BufferBench]:
    backend = GatedBackend()
    run = new_run()
    await backend.create(run)
    bench = BufferBench(backend, run)
    yield bench
    bench.backend.gate.set()
    bench.buffer.close()
    with contextlib.suppress(AppendRefused, SequenceConflict, RunClosed):
        await bench.writer
    await backend.aclose()


async def test_an_event_is_stored_as_it_was_encoded(bench: BufferBench) -> None:
    bench.token("a")
    log = await bench.end()
    assert [entry.type for entry in log] == ["token", "cancelled"]
    decoded = msgspec.json.decode(log[0].data)
    assert decoded["id"] == f"{bench.buffer.run_id}:1"
    assert decoded["sequence"] == log[0].sequence == 1
    assert datetime.fromisoformat(decoded["timestamp"]).timestamp() == log[0].emitted_at


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


async def test_many_threads_and_the_loop_share_one_numbering(bench: BufferBench) -> None:
    def emit(name: str) -> None:
        for number in range(500):
            bench.token(f"{name}:{number}")

    threads = [in_a_thread(partial(emit, name)) for name in "abcdefgh"]
    for number in range(500):
        bench.token(f"loop:{number}")
        if number % 7 == 0:
            await asyncio.sleep(0)
    await join_threads(*threads)
    stored = contents(await bench.end())
    assert len(stored) == 9 * 500
    for name in [*"abcdefgh", "loop"]:
        mine = [content for content in stored if content.startswith(f"{name}:")]
        assert mine == [f"{name}:{number}" for number in range(500)]


async def test_an_event_that_cannot_be_encoded_takes_no_number(bench: BufferBench) -> None:
    bench.token("a")
    with pytest.raises(NotJSON):
        bench.buffer.publish("checkpoint", {"name": "n", "data": object()}, status="running")
    bench.token("b")
    log = await bench.end()
    assert contents(log) == ["a", "b"]
    assert [entry.sequence for entry in log] == [1, 2, 3]


async def test_an_event_that_cannot_be_encoded_changes_no_record(bench: BufferBench) -> None:
    with pytest.raises(NotJSON):
        bench.buffer.publish("checkpoint", {"name": "n", "data": object()}, status="running")
    bench.token("b")
    await wait_until(lambda: bench.stored)
    assert bench.log.run.status == "accepted"


async def test_nothing_follows_the_terminal_event(bench: BufferBench) -> None:
    bench.token("a")
    bench.finish()
    bench.token("late")
    bench.buffer.publish("error", {"error": "e", "code": "C"}, status="failed")
    await bench.writer
    bench.token("later")
    log = await read_all(bench.backend, bench.buffer.run_id)
    assert [entry.type for entry in log] == ["token", "cancelled"]
    assert bench.log.run.status == "cancelled"


async def test_threads_that_emit_past_the_end_are_dropped_and_do_not_wait(bench: BufferBench) -> None:
    def emit() -> None:
        for _ in range(3 * BUFFER_EVENTS):
            bench.blocking("x")

    await bench.end()
    await join_threads(in_a_thread(emit))
    assert not bench.buffer.full


async def test_a_full_buffer_makes_async_code_wait_until_there_is_room(bench: BufferBench) -> None:
    await fill(bench)
    waiting = asyncio.create_task(bench.buffer.wait_for_room())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    bench.backend.gate.set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await waiting
    assert not bench.buffer.full


async def test_everyone_who_waits_for_room_is_released(bench: BufferBench) -> None:
    await fill(bench)
    waiting = [asyncio.create_task(bench.buffer.wait_for_room()) for _ in range(10)]
    released = [threading.Event() for _ in range(5)]

    def block(event: threading.Event) -> None:
        bench.blocking("blocking")
        event.set()

    threads = [in_a_thread(partial(block, event)) for event in released]
    await wait_until(lambda: waiting_threads(bench) == len(threads))
    assert not any(event.is_set() for event in released)
    assert not any(task.done() for task in waiting)
    bench.backend.gate.set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*waiting)
    await join_threads(*threads)


async def test_a_cancelled_waiter_does_not_block_the_others(bench: BufferBench) -> None:
    await fill(bench)
    waiting = [asyncio.create_task(bench.buffer.wait_for_room()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    bench.backend.gate.set()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, type(None), type(None)]


async def test_nobody_waits_while_there_is_room(bench: BufferBench) -> None:
    await hold(bench)
    for number in range(BUFFER_EVENTS - 2):
        bench.token(str(number))
    assert not bench.buffer.full
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await bench.buffer.wait_for_room()
        await join_threads(in_a_thread(partial(bench.blocking, "blocking")))


async def test_closing_releases_everyone_who_waits(bench: BufferBench) -> None:
    await fill(bench)
    waiting = asyncio.create_task(bench.buffer.wait_for_room())
    thread = in_a_thread(partial(bench.blocking, "blocking"))
    await wait_until(lambda: waiting_threads(bench))
    await asyncio.sleep(0)
    bench.buffer.close()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await waiting
    await join_threads(thread)


async def test_the_terminal_event_releases_threads_that_wait(bench: BufferBench) -> None:
    await fill(bench)
    thread = in_a_thread(partial(bench.blocking, "blocking"))
    await wait_until(lambda: waiting_threads(bench))
    bench.finish()
    await join_threads(thread)


async def test_the_terminal_event_releases_async_code_that_waits(bench: BufferBench) -> None:
    await fill(bench)
    waiting = asyncio.create_task(bench.buffer.wait_for_room())
    await asyncio.sleep(0)
    bench.finish()
    async with asyncio.timeout(1):
        await waiting


async def test_closing_ends_the_writer(bench: BufferBench) -> None:
    bench.token("a")
    bench.buffer.close()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await bench.writer
    assert contents(bench.stored) == ["a"]


async def test_another_event_loop_can_emit_and_wait_for_room(bench: BufferBench) -> None:
    await fill(bench)
    done, there = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        there.set()
        await bench.buffer.wait_for_room()
        bench.token("from elsewhere")
        done.set()

    thread = in_a_thread(lambda: asyncio.run(elsewhere()))
    await wait_until(there.is_set)
    await wait_until(
        lambda: len(asyncio.all_tasks()) == 3
    )  # this test, the writer, and the wait from elsewhere
    assert not done.is_set()
    bench.backend.gate.set()
    await join_threads(thread)
    assert contents(await bench.end())[-1] == "from elsewhere"


async def test_sync_code_on_the_loop_does_not_wait_for_room(bench: BufferBench) -> None:
    await fill(bench)
    bench.blocking("over")
    bench.backend.gate.set()
    assert contents(await bench.end())[-1] == "over"


async def test_sync_code_on_the_loop_cannot_fill_the_memory(bench: BufferBench) -> None:
    def emit_without_end() -> None:
        for _ in range(2 * UNYIELDING_EVENTS):
            bench.blocking("x")

    with pytest.raises(BufferError, match="await"):
        emit_without_end()
    assert len(await bench.end()) == UNYIELDING_EVENTS + 1


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


async def test_agents_wait_while_many_bytes_are_buffered(bench: BufferBench) -> None:
    await hold(bench)
    bench.token("x" * BUFFER_BYTES)
    assert bench.buffer.full
    thread = in_a_thread(partial(bench.blocking, "blocking"))
    await wait_until(lambda: waiting_threads(bench))
    bench.backend.gate.set()
    await join_threads(thread)
    assert contents(await bench.end())[-1] == "blocking"


async def test_sync_code_on_the_loop_cannot_fill_the_memory_with_few_events(bench: BufferBench) -> None:
    size = 2**19
    most = UNYIELDING_BYTES // size

    def emit_without_end() -> None:
        for _ in range(2 * most):
            bench.blocking("x" * size)

    with pytest.raises(BufferError, match="await"):
        emit_without_end()
    assert most - 1 <= len(await bench.end()) <= most + 1


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


async def test_a_stop_releases_waiting_threads_and_other_loops(bench: BufferBench) -> None:
    await fill(bench)
    blocked = in_a_thread(partial(bench.blocking, "blocking"))
    elsewhere = in_a_thread(lambda: asyncio.run(bench.buffer.wait_for_room()))
    await wait_until(lambda: waiting_threads(bench))
    await wait_until(lambda: len(asyncio.all_tasks()) == 3)
    bench.buffer.stop()
    await join_threads(blocked, elsewhere)
    assert bench.buffer.full


SIGNALS: dict[str, Callable[[EventBuffer], None]] = {
    "stop": EventBuffer.stop,
    "seal": EventBuffer.seal,
    "end": EventBuffer.close,
}
ACCEPTS = {  # state: (events of the agent, the terminal event)
    State.OPEN: (True, True),
    State.STOPPED: (True, True),
    State.SEALED: (False, True),
    State.ENDED: (False, False),
}
REACHED = {"": State.OPEN, "stop": State.STOPPED, "seal": State.SEALED, "end": State.ENDED}


@pytest.mark.parametrize("signals", [order for n in range(4) for order in permutations(SIGNALS, n)])
async def test_the_furthest_signal_decides_what_a_buffer_accepts(signals: tuple[str, ...]) -> None:
    for event_type, fields in (("heartbeat", {}), ("cancelled", {"reason": None})):
        buffer = EventBuffer(
            "r",
            asyncio.get_running_loop(),
            lambda: None,
            lambda _stop: None,
            max_event_bytes=1000,
            max_events=10,
        )
        for signal in signals:
            SIGNALS[signal](buffer)
        state = REACHED[max(signals, key=list(REACHED).index, default="")]
        buffer.publish(event_type, fields)
        assert buffer.pending is ACCEPTS[state][event_type == "cancelled"]
        assert buffer.ended is (state is State.ENDED or (buffer.pending and event_type == "cancelled"))
        assert buffer.closed is (state in (State.SEALED, State.ENDED) or buffer.ended)
