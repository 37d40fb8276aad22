"""Properties of the log over random interleavings of a writer and its readers."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from dockrion.backends import Backend
from dockrion.backends.follow import follow
from dockrion.events import Entry
from tests.backends.conformance import BACKENDS, TIMEOUT_SECONDS, Writer, begin


@dataclass(frozen=True)
class Plan:
    """How one reader behaves.

    Attributes:
        start: The position it joins at, as a part of what is written then (1.0 is the end).
        join: The step of the writer before which it joins.
        slowness: How many turns of the loop it takes for each page.
        leaves: After how many turns it is cancelled, each time; it then resumes.
        absent: How many turns it stays away.
    """

    start: float
    join: int
    slowness: int
    leaves: list[int]
    absent: int


@dataclass
class Reader:
    backend: Backend
    writer: Writer
    plan: Plan
    start: int = 0
    got: list[Entry] = field(default_factory=list)
    holes: list[tuple[int, int]] = field(default_factory=list)
    ended: bool = False

    @property
    def position(self) -> int:
        return self.got[-1].sequence if self.got else self.start

    async def live(self) -> None:
        """Join, read, be cancelled, resume, and read to the end."""
        self.start = int(self.plan.start * self.writer.run.last_sequence)
        for turns in self.plan.leaves:
            task = asyncio.create_task(self.read())
            await pause(turns)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await pause(self.plan.absent)
        await self.read()
        self.ended = True

    async def read(self) -> None:
        async with follow(self.backend, self.writer.run_id, self.position, idle=TIMEOUT_SECONDS) as pages:
            async for page in pages:
                assert page.entries, "idle in a run that ends at once"
                first = page.entries[0].sequence
                assert first > self.position, "the reader does not move on"
                if first != self.position + 1:
                    self.holes.append((self.position + 1, first))
                self.got.extend(page.entries)
                await pause(self.plan.slowness)


async def pause(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


plans = st.builds(
    Plan,
    start=st.sampled_from([0.0, 0.0, 0.5, 0.9, 1.0]),
    join=st.integers(0, 12),
    slowness=st.integers(0, 12),
    leaves=st.lists(st.integers(0, 15), max_size=4),
    absent=st.integers(0, 10),
)
# What the writer does: a batch of so many events, then so many turns of the loop.
batches = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 6)), max_size=12)
laws = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def play(
    backend: Backend, steps: list[tuple[int, int]], plans: list[Plan]
) -> tuple[Writer, list[Reader]]:
    """Let the writer and the readers act; return when all have ended."""
    writer = await begin(backend)
    readers = [Reader(backend, writer, plan) for plan in plans]
    async with asyncio.timeout(TIMEOUT_SECONDS), asyncio.TaskGroup() as group:
        for number, (events, turns) in enumerate(steps):
            for reader in readers:
                if reader.plan.join == number:
                    group.create_task(reader.live())
            await writer.write(events)
            await pause(turns)
        await writer.finish()
        for reader in readers:
            if reader.plan.join >= len(steps):
                group.create_task(reader.live())
    return writer, readers


@pytest.mark.parametrize("name", sorted(BACKENDS))
@laws
@given(steps=batches, plans=st.lists(plans, min_size=1, max_size=5))
async def test_without_trimming_every_reader_gets_everything_once(
    name: str, steps: list[tuple[int, int]], plans: list[Plan]
) -> None:
    async with BACKENDS[name](100_000) as backend:
        writer, readers = await play(backend, steps, plans)
        log = (await backend.read(writer.run_id, 0, 100_000)).entries
    for reader in readers:
        assert reader.ended
        assert reader.holes == []
        assert list(reader.got) == list(log[reader.start :])


@pytest.mark.parametrize("name", sorted(BACKENDS))
@laws
@given(window=st.integers(1, 15), steps=batches, plans=st.lists(plans, min_size=1, max_size=5))
async def test_with_trimming_every_hole_is_what_the_window_dropped(
    name: str, window: int, steps: list[tuple[int, int]], plans: list[Plan]
) -> None:
    async with BACKENDS[name](window) as backend:
        writer, readers = await play(backend, steps, plans)
    last = writer.run.last_sequence
    oldest_held = _oldest_held(steps, window)
    copies: dict[int, Entry] = {}
    for reader in readers:
        assert reader.ended
        got = [entry.sequence for entry in reader.got]
        assert got == sorted(set(got)), "twice, or out of order"
        assert reader.position == last
        missing = set(range(reader.start + 1, last + 1)) - set(got)
        assert missing == {n for wanted, first in reader.holes for n in range(wanted, first)}
        for wanted, first in reader.holes:
            event("hole")
            assert wanted < first
            assert first in oldest_held, "the page did not start at the oldest that was held"
        for entry in reader.got:
            assert copies.setdefault(entry.sequence, entry) == entry


def _oldest_held(steps: list[tuple[int, int]], window: int) -> set[int]:
    """Return the oldest sequence of the window after each batch and after the terminal event."""
    oldest, last = set(), 0
    for events in (*(events for events, _ in steps), 1):
        last += events
        oldest.add(max(1, last - window + 1))
    return oldest


@pytest.mark.parametrize("name", sorted(BACKENDS))
@laws
@given(steps=batches, waits=st.lists(st.integers(0, 20), min_size=1, max_size=8))
async def test_record_never_lags_behind_what_was_read(
    name: str, steps: list[tuple[int, int]], waits: list[int]
) -> None:
    async with BACKENDS[name](100_000) as backend:
        writer = await begin(backend)

        async def check(turns: int) -> None:
            await pause(turns)
            async with follow(backend, writer.run_id, 0, idle=TIMEOUT_SECONDS) as pages:
                async for page in pages:
                    run = await backend.get(writer.run_id)
                    assert run.last_sequence >= page.entries[-1].sequence
                    assert run.finished or page.entries[-1].type != "complete"

        async with asyncio.timeout(TIMEOUT_SECONDS), asyncio.TaskGroup() as group:
            for turns in waits:
                group.create_task(check(turns))
            for events, turns in steps:
                await writer.write(events)
                await pause(turns)
            await writer.finish()
