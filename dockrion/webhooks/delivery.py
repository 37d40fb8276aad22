"""One delivery: what waits for one target of one run, sent in order while its lease is held."""

import asyncio
import logging
import time
from typing import Any

import msgspec

from dockrion.backends.outbox import Delivery, Failures, Lease, Outbox, Undelivered, Waiting
from dockrion.caller import working_for
from dockrion.logs import log
from dockrion.metrics import WebhookMetrics
from dockrion.webhooks import message
from dockrion.webhooks.receivers import Busy, Receivers
from dockrion.webhooks.schedule import Schedule
from dockrion.webhooks.sender import Result, Sender, origin
from dockrion.webhooks.targets import CALLER, Target, Targets

_logger = logging.getLogger("dockrion.webhooks")
_PAGE_EVENTS = 50
_UNKNOWN_SECONDS = 600.0  # until a delivery to a target that this process does not know is looked at again
_LOOK_AGAIN_SECONDS = 0.02
_SPARE_SECONDS = 2.0  # of a lease, beside the time that sending takes


class Delivering(msgspec.Struct, frozen=True):
    """What all deliveries of a process share."""

    outbox: Outbox
    targets: Targets
    sender: Sender
    receivers: Receivers
    schedule: Schedule
    metrics: WebhookMetrics
    lease_seconds: float


class DeliveryTask:
    """Works on a delivery until nothing waits, or it is postponed.

    Args:
        lease: The lease.
        shared: What it shares with others.

    Attributes:
        lease: The lease, None when it is not held any more.
    """

    def __init__(self, lease: Lease, shared: Delivering) -> None:
        self.lease: Lease | None = lease
        self._delivery: Delivery = lease.delivery
        self._shared = shared
        self._outbox = shared.outbox
        self._expires_at = 0.0  # of the lease, on this process's clock
        self._empty_looks = 0  # in succession
        self._dropped = 0  # events that are not reported as lost yet
        self._clock_offset = 0.0  # from that clock to the backend's

    async def run(self) -> None:
        """Deliver.

        Raises:
            ServiceUnavailable: The outbox cannot be reached; the lease expires.
        """
        while self.lease is not None:
            await self._deliver_page(self.lease)

    async def _deliver_page(self, lease: Lease) -> None:
        """Deliver the oldest events that wait, up to the first that cannot be delivered now."""
        found = await self._look(lease)
        if not found.events:
            self.lease = await self._outbox.finish(lease)
            if self.lease is not None:  # there is an event, or it is still on its way to the storage
                await asyncio.sleep(_LOOK_AGAIN_SECONDS * self._empty_looks)
                self._empty_looks += 1
            return
        self._empty_looks = 0
        target = self._shared.targets.get(self._delivery.target)
        if target is None:  # of another version of the Dockfile, which another replica may have
            await self._postpone(_UNKNOWN_SECONDS, found.events[0])
            return
        if target.name in self._shared.receivers.gone:
            await self._give_up(found.events[0], target, "the target is gone")
            return
        failures = found.failures
        for event in found.events:
            if not await self._deliver_event(event, target, failures):
                return
            failures = None

    def _now(self) -> float:
        """Return the time on the backend's clock."""
        return time.monotonic() + self._clock_offset

    async def _look(self, lease: Lease) -> Undelivered:
        asked_at = time.monotonic()
        found = await self._outbox.undelivered(self._delivery, _PAGE_EVENTS)
        self._dropped = found.dropped
        self._clock_offset = found.now - asked_at
        self._expires_at = lease.until / 1_000_000 - self._clock_offset
        return found

    async def _deliver_event(self, event: Waiting, target: Target, failures: Failures | None) -> bool:
        """Deliver an event, postpone it, or give up on all that waits; return whether it is delivered."""
        url = target.url or event.url or ""
        receiver = self._shared.receivers.get(origin(url))
        try:
            async with receiver.slot():
                if not await self._extend_lease(event):
                    return False
                content = message.encode(self._delivery, event.entry, url)
                by_caller = target.name == CALLER
                result = await self._shared.sender.send(
                    url, target.secret, content, by_caller=by_caller, request=event.request
                )
                receiver.responded(successfully=result.outcome == "delivered")
        except Busy as busy:
            await self._wait_for_receiver(event, target, busy.seconds)
            return False
        if result.outcome != "delivered":
            await self._fail(event, target, failures, result)
            return False
        self._shared.metrics.count("delivered")
        await self._advance(event, target)
        return True

    async def _advance(self, event: Waiting, target: Target) -> None:
        """Record that an event and those before it are delivered, or given up on."""
        if self._dropped:
            self._report_lost(self._dropped, "too much waited", event, target)
            self._dropped = 0
        await self._outbox.delivered(self._delivery, event.position)

    async def _wait_for_receiver(self, event: Waiting, target: Target, seconds: float) -> None:
        """Try again later, or give up on what has waited for as long as it may."""
        if self._shared.schedule.is_over(event.since, self._now()):
            await self._give_up(event, target, "the receiver is away")
        else:
            await self._postpone(seconds, event)

    async def _fail(self, event: Waiting, target: Target, failures: Failures | None, result: Result) -> None:
        """Try again later, or give up."""
        self._shared.metrics.count("failed")
        now = self._now()
        failures = Failures(1, now) if failures is None else Failures(failures.count + 1, failures.since)
        pause = self._shared.schedule.pause(failures, now, result.retry_after)
        if result.outcome == "gone" or pause is None:
            if result.outcome == "gone" and target.name != CALLER:
                self._shared.receivers.gone.add(target.name)
            await self._give_up(event, target, result.reason, attempts=failures.count)
            return
        fields = {"reason": result.reason, "attempts": failures.count, "next_seconds": round(pause, 1)}
        self._log(logging.INFO, "webhook not delivered", event, target, fields)
        await self._outbox.failed(self._delivery, failures)
        await self._postpone(pause, event)

    async def _give_up(self, first: Waiting, target: Target, reason: str, **fields: Any) -> None:
        """Give up on whatever waits."""
        number = 0
        while self.lease is not None and (found := await self._look(self.lease)).events:
            number += len(found.events)
            await self._advance(found.events[-1], target)
            await self._extend_lease(found.events[-1])
        if number:
            self._report_lost(number, reason, first, target, **fields)

    def _report_lost(self, number: int, reason: str, first: Waiting, target: Target, **fields: Any) -> None:
        self._shared.metrics.count("given_up", number)
        self._log(
            logging.WARNING, "webhook given up", first, target, {"events": number, "reason": reason, **fields}
        )

    def _log(self, level: int, text: str, event: Waiting, target: Target, fields: dict[str, Any]) -> None:
        receiver = origin(target.url or event.url or "")
        with working_for(event.request):
            log(_logger, level, text, run_id=self._delivery.run_id, receiver=receiver, **fields)

    async def _extend_lease(self, event: Waiting) -> bool:
        """Extend the lease if sending may take longer than it lasts; return whether it is still held."""
        shared = self._shared
        if (
            self.lease is not None
            and time.monotonic() + shared.sender.seconds + _SPARE_SECONDS > self._expires_at
        ):
            self._expires_at = time.monotonic() + shared.lease_seconds
            self.lease = await self._outbox.postpone(self.lease, shared.lease_seconds, event.since)
        return self.lease is not None

    async def _postpone(self, seconds: float, event: Waiting) -> None:
        if self.lease is not None:
            await self._outbox.postpone(self.lease, seconds, event.since)
            self.lease = None
