"""How long runs stay in memory: for a time after their end, and as long as all of them fit.

Above the limit in bytes, the runs that finished first are removed before their time; one that is being
read, when its last reader has gone. If that is not enough, the runs that take the most memory lose their
oldest events, though none its newest.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import cache
from heapq import heapify, heappop, heapreplace

from dockrion.backends.memory.log import Log
from dockrion.logs import log as write_log

_logger = logging.getLogger(__name__)
_LOG_SECONDS = 60.0  # between two lines about the limit
_DROP_FRACTION = 64  # of the limit: dropping events examines all runs, so it is not done for every event
_MIB = 1024 * 1024
_LEAST_TRIMMED = 16 * _MIB
_MOST_TRIMMED = 256 * _MIB  # takes some 25 ms, during which the event loop does nothing else


class Retention:
    """Removes runs when their time is over, and what exceeds the limit.

    Args:
        logs: The runs by id.
        on_removed: Called with each run that was removed from them.
        ttl: Seconds that a finished run stays.
        max_bytes: The limit.
        on_evicted: Called with the numbers of runs and of events that were removed because of the limit.
        clock: Monotonic seconds.

    Attributes:
        stored_bytes: The memory that the runs take.
    """

    def __init__(
        self,
        logs: dict[str, Log],
        on_removed: Callable[[Log], None],
        *,
        ttl: float,
        max_bytes: int,
        on_evicted: Callable[[int, int], None],
        clock: Callable[[], float],
    ) -> None:
        self.stored_bytes = 0
        self._logs = logs
        self._on_removed = on_removed
        self._ttl = ttl
        self._max_bytes = max_bytes
        self._on_evicted = on_evicted
        self._clock = clock
        self._drop_above = max_bytes
        self._peak = 0  # of the stored bytes, since memory was last returned to the operating system
        # By time to live: the runs of each queue are in the order of their expiry.
        self._finished: dict[float, deque[Log]] = {ttl: deque()}
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._expiry_at = 0.0  # of the timer
        self._unlogged = (0, 0)  # runs and events
        self._logged_at: float | None = None

    def weigh(self, log: Log) -> None:
        """Account for what has changed in a run, and keep the limit."""
        weight = log.weight
        self.stored_bytes += weight - log.counted_bytes
        log.counted_bytes = weight
        if self.stored_bytes > self._max_bytes:
            self._evict()

    def finished(self, log: Log) -> None:
        """Start the time to live of a run."""
        seconds = log.run.kept_seconds or self._ttl
        log.expires_at = self._clock() + seconds
        if seconds not in self._finished:
            self._finished[seconds] = deque()
        self._finished[seconds].append(log)
        self._peak = max(self._peak, self.stored_bytes)
        if self._expiry_timer is None or log.expires_at < self._expiry_at:
            self._schedule_expiry()

    def unwatched(self, log: Log) -> None:
        """Account for a run whose last watch has closed; remove it if that was delayed until now."""
        if log.expired:
            self.remove(log)
        else:
            self.weigh(log)

    def expire(self) -> None:
        """Remove the runs whose time is over."""
        self._expiry_timer = None
        now = self._clock()
        while (queue := self._first_to_expire) and queue[0].expires_at <= now:
            self._expire_oldest(queue)
        self._schedule_expiry()

    def remove(self, log: Log) -> None:
        """Remove a run, if it was not removed before."""
        if self._logs.get(log.run.run_id) is not log:
            return
        del self._logs[log.run.run_id]
        self.stored_bytes -= log.counted_bytes
        self._on_removed(log)
        if self._peak - self.stored_bytes >= min(max(self._peak // 2, _LEAST_TRIMMED), _MOST_TRIMMED):
            self._peak = self.stored_bytes
            _return_freed_memory()

    def close(self) -> None:
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        self._finished.clear()

    def _schedule_expiry(self) -> None:
        if not (queue := self._first_to_expire):
            return
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        self._expiry_at = queue[0].expires_at
        delay = max(self._expiry_at - self._clock(), 0)
        self._expiry_timer = asyncio.get_running_loop().call_later(delay, self.expire)

    @property
    def _first_to_expire(self) -> deque[Log] | None:
        """The queue with the run that expires first, None if no run is finished."""
        queues = filter(None, self._finished.values())
        return min(queues, key=lambda queue: queue[0].expires_at, default=None)

    def _expire_oldest(self, queue: deque[Log]) -> None:
        log = queue.popleft()
        log.expired = True
        if not log.watches:
            self.remove(log)

    def _evict(self) -> None:
        runs = events = 0
        while self.stored_bytes > self._max_bytes and (queue := self._first_to_expire):
            self._expire_oldest(queue)
            runs += 1
        if self.stored_bytes > self._drop_above:
            events = self._drop_events()
        if runs or events:
            self._on_evicted(runs, events)
            self._log_evicted(runs, events)

    def _drop_events(self) -> int:
        """Drop the oldest events of the runs that take the most memory; return how many."""
        step = self._max_bytes // _DROP_FRACTION
        largest_first = [(-log.weight, log.number, log) for log in self._logs.values()]
        heapify(largest_first)
        dropped = 0
        while largest_first and self.stored_bytes > self._max_bytes - step:
            log = largest_first[0][2]
            number = log.drop_oldest()
            dropped += number
            self.stored_bytes += log.weight - log.counted_bytes
            log.counted_bytes = log.weight
            if number:
                heapreplace(largest_first, (-log.weight, log.number, log))
            else:
                heappop(largest_first)
        # If there was not enough to drop, there may be when more is stored.
        self._drop_above = max(self._max_bytes, self.stored_bytes + step)
        return dropped

    def _log_evicted(self, runs: int, events: int) -> None:
        self._unlogged = (self._unlogged[0] + runs, self._unlogged[1] + events)
        now = self._clock()
        if self._logged_at is not None and now - self._logged_at < _LOG_SECONDS:
            return
        runs, events = self._unlogged
        self._unlogged, self._logged_at = (0, 0), now
        write_log(
            _logger,
            logging.WARNING,
            "limits.max_stored_bytes is reached; the oldest runs and events are removed",
            removed_runs=runs,
            dropped_events=events,
        )


def _return_freed_memory() -> None:
    """Have the C library return memory to the operating system that it keeps although it is free."""
    malloc_trim = _malloc_trim()
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    import ctypes  # noqa: PLC0415  memory: many services never need it

    try:
        function: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # only glibc has it
        return None
    return function
