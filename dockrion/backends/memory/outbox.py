"""The outbox in the memory of this process."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from dockrion.backends.outbox import Copying, Delivery, Failures, Lease, Overdue, Undelivered, Waiting
from dockrion.backends.pages import PAGE_BYTES
from dockrion.backends.run_log import Run
from dockrion.caller import CallerRequest
from dockrion.events import Entry
from dockrion.logs import log

_logger = logging.getLogger(__name__)
_EVENT_BYTES = 1000  # of an event that waits, beside its data


class _Queue(msgspec.Struct, eq=False):
    """A delivery: until when it is leased, the events that wait by their number, and what has happened."""

    until: int
    events: dict[int, Waiting] = msgspec.field(default_factory=dict)
    failures: Failures | None = None
    dropped: int = 0


class MemoryOutbox:
    """The outbox. Implements `Outbox`, whose docstrings apply.

    Args:
        copying: Says which events are copied.
        lease_seconds: How long a lease lasts.
        max_bytes: How much memory the events may take that wait; beyond it the oldest are dropped.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        copying: Copying,
        lease_seconds: float,
        max_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._copying = copying
        self._lease = round(lease_seconds * 1_000_000)
        self._max_bytes = max_bytes
        self._clock = clock
        self._queues: dict[Delivery, _Queue] = {}
        self._order: dict[int, Delivery] = {}  # the delivery of each event that waits, by the event's number
        self._number = 0
        self._bytes = 0
        self._appended: asyncio.Queue[Lease] = asyncio.Queue()

    def copy(self, run: Run, entries: Sequence[Entry]) -> None:
        """Copy the events of a batch that was stored now."""
        request = run.request
        for copy in self._copying(run, entries):
            for target in copy.targets:
                delivery = Delivery(run.run_id, run.incarnation, target)
                self._add(delivery, copy.entry, run.webhook_url, request)
        while self._bytes > self._max_bytes and len(self._order) > 1:
            number = next(iter(self._order))
            queue = self._queues[self._order[number]]
            self._remove(queue, number)
            queue.dropped += 1

    def close(self) -> None:
        """Log what is lost, since this process ends."""
        if self._order:
            log(_logger, logging.WARNING, "webhooks lost at the end of the process", events=len(self._order))

    async def appended(self) -> AsyncIterator[Lease]:
        while True:
            yield await self._appended.get()

    async def claim(self, limit: int) -> Overdue:
        now = self._now()
        overdue = [delivery for delivery, queue in self._queues.items() if queue.until <= now]
        overdue.sort(key=lambda delivery: self._queues[delivery].until)
        leases = [self._leased(delivery, self._lease) for delivery in overdue[:limit]]
        return Overdue(leases, len(self._queues), self._oldest_seconds())

    async def undelivered(self, delivery: Delivery, limit: int) -> Undelivered:
        queue = self._queues.get(delivery, _Queue(0))
        events: list[Waiting] = []
        size = 0
        for event in queue.events.values():
            size += len(event.entry.data)
            if len(events) == limit or (events and size > PAGE_BYTES):
                break
            events.append(event)
        return Undelivered(self._clock(), events, queue.failures, queue.dropped)

    async def delivered(self, delivery: Delivery, position: str) -> None:
        if (queue := self._queues.get(delivery)) is not None:
            for number in [number for number in queue.events if number <= int(position)]:
                self._remove(queue, number)
            queue.failures, queue.dropped = None, 0

    async def failed(self, delivery: Delivery, failures: Failures) -> None:
        if (queue := self._queues.get(delivery)) is not None:
            queue.failures = failures

    async def postpone(self, lease: Lease, seconds: float, since: float | None = None) -> Lease | None:  # noqa: ARG002  known here
        if self._holds(lease):
            return self._leased(lease.delivery, max(round(seconds * 1_000_000), 0))
        return None

    async def finish(self, lease: Lease) -> Lease | None:
        if not self._holds(lease):
            return None
        queue = self._queues[lease.delivery]
        if queue.events:
            return lease
        del self._queues[lease.delivery]
        return None

    def _add(self, delivery: Delivery, entry: Entry, url: str | None, request: CallerRequest) -> None:
        queue = self._queues.get(delivery)
        if queue is None:
            queue = self._queues[delivery] = _Queue(0)
            self._appended.put_nowait(self._leased(delivery, self._lease))
        self._number += 1
        queue.events[self._number] = Waiting(str(self._number), self._clock(), entry, url, request)
        self._order[self._number] = delivery
        self._bytes += _EVENT_BYTES + len(entry.data)

    def _remove(self, queue: _Queue, number: int) -> None:
        event = queue.events.pop(number)
        del self._order[number]
        self._bytes -= _EVENT_BYTES + len(event.entry.data)

    def _now(self) -> int:
        return round(self._clock() * 1_000_000)

    def _oldest_seconds(self) -> float:
        for number, delivery in self._order.items():
            return self._clock() - self._queues[delivery].events[number].since
        return 0.0

    def _holds(self, lease: Lease) -> bool:
        queue = self._queues.get(lease.delivery)
        return queue is not None and queue.until == lease.until

    def _leased(self, delivery: Delivery, duration: int) -> Lease:
        until = self._queues[delivery].until = self._now() + duration
        return Lease(delivery, until)
