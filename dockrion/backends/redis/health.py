"""The state of Redis as seen by this process, and the logging of its failures.

Performs no I/O: the client reports each failed command, and the backend's background work reports
the outcome of each round. Only the background work changes the state, because a round exercises
everything that requests need; a failed request merely sets `failure_seen`, which starts the next
round immediately.

Each kind of failure is logged once per outage, and again after a minute, however many requests run
into it. The log line says what an operator can do about it.
"""

import asyncio
import enum
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from dockrion.backends.redis.failures import ADVICE, LARGE, NO_REPLY, REFUSED, UNBLOCKED, kind_of
from dockrion.dependency import Dependency
from dockrion.errors import CorruptLog, ServiceUnavailable
from dockrion.logs import log

_logger = logging.getLogger("dockrion.redis")
StateName = Literal["up", "degraded", "away"]
_QUIET_SECONDS = 60.0  # how long a kind of failure is not logged again
_REFUSED_TIMES = 4
REFUSED_SECONDS = 5.0
_PREFIX = "redis error: "
_STILL_READABLE = frozenset({"OOM", "READONLY", "MISCONF", "NOREPLICAS", "POOL", "TRYAGAIN"})


class NewerFormat(ServiceUnavailable):
    """What Redis holds has a format that this version does not know."""

    def __init__(self, stored: int, known: int) -> None:
        super().__init__(
            f"what is stored in Redis has format {stored}, of a newer version of dockrion; this one knows "
            f"formats up to {known}: update it, or give it another streaming.redis.key_prefix"
        )


class Health(enum.Enum):
    """The state of Redis after the last round of background work, with the name that operators see."""

    HEALTHY = "up"
    DEGRADED = "degraded"  # something failed; requests are sent, since they may succeed
    UNREACHABLE = "away"  # requests are refused at once: they would only wait for a timeout


class RoundEvent(enum.Enum):
    """The outcome of a round of background work, or of its first write."""

    UNUSABLE = enum.auto()  # no reply, or a refusal of everything
    READ_ONLY = enum.auto()
    FAILED = enum.auto()  # for a reason that does not show whether Redis responds
    WRITTEN = enum.auto()  # the first command of the round, a write, has succeeded
    COMPLETED = enum.auto()


_HEALTHY, _DEGRADED, _UNREACHABLE = Health
_TRANSITIONS: dict[RoundEvent, dict[Health, Health]] = {
    RoundEvent.UNUSABLE: {_HEALTHY: _UNREACHABLE, _DEGRADED: _UNREACHABLE, _UNREACHABLE: _UNREACHABLE},
    RoundEvent.READ_ONLY: {_HEALTHY: _DEGRADED, _DEGRADED: _DEGRADED, _UNREACHABLE: _DEGRADED},
    RoundEvent.FAILED: {_HEALTHY: _DEGRADED, _DEGRADED: _DEGRADED, _UNREACHABLE: _UNREACHABLE},
    RoundEvent.WRITTEN: {_HEALTHY: _HEALTHY, _DEGRADED: _DEGRADED, _UNREACHABLE: _DEGRADED},
    RoundEvent.COMPLETED: {_HEALTHY: _HEALTHY, _DEGRADED: _HEALTHY, _UNREACHABLE: _HEALTHY},
}


def unavailable() -> ServiceUnavailable:
    """Return the error of a request that Redis cannot serve at present."""
    return ServiceUnavailable("the backend cannot be used at present; try again later")


async def in_time(sent: Awaitable[list[Any]], seconds: float) -> list[Any]:
    """Return the replies to commands, unless this process was paused for so long before they came.

    Raises:
        ServiceUnavailable: It was, or Redis does not respond.
    """
    began = time.monotonic()
    replies = await sent
    if time.monotonic() - began > seconds:
        raise unavailable()
    return replies


class Observer(msgspec.Struct, frozen=True):
    """Who is told how Redis does.

    Attributes:
        on_reply: Called with the seconds that a reply took.
        on_state: Called with the name of each new state.
    """

    on_reply: Callable[[float], object] = lambda _seconds: None
    on_state: Callable[[StateName], object] = lambda _state: None


NO_OBSERVER = Observer()


class HealthMonitor:
    """Tracks the state of Redis.

    Args:
        observer: Is told of each new state.

    Attributes:
        state: The state after the last round of background work.
        failure_seen: Set by each failed command, so that the next round starts at once.
        recoveries: How often Redis has recovered.
        rounds: How many rounds of background work have succeeded.
        refusal: Why this process does not use what Redis holds; None if it does.
        last_failure: What the last failure means for an operator; None if there was none.
        advice: The same without what the server replied, which may name addresses.
        dependency: The state for operators.
    """

    def __init__(self, observer: Observer = NO_OBSERVER) -> None:
        self._observer = observer
        self.state = Health.HEALTHY
        self.dependency = Dependency("up")
        self.failure_seen = asyncio.Event()
        self.recoveries = 0
        self.rounds = 0
        self.refusal: str | None = None
        self.last_failure: str | None = None
        self.advice: str | None = None
        self._last_kind = ""
        self._logged_at: dict[str, float] = {}

    def command_failed(self, error: Exception, recoveries: int, *, large: bool = False) -> Exception:
        """Log a failed command unless its kind was logged before, and return what to raise for it.

        Args:
            error: The failure.
            recoveries: The number of recoveries when the command was sent. A reader's command blocks
                for seconds, and may report a failure of an outage that is over.
            large: The command carried much, which may be why it failed.
        """
        kind = kind_of(error)
        if large and kind in (NO_REPLY, REFUSED):
            kind = LARGE
        if kind is None:
            return CorruptLog(str(error))
        self.failure_seen.set()
        if recoveries != self.recoveries:
            return unavailable()
        if not large:
            self._last_kind = kind
        # These two follow from other failures: requests without replies occupy the pool, and a server
        # that changes its role unblocks the reader.
        if kind != UNBLOCKED and not (kind == "POOL" and NO_REPLY in self._logged_at):
            reason = str(error) if kind in (NO_REPLY, LARGE, "NOPERM") else None
            self._log(kind, _PREFIX + ADVICE[kind], reason=reason)
        return unavailable()

    def wrong_server(self, kind: str) -> ServiceUnavailable:
        """Log that the server is not what its URL says, and return what to raise for it."""
        self._last_kind = kind
        self._log(kind, f"redis error: {ADVICE[kind]}")
        return unavailable()

    def round_failed(self, error: Exception) -> None:
        """Record that a round of background work has failed."""
        event = RoundEvent.FAILED
        if isinstance(error, NewerFormat):
            event = RoundEvent.UNUSABLE
            self.refusal = error.message
            self._log("FORMAT", "redis holds data of a newer version", reason=error.message)
        elif isinstance(error, CorruptLog):
            self._log(
                "UNREADABLE", "redis holds data of another kind under this service's keys", reason=str(error)
            )
        elif isinstance(error, ServiceUnavailable):
            event = RoundEvent.READ_ONLY if self._last_kind in _STILL_READABLE else RoundEvent.UNUSABLE
        else:
            self._log("BUG", "background work on redis failed", error=error)
        self._move(event)

    def written(self) -> bool:
        """Record that the first write of a round has succeeded; return whether Redis is healthy."""
        self.failure_seen.clear()
        self.refusal = None
        self._move(RoundEvent.WRITTEN)
        return self.state is Health.HEALTHY

    def round_completed(self) -> None:
        """Record that a round of background work has succeeded."""
        self.rounds += 1
        if self.state is not Health.HEALTHY:
            self._logged_at.clear()
            self.recoveries += 1
            log(_logger, logging.INFO, "redis has recovered")
        self._move(RoundEvent.COMPLETED)

    def _move(self, event: RoundEvent) -> None:
        state = _TRANSITIONS[event][self.state]
        if state is not self.state:
            self.state = state
            self.dependency.enter(state.value, None if state is Health.HEALTHY else self.advice)
            self._observer.on_state(state.value)

    def _log(self, kind: str, message: str, **fields: Any) -> None:
        reason = fields.get("reason")
        self.advice = message.removeprefix(_PREFIX)
        self.last_failure = self.advice + (f" ({reason})" if reason else "")
        if self.state is not Health.HEALTHY:
            self.dependency.reason = self.advice
        now = time.monotonic()
        if now - self._logged_at.get(kind, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._logged_at[kind] = now
            log(_logger, logging.ERROR, message, kind=kind, **fields)


class Refusals:
    """Distinguishes batches that Redis will never take from those that meet an outage.

    A batch is refused for good if it has failed again and again, and after each time a round of
    background work has succeeded.

    Args:
        health: The state of Redis.
    """

    def __init__(self, health: HealthMonitor) -> None:
        self._health = health
        self._failing: dict[str, _Failing] = {}

    def failed(self, run_id: str) -> bool:
        """Record that a run's batch has failed; return whether it is refused for good."""
        failing = self._failing.setdefault(run_id, _Failing(time.monotonic()))
        if failing.rounds != self._health.rounds:
            failing.rounds = self._health.rounds
            failing.times += 1
        return failing.times >= _REFUSED_TIMES and time.monotonic() - failing.since >= REFUSED_SECONDS

    def clear(self, run_id: str) -> None:
        """Forget a run's failures: its batch is stored, or nobody repeats it."""
        self._failing.pop(run_id, None)


class _Failing(msgspec.Struct, eq=False):
    """Since when a batch fails, how often, and the number of rounds when it failed last."""

    since: float
    times: int = 0
    rounds: int = -1
