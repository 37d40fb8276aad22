"""The events that a run's agent has emitted, numbered and encoded, until they are stored.

A buffer is in one of four states, and never goes back:

    state      what may be published     threads wait for room   left by
    OPEN       everything                yes                     stop, seal, end
    STOPPED    everything: async code    no: their next emit     seal, end
               may emit while it         raises
               cleans up
    SEALED     the terminal event        no                      end
    ENDED      nothing                   no                      -

`stop` is called when the run is stopped: a cancel, a limit or a shutdown. `seal` is called when the
agent has ended, or has had the time to. `end` is the terminal event, or `close` without one.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import IntEnum, auto
from functools import partial
from typing import TYPE_CHECKING, Any

from dockrion import events
from dockrion.events import Entry
from dockrion.runs.outcome import Stop

if TYPE_CHECKING:  # a service without an output policy does not load it
    from dockrion.policies.output_redaction import RunTextFilter

BUFFER_EVENTS = 256
BUFFER_BYTES = 256 * 1024  # far below what any storage takes at once; a larger event is a batch alone
# Sync code on the event loop cannot wait for room, since nothing would make room meanwhile.
UNYIELDING_EVENTS = 100_000
UNYIELDING_BYTES = 64 * 1024 * 1024
Fields = dict[str, Any]
_LIMIT = Stop("limit")


class State(IntEnum):  # whose members hash faster than those of Enum
    """What a buffer accepts; see the module's docstring."""

    OPEN = auto()
    STOPPED = auto()
    SEALED = auto()
    ENDED = auto()


_OPEN, _STOPPED, _SEALED, _ENDED = State  # names of the module are faster, and `publish` runs per event
# The transitions, by signal; a state that a signal does not name stays as it is.
_STOP = {_OPEN: _STOPPED}
_SEAL = {_OPEN: _SEALED, _STOPPED: _SEALED}
_END = {_OPEN: _ENDED, _STOPPED: _ENDED, _SEALED: _ENDED}


class EventBuffer:
    """Takes events from any thread, in one order, for the one writer of the run's log.

    Args:
        run_id: The run.
        loop: The running event loop, on which the events are stored.
        wake: Called on that loop when there is something to store.
        stop_agent: Called on that loop when the agent has to stop: it broke a policy or a limit.
        batch: The most events that are stored at once, and that are buffered before agents have
            to wait. A part of the backend's window, so that readers who keep up see every event.
            `BUFFER_BYTES` bounds the same in bytes.
        max_event_bytes: The size limit of an event, the terminal one excepted.
        max_events: The most events before the terminal one, those of earlier attempts included.
        last_sequence: The last event of the log that this one continues, 0 for a new log.

    Attributes:
        loop: The event loop.
        max_event_bytes: The size limit.
        text_filter: Filters the agent's texts; None without an output policy.
    """

    text_filter: "RunTextFilter | None" = None

    def __init__(
        self,
        run_id: str,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        stop_agent: Callable[[Stop], None],
        *,
        batch: int = BUFFER_EVENTS,
        max_event_bytes: int,
        max_events: int,
        last_sequence: int = 0,
    ) -> None:
        self.run_id = run_id
        self.wake = wake
        self._stop_agent = stop_agent
        self._batch = batch
        self.max_event_bytes = max_event_bytes
        self._max_events = max_events
        self.loop = loop
        self._loop_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._state = _OPEN
        self._sequence = last_sequence
        self._pending: deque[Entry] = deque()
        self._pending_bytes = 0
        self._changes: dict[int, Fields] = {}  # of the run's record, by the sequence of their event
        self._room = asyncio.Event()
        self._thread_room: threading.Condition | None = None  # most runs never have a thread wait

    @property
    def pending(self) -> bool:
        """Whether there are events or changes of the record to store."""
        return bool(self._pending or self._changes)

    @property
    def full(self) -> bool:
        """Whether agents have to wait before they emit more."""
        too_much = len(self._pending) >= self._batch or self._pending_bytes >= BUFFER_BYTES
        return too_much and not self.closed

    @property
    def closed(self) -> bool:
        """Whether no more events of the agent are accepted."""
        return self._state is _SEALED or self._state is _ENDED

    @property
    def ended(self) -> bool:
        """Whether the terminal event was published, or never will be."""
        return self._state is _ENDED

    @property
    def on_loop(self) -> bool:
        """Whether the caller runs on the buffer's own event loop."""
        return threading.get_ident() == self._loop_thread

    def publish(self, event_type: str, fields: Fields, **record_changes: Any) -> None:
        """Number, encode and buffer one event. Dropped if the state does not allow it.

        Args:
            event_type: A type that passes the filter.
            fields: Its own fields, validated.
            record_changes: What changes in the run's record when this event is stored.

        Raises:
            json_encoding.NotJSON: A field has no JSON form; the event takes no number.
            ValueError: It exceeds `max_event_bytes`; it takes no number.
        """
        with self._lock:
            wake_or_stop = self._publish(event_type, fields, record_changes)
        if isinstance(wake_or_stop, Stop):
            self._call_on_loop(partial(self._stop_agent, wake_or_stop))
        elif wake_or_stop:
            self._call_on_loop(self.wake)

    def change_record(self, **changes: Any) -> None:
        """Change the run's record without an event, after all events so far. Dropped as by `publish`."""
        with self._lock:
            if self.closed:
                return
            self._changes[self._sequence] = self._changes.get(self._sequence, {}) | changes
        self._call_on_loop(self.wake)

    async def mask(self, event_type: str, fields: Fields) -> Fields:  # noqa: ARG002  there is no policy
        """Return some fields of an event as the output policy lets them pass."""
        return fields

    def publish_masked(self, event_type: str, fields: Fields, **record_changes: Any) -> None:
        """Publish an event whose fields are masked already; see `publish`."""
        EventBuffer.publish(self, event_type, fields, **record_changes)

    async def publish_async(self, event_type: str, fields: Fields) -> None:
        """Publish an event from async code. Raises what `publish` raises."""
        self.publish(event_type, fields)

    def publish_held_back(self) -> None:
        """Publish the text that a filter has held back, when there will be no more tokens."""

    def pop_batch(self) -> tuple[list[Entry], Fields]:
        """Return the next events to store, if any, and what changes in the run's record with them."""
        record_changes: Fields = {}
        with self._lock:
            pending, was_full = self._pending, self.full
            if len(pending) <= self._batch and self._pending_bytes <= BUFFER_BYTES:
                batch = list(pending)
                pending.clear()
                self._pending_bytes = 0
            else:
                batch = [pending.popleft()]
                size = len(batch[0].data)
                while pending and len(batch) < self._batch and size + len(pending[0].data) <= BUFFER_BYTES:
                    size += len(pending[0].data)
                    batch.append(pending.popleft())
                self._pending_bytes -= size
            last = pending[0].sequence - 1 if pending else self._sequence
            while self._changes and (sequence := next(iter(self._changes))) <= last:
                record_changes |= self._changes.pop(sequence)
            if was_full:
                self._release_waiters()
        return batch, record_changes

    def _publish(self, event_type: str, fields: Fields, changes: Fields) -> Stop | bool:
        """Add an event; return whether to wake the writer, or why the agent has to stop.

        The caller holds the lock.
        """
        terminal = event_type in events.TERMINAL
        if self._state is not _OPEN and (self._state is _ENDED or (self.closed and not terminal)):
            return False
        if self._sequence >= self._max_events and event_type not in events.MANDATORY:
            return _LIMIT
        return self._add(event_type, fields, changes)

    def _add(self, event_type: str, fields: Fields, changes: Fields) -> Stop | bool:
        """Append an event; return what `_publish` returns. The caller holds the lock."""
        sequence = self._sequence + 1
        now = datetime.now(UTC)
        terminal = event_type in events.TERMINAL
        data = events.encode(event_type, self.run_id, sequence, now, fields)
        if len(data) > self.max_event_bytes and self.text_filter is None and not terminal:
            raise self._too_large(len(data))
        self._sequence = sequence
        self._pending.append(Entry(sequence, event_type, data, now.timestamp()))
        self._pending_bytes += len(data)
        if changes:
            self._changes[sequence] = changes
        if terminal:
            self._advance(_END)
        return len(self._pending) == 1 or terminal

    def _too_large(self, size: int) -> ValueError:
        limit = self.max_event_bytes
        return ValueError(f"the event has {size} bytes; limits.max_event_bytes is {limit}")

    def stop(self) -> None:
        """Wake the threads that wait for room: the run is stopped, and their next emit raises."""
        with self._lock:
            self._advance(_STOP)

    def seal(self) -> None:
        """Accept only the terminal event, and wake everyone who waits for room."""
        with self._lock:
            self._advance(_SEAL)

    def close(self) -> None:
        """Accept no more events at all."""
        with self._lock:
            self._advance(_END)
        self._call_on_loop(self.wake)

    def _advance(self, transitions: dict[State, State]) -> None:
        """Change the state, and wake everyone who waits for room. The caller holds the lock."""
        self._state = transitions.get(self._state, self._state)
        self._release_waiters()

    async def wait_for_room(self) -> None:
        """Wait while the buffer is full, on any event loop."""
        if self.on_loop:
            await self._wait_until(lambda: not self.full)
        else:
            waiting = self._wait_until(self._threads_may_go)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(waiting, self.loop))

    def publish_blocking(self, event_type: str, fields: Fields) -> None:
        """Publish an event; block the thread while the buffer is full.

        Raises:
            BufferError: On the event loop itself, which cannot wait, too many events are buffered.
        """
        waiting = len(self._pending)
        if self.on_loop and (waiting >= UNYIELDING_EVENTS or self._pending_bytes >= UNYIELDING_BYTES):
            raise BufferError(f"{waiting} events wait to be stored; use the async emit, with await")
        self.publish(event_type, fields)
        if self.full and not self.on_loop:
            with self._lock:
                if self._thread_room is None:
                    self._thread_room = threading.Condition(self._lock)
                self._thread_room.wait_for(self._threads_may_go)

    def _threads_may_go(self) -> bool:
        return self._state is _STOPPED or not self.full

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._room.clear()
            await self._room.wait()

    def _release_waiters(self) -> None:
        """Make everyone who waits for room check again. The caller holds the lock."""
        if self._thread_room is not None:
            self._thread_room.notify_all()
        self._call_on_loop(self._room.set)

    def _call_on_loop(self, callback: Callable[[], object]) -> None:
        if self.on_loop:
            callback()
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                self.loop.call_soon_threadsafe(callback)
