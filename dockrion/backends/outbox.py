"""The outbox: copies of stored events that have to be delivered to other services.

A backend copies events into it in the step that stores them, so that a stored event is never without its
copy. A copy stays until each of its targets has it, or was given up on, also when the run is gone.

What is delivered to one target of one run is a delivery. It is leased: one replica at a time works on it,
and when that dies, the lease expires and another one takes over. A lease is a time on the backend's clock,
and identifies the lease as well: when events are added meanwhile, it changes slightly.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from dockrion.backends.run_log import Run
from dockrion.caller import NO_REQUEST, CallerRequest
from dockrion.events import Entry

RETENTION_SECONDS = 30 * 3600
LEASE_SECONDS = 30.0


class Copy(NamedTuple):
    """An event to copy into the outbox.

    Attributes:
        entry: The event.
        targets: The names of its targets, without spaces.
    """

    entry: Entry
    targets: tuple[str, ...]


# Returns which events of a batch are to be copied, and for whom. Called for each batch.
Copying = Callable[[Run, Sequence[Entry]], Sequence[Copy]]


class Delivery(msgspec.Struct, frozen=True):
    """What is delivered to one target of one run.

    Attributes:
        run_id: The run.
        incarnation: Its incarnation.
        target: The target's name.
    """

    run_id: str
    incarnation: str
    target: str


class Lease(msgspec.Struct, frozen=True):
    """The right to work on a delivery.

    Attributes:
        delivery: The delivery.
        until: When it expires, in microseconds on the backend's clock.
    """

    delivery: Delivery
    until: int


class Waiting(msgspec.Struct, frozen=True):
    """An event that waits for its delivery.

    Attributes:
        position: Its place in the outbox.
        since: Seconds on the backend's clock when it was stored.
        entry: The event.
        url: The run's own `webhook_url`.
        request: The request that created the run, without its headers.
    """

    position: str
    since: float
    entry: Entry
    url: str | None
    request: CallerRequest = NO_REQUEST


class Failures(msgspec.Struct, frozen=True):
    """What is known of the attempts that have failed since the last event was delivered.

    Attributes:
        count: How many there were.
        since: When the first one failed, in seconds on the backend's clock.
    """

    count: int
    since: float


class Undelivered(msgspec.Struct, frozen=True):
    """The state of a delivery.

    Attributes:
        now: Seconds on the backend's clock.
        events: The oldest events that wait, in order.
        failures: The failed attempts to deliver the first of them, None for none.
        dropped: How many events were dropped, because too much waited.
    """

    now: float
    events: list[Waiting]
    failures: Failures | None = None
    dropped: int = 0


class Overdue(msgspec.Struct, frozen=True):
    """The deliveries that a replica has taken over, and the state of all.

    Attributes:
        leases: The leases.
        waiting: How many deliveries wait for anything.
        oldest_seconds: How long the oldest event has waited; 0 if none waits.
    """

    leases: list[Lease]
    waiting: int
    oldest_seconds: float


class Outbox(Protocol):
    """Keeps events until they are delivered. Every method may raise `ServiceUnavailable`.

    What is not delivered within `RETENTION_SECONDS` of the last change of a delivery may be forgotten.
    """

    def appended(self) -> AsyncIterator[Lease]:
        """Yield a lease of each delivery that begins with an event which this replica has stored."""

    async def claim(self, limit: int) -> Overdue:
        """Lease deliveries that are overdue: postponed until now, or their lease has expired."""

    async def undelivered(self, delivery: Delivery, limit: int) -> Undelivered:
        """Return the events that wait, so many at most, and about `PAGE_BYTES` of them."""

    async def delivered(self, delivery: Delivery, position: str) -> None:
        """Record that the events up to a position are delivered or given up on, so that they can be deleted.

        What was recorded of failures and dropped events is deleted too.
        """

    async def failed(self, delivery: Delivery, failures: Failures) -> None:
        """Record failed attempts to deliver the first event that waits."""

    async def postpone(self, lease: Lease, seconds: float, since: float | None = None) -> Lease | None:
        """Let a lease expire at another time, so as to extend it, or to continue later.

        Args:
            lease: The lease.
            seconds: From now on.
            since: When the oldest event that waits was stored, if that is known.

        Returns:
            The new lease, None if another replica has taken over.
        """

    async def finish(self, lease: Lease) -> Lease | None:
        """End a delivery because nothing waits.

        Returns:
            None if it is over; a lease if events were added meanwhile.
        """
