"""Measurements of a fixed size, which can be added up over processes."""

from collections.abc import Sequence
from math import ceil, exp, log
from typing import Any

import msgspec

_MIN_SECONDS = 1e-6
_MAX_SECONDS = 1e6
_RATIO = 1.03  # of neighboring buckets: a bucket's middle is within 1.5 % of all in it
_SCALE = 1 / log(_RATIO)
_OFFSET = 1 - int(log(_MIN_SECONDS) * _SCALE)
_SIZE = int(log(_MAX_SECONDS) * _SCALE) + _OFFSET + 2
_MAX_KINDS = 50
MAX_EXAMPLES = 10


class Histogram(msgspec.Struct):
    """Counts of durations, each within 1.5 % or a microsecond.

    Attributes:
        counts: The number of values in each bucket.
        highest: The longest duration.
        negative: The number of negative values.
    """

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * _SIZE)
    highest: float = 0.0
    negative: int = 0

    @property
    def total(self) -> int:
        return sum(self.counts)

    def add(self, seconds: float, times: int = 1) -> None:
        self.counts[_bucket(seconds)] += times
        self.highest = max(self.highest, seconds)
        self.negative += times * (seconds < 0)

    def add_all(self, values: Sequence[float]) -> None:
        if not values:
            return
        highest = max(values)
        if highest > _MAX_SECONDS or min(values) <= _MIN_SECONDS:
            for value in values:
                self.add(value)
            return
        counts = self.counts
        for value in values:
            counts[int(log(value) * _SCALE + _OFFSET)] += 1
        self.highest = max(self.highest, highest)

    def merge(self, other: "Histogram") -> None:
        self.counts = list(map(int.__add__, self.counts, other.counts))
        self.highest = max(self.highest, other.highest)
        self.negative += other.negative

    def quantile(self, share: float) -> float:
        """Return the value that this share of all values does not exceed, 0 if there are none."""
        rank = max(1, ceil(share * self.total))
        reached = 0
        for number, count in enumerate(self.counts):
            reached += count
            if reached >= rank:
                return min(_middle(number), self.highest)
        return 0.0

    def distribution(self) -> list[tuple[float, int]]:
        """Return the middle of each bucket that is not empty, and its count."""
        return [(_middle(number), count) for number, count in enumerate(self.counts) if count]


def _bucket(seconds: float) -> int:
    if seconds <= _MIN_SECONDS:
        return 0
    return int(log(min(seconds, _MAX_SECONDS)) * _SCALE + _OFFSET)


def _middle(number: int) -> float:
    return exp((number + 0.5 - _OFFSET) / _SCALE) if number else 0.0


class Measurements(msgspec.Struct, kw_only=True):
    """Everything that is measured, by one process or by all of them.

    Attributes:
        started: Runs that were started.
        succeeded: Runs that completed.
        ended: Runs that are over, whatever their outcome.
        events: Events received, by all readers.
        received: Bytes received.
        open: Open streams.
        reconnects: How often readers reconnected.
        disconnected: How often the service disconnected a reader that is slow on purpose.
        seconds: The duration of the test.
        cpu: The CPU use of the busiest process, 1.0 for a whole core.
        errors: The number of errors of each kind.
        violations: The number of broken promises of each kind.
        examples: Descriptions of the first violations.
        time_to_first_event: From a run's request to a reader's first event.
        emit_to_receive: From an event's timestamp to its arrival.
        between_events: From one event of a reader to its next.
        whole_run: From a run's request to its end.
        loop_lag: How late timers of the client's own event loop were.
    """

    started: int = 0
    succeeded: int = 0
    ended: int = 0
    events: int = 0
    received: int = 0
    open: int = 0
    reconnects: int = 0
    disconnected: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    errors: dict[str, int] = {}
    violations: dict[str, int] = {}
    examples: list[str] = []
    time_to_first_event: Histogram = msgspec.field(default_factory=Histogram)
    emit_to_receive: Histogram = msgspec.field(default_factory=Histogram)
    between_events: Histogram = msgspec.field(default_factory=Histogram)
    whole_run: Histogram = msgspec.field(default_factory=Histogram)
    loop_lag: Histogram = msgspec.field(default_factory=Histogram)

    def count_error(self, kind: str) -> None:
        _count(self.errors, kind, 1)

    def count_violation(self, kind: str, description: str) -> None:
        _count(self.violations, kind, 1)
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(description)

    def merge(self, other: "Measurements") -> None:
        for name in self.__struct_fields__:
            setattr(self, name, _sum(name, getattr(self, name), getattr(other, name)))


def _sum(name: str, one: Any, other: Any) -> Any:
    if isinstance(one, Histogram):
        one.merge(other)
        return one
    if isinstance(one, dict):
        for kind, times in other.items():
            _count(one, kind, times)
        return one
    if isinstance(one, list):
        return [*one, *other][:MAX_EXAMPLES]
    return max(one, other) if name in ("seconds", "cpu") else one + other


def _count(counts: dict[str, int], kind: str, times: int) -> None:
    if kind not in counts and len(counts) >= _MAX_KINDS:
        kind = "others"
    counts[kind] = counts.get(kind, 0) + times


def total(parts: Sequence[Measurements]) -> Measurements:
    """Return the sum of the measurements of all processes."""
    whole = Measurements()
    for part in parts:
        whole.merge(part)
    return whole


class Point(msgspec.Struct, frozen=True):
    """The progress at one time."""

    seconds: float
    ended: int
    events: int
    received: int


class Series:
    """The progress over time, in few enough points to draw, however long the test takes."""

    max_points = 600

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._interval = 0.0

    def add(self, point: Point) -> None:
        if self.points and point.seconds < self.points[-1].seconds + self._interval:
            return
        self.points.append(point)
        if len(self.points) > self.max_points:
            del self.points[1::2]
            self._interval = 1.5 * (self.points[-1].seconds - self.points[0].seconds) / len(self.points)
