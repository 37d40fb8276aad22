"""What a run's agent says, numbered as it is emitted, until it is stored."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from dockrion import events
from dockrion.events import Entry
from dockrion.runs.outcome import Stop

if TYPE_CHECKING:  # those who have no policies do without
    from dockrion.policies.output_redaction import RunTextFilter

BUFFER_EVENTS = 256
# Sync code on the event loop cannot wait for room, since nothing would make room meanwhile.
UNYIELDING_EVENTS = 100_000
_TOKEN = "token"  # noqa: S105  an event's type
_LIMIT = Stop("limit")


class EventBuffer:
    """Takes events from any thread, in one order, for whoever stores them.

    Args:
        run_id: The run.
        loop: The event loop that makes this, and that stores the events.
        wake: Called when there is something to store.
        stop: Called when the agent has to stop, since it said too much.
        batch: The most events that are stored at once, and that wait before agents have to. A
            part of the backend's window, so that readers who keep up see every event.
        max_event_bytes: How large an event may be, the terminal one excepted.
        max_events: How many there may be before the terminal one.
        text_filter: What the agent's text_filter go through, None for nothing.

    Attributes:
        run_id: As it was given.
        text_filter: As it was given.
        wake: As it was given.
    """

    def __init__(
        self,
        run_id: str,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        stop: Callable[[Stop], None],
        *,
        batch: int = BUFFER_EVENTS,
        max_event_bytes: int,
        max_events: int,
        text_filter: "RunTextFilter | None" = None,
    ) -> None:
        self.run_id = run_id
        self.wake = wake
        self.text_filter = text_filter
        self._stop = stop
        self._batch = batch
        self._max_event_bytes = max_event_bytes
        self._max_events = max_events
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._sequence = 0
        self._pending: deque[Entry] = deque()
        self._changes: dict[int, dict[str, Any]] = {}  # by the sequence of the event they come with
        self._closed = False
        self._ended = False
        self._stopped = False
        self._room = asyncio.Event()
        self._thread_room: threading.Condition | None = None  # most runs never have a thread wait

    @property
    def pending(self) -> bool:
        """Whether something waits to be stored."""
        return bool(self._pending)

    @property
    def full(self) -> bool:
        return len(self._pending) >= self._batch and not self._closed

    @property
    def closed(self) -> bool:
        """Whether what the agent says is dropped."""
        return self._closed

    @property
    def ended(self) -> bool:
        """Whether the terminal event was published, or never will be."""
        return self._ended

    @property
    def on_loop(self) -> bool:
        """Whether the caller runs on the buffer's own event loop."""
        return threading.get_ident() == self._loop_thread

    def publish(self, event_type: str, fields: dict[str, Any], **changes: Any) -> None:
        """Number, encode and buffer one event. Dropped when the run is over.

        Args:
            event_type: A type that passes the filter.
            fields: Its own fields, already checked.
            changes: Fields of the run's record that change with this event.

        Raises:
            jsonable.NotJSON: A field has no JSON form; the event takes no number.
            ValueError: It is larger than an event may be; it takes no number.
        """
        text_filter = self.text_filter
        if text_filter is not None and event_type in events.MANDATORY:
            text_filter = None
        if text_filter is not None:
            # What is refused was never said; what is masked may be larger than it was.
            data = events.encode(event_type, self.run_id, 0, datetime.now(UTC), fields)
            if len(data) > self._max_event_bytes:
                raise self._too_large(data)
            if event_type != _TOKEN:
                fields = text_filter.mask_fields(event_type, fields)
        with self._lock:
            news = self._publish(event_type, fields, changes, text_filter)
        if isinstance(news, Stop):
            self._on_loop_soon(partial(self._stop, news))
        elif news:
            self._on_loop_soon(self.wake)

    def publish_rest(self) -> None:
        """Publish what was held back of the tokens: there will be no more."""
        if self.text_filter is None:
            return
        with self._lock:
            rest = self.text_filter.end_tokens()
            if rest and self.text_filter.violation is None and not self._ended:
                self._add(_TOKEN, {"content": rest, "finish_reason": None}, {})
        self._on_loop_soon(self.wake)

    def take(self) -> tuple[list[Entry], dict[str, Any]]:
        """Return the next events to be stored, and what changes in the run's record with them."""
        changes: dict[str, Any] = {}
        with self._lock:
            pending, was_full = self._pending, self.full
            if len(pending) <= self._batch:
                taken = list(pending)
                pending.clear()
            else:
                taken = [pending.popleft() for _ in range(self._batch)]
            while self._changes and (sequence := next(iter(self._changes))) <= taken[-1].sequence:
                changes |= self._changes.pop(sequence)
            if was_full:
                self._release_waiters()
        return taken, changes

    def _publish(
        self,
        event_type: str,
        fields: dict[str, Any],
        changes: dict[str, Any],
        text_filter: "RunTextFilter | None",
    ) -> Stop | bool:
        """Add an event; tell whether that is news to who stores it, or why the agent has to stop.

        Called with the lock.
        """
        if self._ended or (self._closed and event_type not in events.TERMINAL):
            return False
        if self._sequence >= self._max_events and event_type not in events.TERMINAL:
            return _LIMIT
        if text_filter is not None:
            said = text_filter.filter_token(fields) if event_type == _TOKEN else fields
            if text_filter.violation is not None:
                return Stop("violation", text_filter.violation)
            if said is None:
                return False
            fields = said
        return self._add(event_type, fields, changes)

    def _add(self, event_type: str, fields: dict[str, Any], changes: dict[str, Any]) -> bool:
        """Add an event to the buffer; tell whether that is news to who stores it. Called with the lock."""
        sequence = self._sequence + 1
        now = datetime.now(UTC)
        terminal = event_type in events.TERMINAL
        data = events.encode(event_type, self.run_id, sequence, now, fields)
        if len(data) > self._max_event_bytes and self.text_filter is None and not terminal:
            raise self._too_large(data)
        self._sequence = sequence
        self._pending.append(Entry(sequence, event_type, data, now.timestamp()))
        if changes:
            self._changes[sequence] = changes
        if terminal:
            self._closed = self._ended = True
            self._release_waiters()
        return len(self._pending) == 1 or self._closed

    def _too_large(self, data: bytes) -> ValueError:
        most = self._max_event_bytes
        return ValueError(f"the event has {len(data)} bytes; limits.max_event_bytes is {most}")

    def seal(self) -> None:
        """Take no more events but the terminal one, and let go of whoever waits for room."""
        with self._lock:
            self._closed = True
            self._release_waiters()

    def close(self) -> None:
        """Take no more events at all."""
        self.seal()
        self._ended = True
        self._on_loop_soon(self.wake)

    def release_threads(self) -> None:
        """Let threads that wait for room go on: their run is stopped, and they are to notice."""
        with self._lock:
            self._stopped = True
            self._release_waiters()

    async def wait_for_room(self) -> None:
        """Wait while the buffer is full, on any event loop."""
        if self.on_loop:
            await self._until(lambda: not self.full)
        else:
            waiting = self._until(self._thread_may_go)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(waiting, self._loop))

    def publish_blocking(self, event_type: str, fields: dict[str, Any]) -> None:
        """Publish as a thread, which waits while the buffer is full.

        Raises:
            BufferError: On the event loop itself, which cannot wait, far too much is buffered.
        """
        if self.on_loop and len(self._pending) >= UNYIELDING_EVENTS:
            raise BufferError(
                f"{UNYIELDING_EVENTS} events wait to be stored: use the async emit, with await, here"
            )
        self.publish(event_type, fields)
        if self.full and not self.on_loop:
            with self._lock:
                if self._thread_room is None:
                    self._thread_room = threading.Condition(self._lock)
                self._thread_room.wait_for(self._thread_may_go)

    def _thread_may_go(self) -> bool:
        return self._stopped or not self.full

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._room.clear()
            await self._room.wait()

    def _release_waiters(self) -> None:
        """Make everybody look whether they still have to wait. Called with the lock."""
        if self._thread_room is not None:
            self._thread_room.notify_all()
        self._on_loop_soon(self._room.set)

    def _on_loop_soon(self, callback: Callable[[], object]) -> None:
        if self.on_loop:
            callback()
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                self._loop.call_soon_threadsafe(callback)
