"""The event buffer: numbers, encoding, and what it accepts at the end."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import permutations
from typing import Any

import msgspec
import pytest

from dockrion import events
from dockrion.json_encoding import NotJSON
from dockrion.runs.event_buffer import (
    BUFFER_EVENTS,
    EventBuffer,
    State,
)
from tests.backends.conformance import read_all
from tests.backends.publishing import (
    BufferBench,
    contents,
    in_a_thread,
    join_threads,
)
from tests.support import wait_until


async def test_an_event_is_stored_as_it_was_encoded(bench: BufferBench) -> None:
    bench.token("a")
    log = await bench.end()
    assert [entry.type for entry in log] == ["token", "cancelled"]
    decoded = msgspec.json.decode(log[0].data)
    assert decoded["id"] == f"{bench.buffer.run_id}:1"
    assert decoded["sequence"] == log[0].sequence == 1
    assert datetime.fromisoformat(decoded["timestamp"]).timestamp() == log[0].emitted_at


async def test_many_threads_and_the_loop_share_one_numbering(
    bench: BufferBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = events.encode

    def encode_after_others(*arguments: Any) -> bytes:
        time.sleep(0)  # gives other threads their turn
        return encode(*arguments)

    monkeypatch.setattr(events, "encode", encode_after_others)

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
