"""The runs and invocations of this process that are not over, and the slots that their agents work in."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from dockrion.backends.owner_messages import RunRef
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import RunExists, TooManyRuns
from dockrion.ids import new_incarnation
from dockrion.runs.execution import Execution
from dockrion.runs.external_events import PRODUCER_SEQ
from dockrion.runs.outcome import Stop
from dockrion.runs.session import RunSession
from dockrion.runs.tracing import RunSpan

Slot = asyncio.Future[None]


class Slots:
    """A bounded number of slots, and a bounded queue of those who wait for one, first come, first served.

    Must be made on the event loop.

    Args:
        slots: How many may be held at once.
        queue: How many may wait.

    Attributes:
        on_freed: Called when a slot is free that nobody here waits for.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self.on_freed: Callable[[], None] | None = None
        self._free = slots
        self._queue = queue
        # Since when, in their order; the first of a dict is found by passing over all that were removed.
        self._waiting: OrderedDict[Slot, float] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self._granted: Slot = self._loop.create_future()  # shared by all who do not wait
        self._granted.set_result(None)

    @property
    def free(self) -> int:
        """How many slots nobody holds."""
        return self._free

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._waiting)

    @property
    def oldest_seconds(self) -> float:
        """For how long the first of them has waited, 0 if nobody waits."""
        since = next(iter(self._waiting.values()), None)
        return 0.0 if since is None else self._loop.time() - since

    def reserve_free(self, most: int) -> list[Slot]:
        """Take free slots without waiting, perhaps none."""
        count = min(self._free, most)
        self._free -= count
        return [self._granted] * count

    def reserve(self) -> Slot:
        """Take a slot, or a position in the queue; the future is done when the slot is granted.

        Either is returned with `release`.

        Raises:
            TooManyRuns: The queue is full.
        """
        if self._free:
            self._free -= 1
            return self._granted
        if len(self._waiting) >= self._queue:
            raise TooManyRuns(f"{len(self._waiting)} runs are waiting already; try again later")
        slot: Slot = self._loop.create_future()
        self._waiting[slot] = self._loop.time()
        return slot

    def release(self, slot: Slot) -> None:
        """Return a slot, or a position in the queue."""
        if not slot.done():
            del self._waiting[slot]
            slot.cancel()
        elif self._waiting:
            first, _ = self._waiting.popitem(last=False)
            first.set_result(None)
        else:
            self._free += 1
            if self.on_freed is not None:
                self.on_freed()


class InFlightRun(msgspec.Struct, eq=False):
    """A run or an invocation, from its admission until it is over. Must be made on the event loop.

    Attributes:
        run_id: Its id.
        incarnation: Tells it from other runs with its id.
        slot: Done when its agent may start.
        created: Done when its record is stored, or cannot be.
        changed: Set when its executor has to check again: its slot, its agent, its buffer, its stop.
        stop: Why its agent has to stop, None while it may continue.
        session: The service's side of its context, while its agent works.
        execution: Its agent at work, while it does.
        producer_seq: The number of the last batch that another process pushed.
        unlisted: Whether only its creator knows of it.
        waited: Whether it had to wait for its slot.
        span: Its span, None if nobody follows it in a trace.
    """

    run_id: str
    incarnation: str
    slot: Slot
    created: asyncio.Future[None]
    changed: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    stop: Stop | None = None
    session: RunSession | None = None
    execution: Execution | None = None
    producer_seq: int = 0
    unlisted: bool = False
    waited: bool = False
    span: RunSpan | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """What the record of the finished run says in addition."""
        return {PRODUCER_SEQ: self.producer_seq} if self.producer_seq else {}

    @property
    def decided(self) -> bool:
        """Whether its outcome is decided."""
        return self.stop is not None or (self.execution is not None and self.execution.decided)

    def stop_for(self, stop: Stop) -> None:
        """Stop it. The first reason is the one that counts."""
        if self.stop is not None:
            return
        self.stop = stop
        if self.span is not None and stop.kind == "cancelled":
            self.span.cancel(stop.reason)
        if self.execution is not None:
            self.execution.stop(stop)
        self.changed.set()

    async def wait_changed(self) -> None:
        """Wait until something has changed since the last call."""
        await self.changed.wait()
        self.changed.clear()

    async def wait_for_slot(self, limit: float | None) -> bool:
        """Wait for the slot; return whether it was granted before a stop and before the limit.

        Args:
            limit: Seconds, None for no limit.
        """
        if not self.slot.done():
            self.slot.add_done_callback(lambda _: self.changed.set())
            with suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    while not self.slot.done() and self.stop is None:
                        await self.wait_changed()
        return self.slot.done() and self.stop is None

    async def wait_until_stopped(self, stop: Stop) -> None:
        """Stop it, and wait until its agent has ended or has had the time to."""
        self.stop_for(stop)
        while self.execution is not None and not self.execution.over:
            await self.wait_changed()


class InFlightRuns:
    """Every run and invocation of this process that is not over. Must be made on the event loop.

    Args:
        slots: Where their agents work.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._all: set[InFlightRun] = set()
        self._by_id: dict[str, InFlightRun] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._loop = asyncio.get_running_loop()
        self._ending = BackgroundTasks()  # stopped agents that still clean up

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[InFlightRun]:
        return iter(tuple(self._all))

    def get(self, run_id: str, incarnation: str | None = None) -> InFlightRun | None:
        """Return a run that is not over by its id; never an invocation.

        Args:
            run_id: Its id.
            incarnation: Its incarnation, None for any.
        """
        run = self._by_id.get(run_id)
        return run if run is not None and incarnation in (None, run.incarnation) else None

    def admit(self, run_id: str, incarnation: str | None = None) -> InFlightRun:
        """Take a slot, or a position in the queue, for a new run or invocation.

        Args:
            run_id: Its id.
            incarnation: Its incarnation, None for a new one.

        Raises:
            TooManyRuns: The queue is full.
        """
        incarnation = incarnation or new_incarnation()
        slot = self._slots.reserve()
        run = InFlightRun(run_id, incarnation, slot, self._loop.create_future(), waited=not slot.done())
        self._all.add(run)
        self._idle.clear()
        return run

    def stop(self, which: RunRef, stop: Stop) -> None:
        """Stop a run, if it is one of this process that is not over."""
        if (run := self.get(which.run_id, which.incarnation)) is not None:
            run.stop_for(stop)

    def admit_created(self, run_id: str, incarnation: str, slot: Slot) -> InFlightRun:
        """Admit a run from the queue of all replicas, with a slot that it gets."""
        run = InFlightRun(run_id, incarnation, slot, self._loop.create_future(), waited=True)
        run.created.set_result(None)
        self._all.add(run)
        self._by_id[run_id] = run
        self._idle.clear()
        return run

    async def claim_id(self, run: InFlightRun) -> None:
        """Make a run available under its id, before its record is stored and others can cancel it.

        Raises:
            RunExists: Another run of this process has the id.
        """
        while (other := self._by_id.get(run.run_id)) is not None:
            await asyncio.wait((other.created,))
            if other.created.exception() is None:
                raise RunExists(run.run_id)
        self._by_id[run.run_id] = run

    def release(self, run: InFlightRun) -> None:
        """Forget what is over. An agent that has not ended holds its slot until it has."""
        execution = run.execution
        if execution is None or execution.task.done():
            self._slots.release(run.slot)
        else:
            slot = run.slot
            self._ending.track(execution.task)
            execution.task.add_done_callback(lambda _: self._slots.release(slot))
        run.session = run.execution = None  # they refer to the run: a cycle would wait for the collector
        if self._by_id.get(run.run_id) is run:
            del self._by_id[run.run_id]
        self._all.discard(run)
        if not self._all:
            self._idle.set()

    def release_when_over(self, run: InFlightRun) -> None:
        """Forget an invocation, whose caller does not wait until a stopped agent has cleaned up."""
        if run.execution is None or run.execution.over:
            self.release(run)
        else:
            self._ending.track(self._loop.create_task(self._release_later(run, run.execution)))

    async def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is in flight; return whether that was so in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
                return True
        return False

    async def _release_later(self, run: InFlightRun, execution: Execution) -> None:
        while not execution.over:
            await run.wait_changed()
        self.release(run)
