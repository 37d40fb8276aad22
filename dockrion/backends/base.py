"""The log of a run, and what every backend that keeps it promises.

A backend passes the conformance suite in `tests/backends/`, or it is not one.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from dockrion.errors import ServiceUnavailable
from dockrion.events import Entry

Status = Literal["accepted", "running", "completed", "failed", "cancelled"]
FINISHED: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})
PAGE_BYTES = 128 * 1024
PAGE_EVENTS = 512
_ANSWER_SECONDS = 10.0
T = TypeVar("T")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a run, as `GET /runs/{id}` shows it. Never changed, only replaced."""

    run_id: str
    status: Status
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output: msgspec.Raw | None = None
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    last_sequence: int = 0

    @property
    def finished(self) -> bool:
        return self.status in FINISHED


class Page:
    """What one read of a run's log found, shared by all readers at that position.

    Attributes:
        entries: The next events, in order and without a gap between them.
        closed: The run is over and nothing follows these entries.
        more: There are more already, so that nobody needs to wait for them.
        delivered: Somebody has been sent them.
    """

    __slots__ = ("_encoded", "closed", "delivered", "entries", "more")

    def __init__(self, entries: Sequence[Entry], *, closed: bool = False, more: bool = False) -> None:
        self.entries = entries
        self.closed = closed
        self.more = more
        self.delivered = False
        self._encoded: dict[Callable[[Sequence[Entry]], bytes], bytes] = {}

    def encoded(self, encode: Callable[[Sequence[Entry]], bytes]) -> bytes:
        """Return the entries as a transport writes them, encoded once for all its readers."""
        done = self._encoded.get(encode)
        if done is None:
            done = self._encoded[encode] = encode(self.entries)
        return done


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


class Watch:
    """Wakes one reader. A wake-up carries no data: it only says "look again".

    Args:
        at_hand: Returns what can be read after a position without waiting, or None.

    Attributes:
        at_hand: That.
        look: Called in place of a wake-up, where there is one; returns whether the reader has seen
            all there is, and may go on waiting.
        until: When a wait is over, in the event loop's time.
    """

    __slots__ = ("_alarm", "_loop", "_news", "_waiting", "at_hand", "look", "until")

    def __init__(self, at_hand: Callable[[int], Page | None]) -> None:
        self.at_hand = at_hand
        self.look: Callable[[], bool] | None = None
        self.until = 0.0
        self._loop = asyncio.get_running_loop()
        self._news = False
        self._waiting: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        if self.look is None or not self._is_waiting or not self.look():
            self._news = True
            self._go_on()

    async def wait(self, seconds: float) -> bool:
        """Wait for a wake-up, at most so many seconds.

        Returns:
            Whether one came.
        """
        if not self._news and seconds > 0:
            self.until = self._loop.time() + seconds
            self._set_alarm()
            self._waiting = self._loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        news, self._news = self._news, False
        return news

    def close(self) -> None:
        """Let go of the loop. Nobody waits any more."""
        if self._alarm is not None:
            self._alarm.cancel()

    @property
    def _is_waiting(self) -> bool:
        return self._waiting is not None and not self._waiting.done()

    def _set_alarm(self) -> None:
        """Have one timer for many waits: it is left where it is, and set anew when it rings too early."""
        if self._alarm is not None and self._alarm.when() > self.until:
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None:
            self._alarm = self._loop.call_at(self.until, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._is_waiting and self._loop.time() < self.until:
            self._set_alarm()
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class Question(msgspec.Struct, frozen=True):
    """Something that another replica asks of a run's owner. Backends do not look into it.

    Attributes:
        run_id: The run.
        text: The question.
        answer: Sends the answer; raises `ServiceUnavailable` where that cannot be done.
    """

    run_id: str
    text: bytes
    answer: Callable[[bytes], Awaitable[None]]


async def answered(answer: asyncio.Future[bytes]) -> bytes:
    """Wait for an answer, for as long as it may take.

    Raises:
        ServiceUnavailable: It does not come.
    """
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await answer
    except TimeoutError:
        raise ServiceUnavailable("whoever runs this run does not answer; try again later") from None


class Backend(Protocol):
    """Keeps runs and their events. Any number of readers, one writer a run.

    What a reader has seen is stored, and a write is seen by every later read.
    A method that cannot reach its storage raises `ServiceUnavailable`, and may be called again
    with the same arguments: what was done already is not done twice.
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

    async def write_off(self, run: Run, last: Entry) -> None:
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

    async def recent(self, *, status: Status | None, limit: int, cursor: str | None) -> Listing[Run]:
        """Return runs, newest first. Their outputs may be left out.

        Args:
            status: Only those in this status.
            limit: At most so many.
            cursor: The `next` of the listing to continue.

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

    async def request_cancel(self, run_id: str, reason: str | None) -> None:
        """Ask whoever runs this run, on whichever replica, to cancel it.

        Raises:
            RunNotFound: No such run.
        """

    def cancel_requests(self) -> AsyncIterator[tuple[str, str | None]]:
        """Yield (run id, reason) for each request about a run created here, without end."""

    async def ask_owner(self, run_id: str, question: bytes) -> bytes:
        """Ask whoever runs this run, on whichever replica, and return the answer.

        Raises:
            RunNotFound: No such run.
            ServiceUnavailable: There is no answer; the question may have been heard all the same.
        """

    def questions(self) -> AsyncIterator[Question]:
        """Yield each question about a run created here, without end."""

    def lost_runs(self) -> AsyncIterator[str]:
        """Yield the id of each run created here whose log is not ours to write any more, without end."""

    async def ping(self) -> None:
        """Return if the storage answers.

        Raises:
            ServiceUnavailable: It does not.
        """

    async def aclose(self) -> None:
        """Release everything. Nothing may be called afterwards."""
