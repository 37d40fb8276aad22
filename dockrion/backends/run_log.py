"""The log of runs: their records and their events."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from dockrion.backends.pages import Page, Watch
from dockrion.events import Entry, Utc

Status = Literal["accepted", "running", "completed", "failed", "cancelled"]
FINISHED: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})
MAX_SCANNED = 2_000  # runs, after which a listing ends though its page is not full
T = TypeVar("T")


class Run(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The record of a run. Never changed, only replaced.

    Attributes:
        owner: Who made it, in a text that backends do not look into. No caller is shown it.
    """

    run_id: str
    status: Status
    created_at: Utc
    started_at: Utc | None = None
    completed_at: Utc | None = None
    output: msgspec.Raw | None = None
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    last_sequence: int = 0
    owner: str | None = None

    @property
    def finished(self) -> bool:
        return self.status in FINISHED


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """Some of many.

    Attributes:
        items: Those asked for.
        next: The cursor that continues, or None at the end.
    """

    items: list[T]
    next: str | None


class BadCursor(ValueError):
    """The cursor is none that `recent` gave out."""


class RunLog(Protocol):
    """Stores runs and their events. Any number of readers, one writer a run.

    What a reader has seen is stored, and a write is seen by every later read.
    """

    async def create(self, run: Run) -> None:
        """Store a new run without events.

        Raises:
            RunExists: The id is taken.
        """

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        """Add events and replace the run's record, both or neither, and wake the watches.

        Args:
            run: The record as it is after these events. A finished status closes the log.
            entries: One or more events that continue the log without a gap.

        Raises:
            RunNotFound: No such run.
            RunClosed: The log has its terminal event.
            SequenceConflict: The first entry is not the log's next, or the run is another's.
        """

    async def force_close(self, run: Run, last: Entry) -> None:
        """End a run whose log has lost events that were appended, or is gone altogether.

        Args:
            run: The finished record, as for `append`.
            last: The terminal event. There may be a gap before it.

        Raises:
            RunClosed: The log has its terminal event.
            SequenceConflict: The run is another's, or the log has an event of that sequence.
        """

    async def get(self, run_id: str) -> Run:
        """Return a run's record.

        Raises:
            RunNotFound: No such run.
        """

    async def recent(
        self, *, status: Status | None, limit: int, cursor: str | None, owner: str | None = None
    ) -> Listing[Run]:
        """Return runs, newest first. Their outputs may be left out.

        A listing for which `MAX_SCANNED` runs had to be looked at may have fewer items than there
        are, and then has a `next`.

        Args:
            status: Only those in this status.
            limit: At most so many.
            cursor: The `next` of the listing to continue.
            owner: Only those whose owner is this one.

        Raises:
            BadCursor: The cursor is malformed.
        """

    async def read(self, run_id: str, after: int, limit: int) -> Page:
        """Return the events that follow a position, at once, also when there are none.

        Where the window has dropped some of them, the page starts at the oldest it holds.
        A page ends after about `PAGE_BYTES`, so that no reader holds much more.

        Args:
            run_id: The run.
            after: The last sequence the reader has, 0 for none.
            limit: At most so many events.

        Raises:
            RunNotFound: No such run.
        """

    def watch(self, run_id: str, *, limit: int | None = None) -> AbstractAsyncContextManager[Watch]:
        """Arm a watch that wakes after every later append to the run.

        Args:
            run_id: The run.
            limit: Refuse if so many limited watches are there already; None neither
                counts nor refuses.

        Raises:
            RunNotFound: No such run.
            TooManySubscribers: The limit is reached.
        """
