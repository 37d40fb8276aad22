"""Properties of runs whose ids are used again, over random interleavings of all who know an id."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count

import msgspec
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from dockrion.backends import Backend, follow, owner_messages
from dockrion.backends.owner_messages import CancelRequest
from dockrion.backends.redis import RedisBackend
from dockrion.backends.run_log import Run
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import BackendError, RunExists, RunNotFound, ServiceUnavailable, TooManySubscribers
from dockrion.events import Entry
from dockrion.ids import new_incarnation
from tests.backends.conformance import (
    BACKENDS,
    FORGETTING,
    TIMEOUT_SECONDS,
    advanced,
    delete_keys,
    forget,
    new_run,
    replica,
)

ID = "report"
LIMIT = 8
_numbers = count(1)


class _Event(msgspec.Struct):
    incarnation: str
    sequence: int


class Writer:
    """The writer of one incarnation, whose name is in the data of each of its events."""

    def __init__(self, backend: Backend, run: Run) -> None:
        self.backend = backend
        self.run = run

    async def write(self, events: int, *, last: bool = False) -> None:
        first = self.run.last_sequence + 1
        entries = [self._entry(number, "token") for number in range(first, first + events)]
        if last:
            entries.append(self._entry(first + events, "complete"))
        run = advanced(self.run, entries[-1].sequence, "completed" if last else "running")
        await self.backend.append(run, entries)
        self.run = run

    async def force_close(self) -> None:
        run = advanced(self.run, self.run.last_sequence + 1, "failed")
        await self.backend.force_close(run, self._entry(run.last_sequence, "error"))
        self.run = run

    def _entry(self, sequence: int, kind: str) -> Entry:
        data = msgspec.json.encode(_Event(self.run.incarnation, sequence))
        return Entry(sequence, kind, data, 1_000.0 + sequence)


class World:
    """A service whose replicas, writers and readers all use one run id.

    Args:
        replicas: The replicas; one alone if the backend has no others.
    """

    def __init__(self, replicas: list[Backend]) -> None:
        self.replicas = replicas
        self.writers: list[Writer] = []  # of all incarnations, oldest first
        self.known: list[Run] = []  # records that somebody has read at some time
        self.cancels: list[CancelRequest] = []
        self.requested: set[tuple[str, str]] = (
            set()
        )  # the incarnations whose cancel was requested, with reasons
        self.tasks: list[asyncio.Task[None]] = []  # readers, and requests to owners
        self.listeners = BackgroundTasks()
        for each in replicas:
            self.listeners.start(self._listen_for_cancels(each))
            self.listeners.start(self._reply(each))

    def replica(self, number: int) -> Backend:
        return self.replicas[number % len(self.replicas)]

    def past(self, number: int) -> Run | None:
        return self.known[number % len(self.known)] if self.known else None

    async def create(self, number: int) -> None:
        """Use the id; refused while a run has it."""
        backend = self.replica(number)
        run = msgspec.structs.replace(new_run(ID), incarnation=new_incarnation())
        try:
            await backend.create(run)
        except RunExists:
            return
        self.writers.append(Writer(backend, run))
        event(f"incarnation {len(self.writers)}")

    async def get(self, number: int) -> None:
        """Learn what is stored now, for use at any later time."""
        try:
            self.known.append(await self.replica(number).get(ID))
        except RunNotFound:
            return

    async def write(self, number: int) -> None:
        """Append as the writer of any incarnation: only the current one may."""
        if not self.writers:
            return
        writer = self.writers[-1 - number % min(len(self.writers), 3)]
        try:
            if number % 7 == 6:
                await writer.force_close()
            else:
                await writer.write(number % 40, last=number % 5 == 4) if number % 40 else None
        except (BackendError, RunNotFound):
            event("write refused")

    async def read(self, number: int) -> None:
        """Start a reader, of the run that has the id now or of one known from an earlier time."""
        run = self.past(number) if number % 3 else None
        after = number % (run.last_sequence + 1) if run is not None else 0
        limit = LIMIT if number % 2 else None
        self.tasks.append(asyncio.create_task(self._read(self.replica(number), run, after, limit)))

    async def cancel(self, number: int) -> None:
        """Cancel a run that was known at an earlier time."""
        if (run := self.past(number)) is None:
            return
        reason = f"of {run.incarnation}"
        self.requested.add((run.incarnation, reason))
        try:
            await self.replica(number).request_cancel(ID, reason, run.incarnation)
        except RunNotFound:
            event("cancel refused")

    async def request(self, number: int) -> None:
        """Send a request to the owner of a run that was known at an earlier time, and check who replies."""
        if (run := self.past(number)) is not None:
            request = self._request(self.replica(number), run.incarnation)
            self.tasks.append(asyncio.create_task(request))

    async def forget(self, number: int) -> None:
        """Free the id. Memory forgets only finished runs."""
        backend = self.replica(0)
        try:
            run = await backend.get(ID)
        except RunNotFound:
            return
        if run.finished or isinstance(backend, RedisBackend):
            await forget(backend, ID, FORGETTING[number % len(FORGETTING)])

    async def replace(self, number: int) -> None:
        """End the current run, free its id, and use it again."""
        if self.writers:
            with suppress(BackendError, RunNotFound):
                await self.writers[-1].write(number % 30, last=True)
        await self.forget(number)
        await self.create(number)

    async def check_limit(self) -> None:
        """Check that readers of earlier incarnations do not count for the current one."""
        await self.create(0)
        async with AsyncExitStack() as stack:
            for _ in range(LIMIT):
                await stack.enter_async_context(self.replica(1).watch(ID, limit=LIMIT))
            with pytest.raises(TooManySubscribers):
                await stack.enter_async_context(self.replica(0).watch(ID, limit=LIMIT))

    async def end(self) -> None:
        """End the current run, and wait until every reader has ended."""
        for writer in self.writers:
            with suppress(BackendError, RunNotFound):
                await writer.write(1, last=True)
        for backend in self.replicas:
            if isinstance(backend, RedisBackend):
                await backend._work.work_once()  # restores what a flush has deleted
                backend._subscriptions.wake_all()  # as when they have waited for their heartbeat interval
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await asyncio.gather(*self.tasks)

    async def _read(self, backend: Backend, run: Run | None, after: int, limit: int | None) -> None:
        expected = None if run is None else run.incarnation
        position = after
        try:
            async with follow.follow(
                backend, ID, after, expected, idle=TIMEOUT_SECONDS, limit=limit
            ) as pages:
                expected = expected or pages.incarnation
                async for page in pages:
                    read = [msgspec.json.decode(entry.data, type=_Event) for entry in page.entries]
                    assert {each.incarnation for each in read} == {expected}, "another run's events"
                    assert [each.sequence for each in read] == [entry.sequence for entry in page.entries]
                    assert page.entries[0].sequence > position
                    position = page.entries[-1].sequence
            event("read to the end")
        except (RunNotFound, TooManySubscribers) as error:
            event(f"reader: {type(error).__name__}")

    async def _request(self, backend: Backend, incarnation: str) -> None:
        try:
            reply = await backend.request_owner(ID, incarnation.encode(), incarnation)
        except (RunNotFound, ServiceUnavailable):
            return
        assert reply == incarnation.encode()

    async def _listen_for_cancels(self, backend: Backend) -> None:
        async for request in backend.cancel_requests():
            self.cancels.append(request)

    async def _reply(self, backend: Backend) -> None:
        async for request in backend.owner_requests():
            assert request.incarnation == request.body.decode()
            await request.reply(request.body)


@asynccontextmanager
async def world(kind: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        if kind == "memory":
            replicas = [await stack.enter_async_context(BACKENDS[kind](50))]
        else:
            agent = f"incarnations-{next(_numbers)}-{new_incarnation()}"
            stack.callback(delete_keys, kind, agent)
            replicas = [await stack.enter_async_context(replica(kind, agent, 50)) for _ in range(2)]
        made = World(list(replicas))
        stack.push_async_callback(made.listeners.cancel_until_done)
        try:
            yield made
        finally:
            for task in made.tasks:
                task.cancel()
            await asyncio.gather(*made.tasks, return_exceptions=True)


ACTIONS = {
    "create": World.create,
    "get": World.get,
    "write": World.write,
    "read": World.read,
    "cancel": World.cancel,
    "request": World.request,
    "forget": World.forget,
    "replace": World.replace,
}
# What is done, with a number that decides the details, and how many turns of the loop pass after it.
steps = st.lists(
    st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(0, 1000), st.sampled_from([0, 0, 1, 3, 30])),
    max_size=30,
)
CACHED = [("create", 0, 0), ("write", 39, 3), ("read", 3, 30)]
AGAIN = [("forget", 0, 0), ("create", 0, 0), ("write", 39, 3), ("read", 3, 30)]
LATE = [("cancel", 0, 0), ("request", 0, 3), ("read", 1, 30), ("write", 1, 0)]


@pytest.mark.parametrize("kind", sorted(BACKENDS))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
@example(steps=[*CACHED, *AGAIN])
@example(steps=[*CACHED, ("get", 0, 0), *AGAIN, *LATE])
async def test_nothing_of_one_run_reaches_another_with_its_id(
    kind: str, steps: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_RECREATED_SECONDS", 0.02)
    monkeypatch.setattr(owner_messages, "_REPLY_SECONDS", 0.1)
    async with world(kind) as made:
        for action, number, turns in steps:
            await ACTIONS[action](made, number)
            for _ in range(turns):
                await asyncio.sleep(0)
        await made.end()
        await made.check_limit()
        assert {(each.incarnation, each.reason) for each in made.cancels} <= made.requested
