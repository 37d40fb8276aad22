"""The work queue: runs that wait until any replica of the service has a free slot for them."""

from collections.abc import AsyncIterator, Callable
from typing import Literal, Protocol

import msgspec

from dockrion.backends.owner_messages import CancelRequest
from dockrion.backends.run_log import Run


class TakenRun(msgspec.Struct, frozen=True):
    """A run that this replica has taken from the queue and owns now.

    Attributes:
        run: Its record.
        job: What was enqueued with it.
        cancel: The request to cancel that arrived while it was being taken, if one did.
    """

    run: Run
    job: bytes
    cancel: CancelRequest | None


class QueueState(msgspec.Struct, frozen=True):
    """The state of the queue, over all replicas.

    Attributes:
        length: How many runs wait.
        oldest_seconds: How long the first of them could have been taken, 0 if there is none.
        payload_bytes: The total size of their jobs.
    """

    length: int
    oldest_seconds: float
    payload_bytes: int


class WorkQueue(Protocol):
    """Holds runs that no replica owns yet, the oldest first.

    Guarantees: a run that was enqueued is taken by one replica at a time, and as long as it is not finished
    it is owned by a live replica or waits, or will within seconds of its owner's death.
    """

    async def enqueue(self, run: Run, job: bytes, limit: int) -> None:
        """Create a run that waits for a replica.

        Args:
            run: The record, whose status is `accepted`, and the run's input.
            job: What the replica that takes it needs; backends do not interpret it.
            limit: How many runs may wait.

        Raises:
            RunExists: There is a run with this id.
            TooManyRuns: So many runs wait already.
        """

    def begin_if_stored(self, run: Run, job: bytes) -> None:
        """Let a run wait for a replica, should it be stored although its creation was not confirmed.

        For a run whose request can be sent again, and finds it then; others are ended. Call it when `enqueue`
        or `RunLog.create` has raised `ServiceUnavailable`, before anything else is awaited.

        Args:
            run: Its record.
            job: What the replica that takes it needs.
        """

    async def take(self, slots: int, in_flight: Callable[[str], bool]) -> list[TakenRun]:
        """Take the first runs of the queue; this replica owns them then.

        If there are fewer, this replica is told of the next one that is enqueued.

        Args:
            slots: The most runs to take.
            in_flight: Whether this process still works on an earlier attempt of a run, by its id. It leaves
                such a run to others, or to a later moment.
        """

    async def release(self, run: Run) -> bool:
        """Put a run back that this replica owns and has begun, for another attempt.

        Args:
            run: The record as last stored, except for what describes the next attempt.

        Returns:
            Whether it waits again; False if it cannot be begun again.

        Raises:
            BackendError: Another replica owns it, or it is over.
        """

    def slot_freed(self) -> None:
        """Note that this replica has a free slot."""

    async def decline(self) -> None:
        """Let another replica take what this one was told of, since it has no free slot."""

    def arrivals(self) -> AsyncIterator[None]:
        """Yield whenever there may be runs for this replica. Never ends; at most one consumer."""

    async def queue_state(self) -> QueueState:
        """Return the state of the queue."""


def next_attempt(run: Run, previous: Literal["worker_lost", "shutdown"]) -> Run:
    """Return the record of a run that waits for another attempt.

    Args:
        run: Its record.
        previous: Why the attempt before has ended.
    """
    return msgspec.structs.replace(
        run, status="accepted", attempt=run.attempt + 1, previous=previous, waiting_for=None
    )
