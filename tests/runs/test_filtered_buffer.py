"""Large events with an output policy: filtered whole and in order, while the event loop goes on."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.dockfile.limits_structs import LimitsSpec
from dockrion.events import EventFilter, validation
from dockrion.policies.output_redaction import OutputPolicy
from dockrion.policies.patterns import MASK
from dockrion.redaction import Redactor
from dockrion.runs import filtered_buffer
from dockrion.runs.emitter import Emitter
from dockrion.runs.filtered_buffer import MAX_FILTERED_AT_ONCE
from dockrion.runs.session import RunSession
from dockrion.runs.tool_policy import ToolPolicy
from tests.backends.conformance import new_run
from tests.backends.publishing import BufferBench, GatedBackend, contents, in_a_thread, join_threads
from tests.support import wait_until

# Compared with most, it takes long for a text of letters: each one may begin an address.
ADDRESS = r"[\w.+-]+@[\w-]+\.[\w.]+"
WORDS = "lorem ipsum dolor sit amet " * 25_000  # 0.7 MB
LARGE = f"{WORDS}me@example.org {WORDS}"
MASKED = re.sub(ADDRESS, MASK, LARGE)


@asynccontextmanager
async def filtering(*sources: str, **spec: Any) -> AsyncIterator[BufferBench]:
    backend, run = GatedBackend(), new_run()
    await backend.create(run)
    text_filter = OutputPolicy(sources, **spec).new_filter()
    bench = BufferBench(backend, run, text_filter=text_filter, max_event_bytes=LimitsSpec().max_event_bytes)
    yield bench
    await backend.aclose()


@contextmanager
def responsive_loop() -> Iterator[None]:
    """Fail if the event loop is held for more than a part of the time that the block takes.

    It is the processor's time, of which a busy machine gives this process none for as long as it likes.
    """
    longest, last, began = 0.0, time.process_time(), time.process_time()

    async def tick() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.001)
            now = time.process_time()
            longest, last = max(longest, now - last), now

    ticking = asyncio.ensure_future(tick())
    yield
    ticking.cancel()
    took = time.process_time() - began
    assert took > 0.1, "too little work to show anything"
    assert longest < took / 3


def session_of(bench: BufferBench) -> RunSession:
    return RunSession(bench.buffer.run_id, EventFilter(), bench.buffer)


async def emit_token(bench: BufferBench, text: str) -> None:
    await session_of(bench).context.emit_token(text)


async def emit_from_a_thread(bench: BufferBench, text: str) -> None:
    await join_threads(in_a_thread(partial(bench.blocking, text)))


async def push_token(bench: BufferBench, text: str) -> None:
    fields = {"content": text, "finish_reason": None}
    await session_of(bench).from_process.push([("token", fields)], len(text))


WAYS: dict[str, Callable[[BufferBench, str], Awaitable[None]]] = {
    "async code": emit_token,
    "a thread": emit_from_a_thread,
    "a push": push_token,
}


@pytest.mark.parametrize("way", WAYS)
async def test_large_token_does_not_hold_the_loop(way: str) -> None:
    async with filtering(ADDRESS) as bench:
        await WAYS[way](bench, "first ")
        with responsive_loop():
            await WAYS[way](bench, LARGE)
        await WAYS[way](bench, " last")
        bench.buffer.publish_held_back()
        assert "".join(contents(await bench.end())) == f"first {MASKED} last"


@pytest.mark.parametrize("way", ["async code", "a push"])
async def test_large_event_does_not_hold_the_loop(way: str) -> None:
    async with filtering(ADDRESS) as bench:
        session = session_of(bench)
        with responsive_loop():
            if way == "async code":
                await session.context.checkpoint("c", LARGE)
            else:
                fields = {"name": "c", "data": LARGE}
                await session.from_process.push([("checkpoint", fields)], len(LARGE))
        await session.context.emit_token("after ")
        stored = [msgspec.json.decode(entry.data) for entry in await bench.end()]
    assert [event["type"] for event in stored] == ["checkpoint", "token", "cancelled"]
    assert stored[0]["data"] == MASKED


async def test_last_part_of_a_token_has_its_finish_reason() -> None:
    async with filtering("secret") as bench:
        await Emitter("r", EventFilter(), bench.buffer, ToolPolicy(), Redactor()).emit(
            "token", validation.token, LARGE, "stop"
        )
        stored = [msgspec.json.decode(entry.data) for entry in await bench.end()]
    reasons = [event["finish_reason"] for event in stored if event["type"] == "token"]
    assert len(reasons) > 10
    assert reasons[-1] == "stop"
    assert not any(reasons[:-1])


async def test_violation_in_a_large_token_stops_the_agent() -> None:
    async with filtering(ADDRESS, halt_on_violation=True) as bench:
        await emit_token(bench, LARGE)
        await wait_until(lambda: bench.stops)
        assert {stop.kind for stop in bench.stops} == {"violation"}
        text = "".join(contents(await bench.end()))
    assert "example" not in text


async def test_too_large_event_is_refused_before_it_is_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with filtering(ADDRESS) as bench:
        monkeypatch.setattr(bench.buffer, "max_event_bytes", 100_000)
        context = session_of(bench).context
        for emit in (context.emit_token, partial(context.checkpoint, "c")):
            with pytest.raises(ValueError, match=r"limits\.max_event_bytes"):
                await emit(LARGE)
        assert len(await bench.end()) == 1


@given(st.integers(0, 3 * MAX_FILTERED_AT_ONCE + 2), st.sampled_from([None, "stop"]))
def test_parts_are_the_token(length: int, reason: str | None) -> None:
    content = "".join(chr(0x4E00 + number % 10_000) for number in range(length))
    token = {"content": content, "finish_reason": reason}
    parts = list(filtered_buffer._parts(token))
    assert "".join(part["content"] for part in parts) == content
    assert all(0 < len(part["content"]) <= MAX_FILTERED_AT_ONCE for part in parts if length)
    assert [part["finish_reason"] for part in parts] == [None] * (len(parts) - 1) + [reason]
