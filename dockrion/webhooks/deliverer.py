"""Delivers what waits in the outbox, at least once, and in order for each run and target.

Each delivery is a task of its own. It is begun when this replica has stored an event, or when it is overdue,
whoever stored that: all replicas look for such deliveries every `POLL_SECONDS`. After a failure a delivery is
postponed and its task ends. No run or stream awaits anything here.
"""

import asyncio
import logging
from contextlib import suppress

from dockrion.backends.outbox import LEASE_SECONDS, Lease, Outbox
from dockrion.background_tasks import BackgroundTasks
from dockrion.errors import CorruptLog, ServiceUnavailable
from dockrion.logs import log
from dockrion.metrics import WebhookMetrics
from dockrion.webhooks.delivery import Delivering, DeliveryTask
from dockrion.webhooks.receivers import Receivers
from dockrion.webhooks.schedule import Schedule
from dockrion.webhooks.sender import Sender
from dockrion.webhooks.targets import Targets

_logger = logging.getLogger("dockrion.webhooks")
POLL_SECONDS = 2.0
_MAX_TASKS = 2000  # what is more stays in the outbox
_CLAIMED = 100  # deliveries, by one look


class Deliverer:
    """Delivers webhooks. Must be made on the event loop.

    Args:
        outbox: Where they wait.
        targets: Where they go.
        sender: Sends them; closed with this.
        metrics: Counts them.
        schedule: When to try again.
        lease_seconds: How long the leases of the outbox last.
        poll_seconds: The pause between two looks at what is overdue.

    Attributes:
        waiting: How many deliveries wait for anything, as of the last look.
        oldest_seconds: How long the oldest event has waited.
    """

    def __init__(
        self,
        outbox: Outbox,
        targets: Targets,
        sender: Sender,
        metrics: WebhookMetrics,
        *,
        schedule: Schedule | None = None,
        lease_seconds: float = LEASE_SECONDS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._metrics = metrics
        self.waiting, self.oldest_seconds = 0, 0.0
        self._poll_seconds = poll_seconds
        self._shared = Delivering(
            outbox, targets, sender, Receivers(), schedule or Schedule(), metrics, lease_seconds
        )
        self._deliveries: set[DeliveryTask] = set()
        self._tasks = BackgroundTasks()
        self._listeners = BackgroundTasks()
        self._listeners.start(self._listen())
        self._listeners.start(self._poll())

    async def aclose(self, grace: float) -> None:
        """Stop, and leave to other replicas what is not delivered.

        Args:
            grace: How long deliveries that are under way may go on, in seconds.
        """
        await asyncio.sleep(0)  # what was stored last is begun
        if len(self._tasks):
            await asyncio.wait(list(self._tasks), timeout=grace)
        await self._listeners.cancel_until_done()
        await self._tasks.cancel_until_done()
        with suppress(ServiceUnavailable, CorruptLog, TimeoutError):
            async with asyncio.timeout(grace):
                for delivery in self._deliveries:
                    if delivery.lease is not None:
                        await self._outbox.postpone(delivery.lease, 0)
        await self._sender.aclose()

    async def _listen(self) -> None:
        async for lease in self._outbox.appended():
            self._begin(lease)

    async def _poll(self) -> None:
        while True:
            more = False
            try:
                more = await self._claim()
            except (ServiceUnavailable, CorruptLog):
                pass  # the backend logs why
            except Exception as error:  # others must not wait because of one
                log(_logger, logging.ERROR, "webhooks cannot be looked for", error=error)
            await asyncio.sleep(0 if more else self._poll_seconds)

    async def _claim(self) -> bool:
        """Begin deliveries that are overdue; return whether there may be more."""
        room = min(_MAX_TASKS - len(self._tasks), _CLAIMED)
        overdue = await self._outbox.claim(max(room, 0))
        self._metrics.show_waiting(overdue.waiting, overdue.oldest_seconds)
        self.waiting, self.oldest_seconds = overdue.waiting, overdue.oldest_seconds
        for lease in overdue.leases:
            self._begin(lease)
        return len(overdue.leases) == room > 0

    def _begin(self, lease: Lease) -> None:
        if len(self._tasks) < _MAX_TASKS:  # else the lease expires, and then it is claimed
            self._tasks.start(self._work(DeliveryTask(lease, self._shared)))

    async def _work(self, delivery: DeliveryTask) -> None:
        self._deliveries.add(delivery)
        try:
            await delivery.run()
        except (ServiceUnavailable, CorruptLog):
            pass  # the lease expires, and then somebody goes on
        except Exception as error:
            log(_logger, logging.ERROR, "webhook failed", error=error)
        self._deliveries.discard(delivery)  # not when cancelled: `aclose` still needs it
