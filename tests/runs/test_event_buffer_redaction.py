"""The event buffer with an output policy: only filtered text is stored."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.dockfile.limits_structs import LimitsSpec
from dockrion.errors import RunClosed, SequenceConflict
from dockrion.events import Entry
from dockrion.json_encoding import NotJSON
from dockrion.policies.output_redaction import OutputPolicy
from dockrion.policies.patterns import MASK
from tests.backends.conformance import new_run
from tests.backends.publishing import BufferBench, GatedBackend, contents, in_a_thread, join_threads
from tests.policies.pattern_strategies import CHARS, compiled, cuts, patterns
from tests.support import wait_until

SECRET = r"secret-\d{4}"


@contextlib.asynccontextmanager
async def publishing(
    sources: Sequence[str], limits: LimitsSpec | None = None, **spec: Any
) -> AsyncIterator[BufferBench]:
    backend, run = GatedBackend(), new_run()
    await backend.create(run)
    text_filter = OutputPolicy(sources, **spec).new_filter()
    limits = limits or LimitsSpec()
    bench = BufferBench(
        backend,
        run,
        text_filter=text_filter,
        max_event_bytes=limits.max_event_bytes,
        max_events=limits.max_events_per_run,
    )
    yield bench
    bench.buffer.close()
    with contextlib.suppress(SequenceConflict, RunClosed):
        await bench.writer
    await backend.aclose()


async def ended(bench: BufferBench) -> list[Entry]:
    bench.buffer.publish_held_back()
    return await bench.end()


def checkpoint(bench: BufferBench, data: Any) -> None:
    raw = msgspec.Raw(msgspec.json.encode(data))
    bench.buffer.publish("checkpoint", {"name": "n", "data": raw})


async def emit(bench: BufferBench, parts: list[str], others: list[int]) -> None:
    """Emit tokens from here and from threads in turn, with other events between them."""
    for number, part in enumerate(parts):
        match others[number % len(others)]:
            case 0:
                bench.token(part)
            case 1:
                await join_threads(in_a_thread(partial(bench.blocking, part)))
            case 2:
                bench.token(part)
                checkpoint(bench, part)
            case _:
                bench.token(part)
                bench.buffer.publish("heartbeat", {})
                await asyncio.sleep(0)


@settings(max_examples=40)
@given(
    patterns(),
    st.text(CHARS, max_size=30),
    st.lists(st.integers(0, 30), max_size=8),
    st.lists(st.integers(0, 3), min_size=1, max_size=5),
)
def test_stored_tokens_are_the_masked_text(
    sources: list[str], text: str, slots: list[int], others: list[int]
) -> None:
    expected = compiled(sources).mask(text)[0]

    async def run() -> list[Entry]:
        async with publishing(sources) as bench:
            await emit(bench, cuts(text, slots), others)
            return await ended(bench)

    assert "".join(contents(asyncio.run(run()))) == expected


async def test_from_many_threads_the_text_is_masked_in_the_order_of_the_numbers() -> None:
    sources = ["zz;", "<[a-f]>"]
    async with publishing(sources) as bench:

        def say(name: str) -> None:
            for number in range(200):
                bench.blocking(f"z;{name}{number}z")  # a match is made of two tokens
                bench.buffer.publish("progress", {"step": f"<{name}>", "progress": 0.5, "message": None})

        await join_threads(*[in_a_thread(partial(say, name)) for name in "abcdef"])
        log = await ended(bench)
    text = "".join(contents(log))
    order = re.findall("[a-f][0-9]+", text)
    assert text == compiled(sources).mask("".join(f"z;{each}z" for each in order))[0]
    assert text.count(MASK) == len(order) - 1
    for name in "abcdef":
        assert [each for each in order if each[0] == name] == [f"{name}{number}" for number in range(200)]
    assert not [entry for entry in log if b"<" in entry.data]


async def test_a_token_that_is_held_back_entirely_takes_no_number() -> None:
    async with publishing([SECRET]) as bench:
        for char in "my secret-1234 and secret-12":
            bench.token(char)
            checkpoint(bench, char)
        log = await ended(bench)
    assert "".join(contents(log)) == f"my {MASK} and secret-12"
    assert contents(log) == ["m", "y", " ", MASK, *" and ", "secret-12"]
    assert [entry.type for entry in log[-2:]] == ["token", "cancelled"]


@pytest.mark.parametrize(
    ("bad", "error"), [("\ud800", NotJSON), ("a" * 2000, ValueError), ("secret-1234" + "\udfff", NotJSON)]
)
async def test_the_filter_does_not_see_what_is_refused(bad: str, error: type[Exception]) -> None:
    async with publishing([SECRET], LimitsSpec(max_event_bytes=1024)) as bench:
        bench.token("a secret-12")
        with pytest.raises(error):
            bench.token(bad)
        bench.token("34!")
        log = await ended(bench)
    assert "".join(contents(log)) == f"a {MASK}!"


async def test_masks_make_no_event_too_large() -> None:
    async with publishing(["x", SECRET, "held.{500}"], LimitsSpec(max_event_bytes=1024)) as bench:
        bench.token("x" * 800)
        checkpoint(bench, ["x"] * 200)
        for _ in range(4):
            bench.token("held" + "\x01" * 100)  # six bytes each
        log = await ended(bench)
    assert "".join(contents(log)) == MASK * 800 + ("held" + "\x01" * 100) * 4
    assert msgspec.json.decode(log[1].data)["data"] == [MASK] * 200


async def test_text_that_is_held_back_at_the_limit_of_events_is_emitted() -> None:
    async with publishing([SECRET], LimitsSpec(max_events_per_run=2)) as bench:
        bench.token("a")
        bench.token("b secret-12")
        log = await ended(bench)
        assert bench.stops == []
    assert contents(log) == ["a", "b ", "secret-12"]


async def test_past_the_limit_of_events_nothing_is_emitted() -> None:
    async with publishing([SECRET], LimitsSpec(max_events_per_run=1)) as bench:
        bench.token("a secret-12")
        bench.token("34")
        assert [stop.kind for stop in bench.stops] == ["limit"]
        log = await ended(bench)
    assert contents(log) == ["a ", "secret-12"]


async def test_a_token_after_the_held_back_text_is_dropped() -> None:
    async with publishing([SECRET]) as bench:
        bench.token("secret-12")
        bench.buffer.publish_held_back()
        bench.token("34")
        log = await ended(bench)
    assert contents(log) == ["secret-12"]


async def test_a_long_match_is_held_in_bounded_memory() -> None:
    async with publishing([r"<[^>]*>"]) as bench:
        bench.token("<")
        for _ in range(1000):
            bench.token("a" * 100)
            (masker,) = bench.buffer.text_filter._streams.values()  # type: ignore[union-attr]
            assert len(masker._text) <= 4200
        bench.token(">b")
        log = await ended(bench)
    assert "".join(contents(log)) == f"{MASK}b"


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("how", ["token", "checkpoint", "too much"])
async def test_with_halt_nothing_follows_a_violation(how: str, *, in_thread: bool) -> None:
    async with publishing([SECRET], max_output_chars=30, halt_on_violation=True) as bench:

        def work() -> None:
            bench.token("a ")
            for part in ("b secret-1", "234 c"):
                if how == "checkpoint" and part.startswith("2"):
                    checkpoint(bench, "secret-1234")
                bench.token(part)
            bench.token("d" * 40)
            checkpoint(bench, "later")
            bench.token("later")

        if how == "too much":
            bench.token("e" * 25)
        await join_threads(in_a_thread(work)) if in_thread else work()
        await wait_until(lambda: bench.stops)
        assert {stop.kind for stop in bench.stops} == {"violation"}
        log = await ended(bench)
    assert not [entry for entry in log if b"secret-1" in entry.data or b"later" in entry.data]
    text = "".join(contents(log))
    assert text == {"token": "a b ", "checkpoint": "a b ", "too much": "e" * 25 + "a b "}[how]
