"""The run log: the record of each run, and its events in order."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

import msgspec

from dockrion.backends.fanout import Watch
from dockrion.backends.owner_messages import RunRef
from dockrion.backends.pages import Page
from dockrion.caller import CallerRequest
from dockrion.events import Entry, PreviousEnd, Utc

Status = Literal["accepted", "running", "completed", "failed", "cancelled"]
FINISHED: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})
# Of a `Run`: no response body shows them.
INTERNAL_FIELDS = (
    *("owner", "incarnation", "previous", "max_attempts", "unlisted", "kept_seconds", "request_digest"),
    *("webhook_url", "protocol", "request_id", "traceparent", "tracestate", "span_parent"),
)
MAX_SCANNED = 2_000  # runs that one listing examines, even if its page is not full then
T = TypeVar("T")


class WaitingFor(msgspec.Struct, frozen=True, kw_only=True):
    """The question that a run's agent waits for, the oldest if there are several."""

    request_id: str
    prompt: Annotated[str, msgspec.Meta(description="The question, as text for a person.")]
    schema: Annotated[
        dict[str, Any] | None,
        msgspec.Meta(description="JSON Schema of the answer; null accepts any JSON."),
    ] = None
    expires_at: Annotated[Utc, msgspec.Meta(description="When the agent stops waiting.")]


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The record of a run. Immutable: each change stores a new one.

    Attributes:
        owner: The API caller who created it, as text that backends do not interpret; not the replica that
            owns the run. Never shown.
        incarnation: A token that no other run has. An id is free again once its run is forgotten, so
            whatever is remembered of a run belongs to its incarnation, not to its id. Empty if an
            earlier version of this service created the run.
        previous: Why the attempt before this one ended, None for the first.
        max_attempts: How often its agent may be started.
        unlisted: Whether only its creator knows of it: it is in no listing, and a watch with a limit does
            not find it.
        kept_seconds: How long it is kept once it is finished, None for as long as other runs.
        request_digest: Identifies the request of a caller who chose the id.
        webhook_url: Where its creator wants to be told how it ends.
        request_id: As in `CallerRequest`; so are `traceparent` and `tracestate`.
        span_parent: The request's `traceparent`, empty without one, if `traceparent` is that of a span of the
            run, which is ended by who stores the terminal event; None if the run has no span.
        protocol: What the protocol in which it was created needs to encode its events, None for nothing.
        input: The request's body. It is stored beside the record: creating the run stores it, appending
            replaces it, None leaves what is stored. Records that are read do not have it.
        truncated: Only in listings.
        waiting_for: None once the run is finished.
    """

    run_id: str
    status: Status
    created_at: Utc
    started_at: Utc | None = None
    completed_at: Utc | None = None
    input: Annotated[
        msgspec.Raw | None,
        msgspec.Meta(description="The request's body, secrets masked; null if it is not stored."),
    ] = None
    input_excerpt: Annotated[
        str | None,
        msgspec.Meta(
            description="One line of the input: the last user message or the first text of the body, at most "
            "120 characters; null if the input is not stored."
        ),
    ] = None
    output: msgspec.Raw | None = None
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    last_sequence: int = 0
    attempt: Annotated[
        int,
        msgspec.Meta(
            description="How often its agent was started, a start to come included; more than 1 after a loss "
            "of the worker, with `streaming.on_worker_lost: retry`."
        ),
    ] = 1
    waiting_for: Annotated[
        WaitingFor | None,
        msgspec.Meta(description="The question that the agent waits for, the oldest if there are several."),
    ] = None
    owner: str | None = None
    incarnation: str = ""
    previous: PreviousEnd | None = None
    max_attempts: int = 1
    unlisted: bool = False
    kept_seconds: int | None = None
    request_digest: str | None = None
    webhook_url: str | None = None
    protocol: dict[str, Any] | None = None
    request_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    span_parent: str | None = None
    truncated: Annotated[
        bool,
        msgspec.Meta(
            description="Whether `error`, `metadata` or `waiting_for` is shortened; `GET /runs/{run_id}` has "
            "all of it."
        ),
    ] = False

    @property
    def ref(self) -> RunRef:
        """What tells it from all other runs, and is small."""
        return RunRef(self.run_id, self.incarnation)

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def request(self) -> CallerRequest:
        """The request that created it, without its headers."""
        return CallerRequest(self.traceparent, request_id=self.request_id, tracestate=self.tracestate)


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """One page of a listing.

    Attributes:
        items: The items of this page.
        next: The cursor of the next page, None at the end.
    """

    items: list[T]
    next: str | None


class BadCursor(ValueError):
    """The cursor did not come from `RunLog.recent`."""


class RunLog(Protocol):
    """Stores runs and their events. A run has one writer and any number of readers.

    Guarantees: what a reader has seen is stored; a write that returned is seen by every later read;
    two calls that race for the same sequence or id cannot both succeed.

    Where a method takes an incarnation, it means that run alone: another run with the same id is as good
    as none. None means the run that has the id at the moment.
    """

    async def create(self, run: Run, job: bytes | None = None) -> None:
        """Store a new run without events. This replica becomes its owner, which alone writes its log.

        Args:
            run: The record, and the run's input, stored as long as the run.
            job: What another replica needs to begin the run again, see `WorkQueue`; None if it must not.

        Raises:
            RunExists: There is a run with this id.
        """

    async def append(self, run: Run, entries: Sequence[Entry]) -> None:
        """Append events and replace the run's record, atomically, and wake its watches.

        Args:
            run: The record after these events, and the input that replaces the stored one. A finished status
                closes the log. Before that, `error` and `metadata` stay as they were created.
            entries: Events that continue the log without a gap; none to replace only the record of a run
                that is not finished.

        Raises:
            RunNotFound: No such run.
            RunClosed: The log ends with a terminal event.
            SequenceConflict: The first entry is not the log's next, another replica owns the run, or another
                run has the id.
            AppendRefused: The storage does not take events that large.
        """

    async def force_close(self, run: Run, last: Entry) -> None:
        """End a run whose log has lost appended events or is gone; create it again in that case.

        Args:
            run: The finished record, as for `append`.
            last: The terminal event. There may be a gap before it.

        Raises:
            RunClosed: The log ends with a terminal event.
            SequenceConflict: Another replica owns the run, another run has the id, or the log has an event of
                that sequence.
            AppendRefused: The storage does not take an event that large.
        """

    async def get(self, run_id: str) -> Run:
        """Return a run's record.

        Raises:
            RunNotFound: No such run.
        """

    async def get_input(self, run_id: str, incarnation: str | None = None) -> bytes | None:
        """Return a run's input as it was last stored, None if none is stored.

        Raises:
            RunNotFound: No such run.
        """

    async def recent(
        self,
        *,
        status: Status | None,
        limit: int,
        cursor: str | None,
        owner: str | None = None,
        waiting: bool = False,
    ) -> Listing[Run]:
        """Return runs, newest first. Their outputs may be left out, and large records are `truncated`.

        A call examines at most `MAX_SCANNED` runs. If more remain, the listing has a `next` although
        it may hold fewer than `limit` items.

        Args:
            status: Only runs in this status.
            limit: The most items to return.
            cursor: The `next` of the listing to continue.
            owner: Only runs of this owner.
            waiting: Only runs whose agent waits for an answer.

        Raises:
            BadCursor: The cursor is malformed.
        """

    async def read(self, run_id: str, after: int, limit: int, incarnation: str | None = None) -> Page:
        """Return the events after a position without waiting; the page is empty if there are none.

        If the window has dropped some of them, the page starts at the oldest event that is stored.
        It ends after about `PAGE_BYTES`, which bounds what a reader holds.

        Args:
            run_id: The run.
            after: The last sequence the reader has, 0 for none.
            limit: The most events to return.
            incarnation: The run's incarnation.

        Raises:
            RunNotFound: No such run.
        """

    def watch(
        self, run_id: str, incarnation: str | None = None, *, limit: int | None = None
    ) -> AbstractAsyncContextManager[Watch]:
        """Watch a run: from entering on, the watch is woken after every append.

        Args:
            run_id: The run.
            incarnation: The run's incarnation.
            limit: The most watches with a limit that the run may have, over all replicas.
                None: this watch is neither counted nor refused.

        Raises:
            RunNotFound: On entering: no such run; or it is unlisted, and the watch has a limit.
            TooManySubscribers: On entering: the limit is reached.
        """
