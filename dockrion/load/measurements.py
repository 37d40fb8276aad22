"""What is measured, in a form that takes the same room however much it is, and can be added up."""

from collections.abc import Sequence
from math import ceil, exp, log
from typing import Any

import msgspec

_LEAST = 1e-6
_MOST = 1e6
_RATIO = 1.03  # of neighbouring buckets: a bucket's middle is within 1.5 % of all in it
_SCALE = 1 / log(_RATIO)
_OFFSET = 1 - int(log(_LEAST) * _SCALE)
_SIZE = int(log(_MOST) * _SCALE) + _OFFSET + 2
_MOST_KINDS = 50
MOST_EXAMPLES = 10


class Histogram(msgspec.Struct):
    """Counts of durations, within 1.5 % of each, or a microsecond.

    Attributes:
        counts: How many are in each bucket.
        highest: The longest.
        negative: How many were below zero.
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
        if highest > _MOST or min(values) <= _LEAST:
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
        """Return the value that this share of all does not exceed, 0 where there are none."""
        rank = max(1, ceil(share * self.total))
        reached = 0
        for number, count in enumerate(self.counts):
            reached += count
            if reached >= rank:
                return min(_middle(number), self.highest)
        return 0.0

    def distribution(self) -> list[tuple[float, int]]:
        """Return the middle of each bucket that has something, and how many it has."""
        return [(_middle(number), count) for number, count in enumerate(self.counts) if count]


def _bucket(seconds: float) -> int:
    if seconds <= _LEAST:
        return 0
    return int(log(min(seconds, _MOST)) * _SCALE + _OFFSET)


def _middle(number: int) -> float:
    return exp((number + 0.5 - _OFFSET) / _SCALE) if number else 0.0


class Figures(msgspec.Struct, kw_only=True):
    """Everything that is measured, by one process or by all of them.

    Attributes:
        started: Runs begun.
        succeeded: Runs that ended well.
        ended: Runs that are over, however they ended.
        events: Events received, by all readers.
        received: Bytes received.
        open: Streams that are open.
        reconnects: How often readers came back.
        disconnected: How often the server cut off a reader that is slow on purpose.
        seconds: How long it took.
        cpu: The share of a core that the busiest process used.
        errors: Errors by kind.
        violations: Broken promises by kind.
        examples: The first of them, in words.
        first_event: From the run's request to a reader's first event.
        late: From an event's timestamp to its arrival.
        gap: Between a reader's events.
        whole: From a run's request to its end.
        lag: How late the client's own event loop was.
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
    first_event: Histogram = msgspec.field(default_factory=Histogram)
    late: Histogram = msgspec.field(default_factory=Histogram)
    gap: Histogram = msgspec.field(default_factory=Histogram)
    whole: Histogram = msgspec.field(default_factory=Histogram)
    lag: Histogram = msgspec.field(default_factory=Histogram)

    def error(self, kind: str) -> None:
        _count(self.errors, kind, 1)

    def violation(self, kind: str, words: str) -> None:
        _count(self.violations, kind, 1)
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(words)

    def merge(self, other: "Figures") -> None:
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
        return [*one, *other][:MOST_EXAMPLES]
    return max(one, other) if name in ("seconds", "cpu") else one + other


def _count(counts: dict[str, int], kind: str, times: int) -> None:
    if kind not in counts and len(counts) >= _MOST_KINDS:
        kind = "others"
    counts[kind] = counts.get(kind, 0) + times


def total(parts: Sequence[Figures]) -> Figures:
    """Add up."""
    whole = Figures()
    for part in parts:
        whole.merge(part)
    return whole


class Point(msgspec.Struct, frozen=True):
    """How far it was at a time."""

    seconds: float
    ended: int
    events: int
    received: int


class Series:
    """Points over time: few enough to draw, however long it takes."""

    most = 600

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._apart = 0.0

    def add(self, point: Point) -> None:
        if self.points and point.seconds < self.points[-1].seconds + self._apart:
            return
        self.points.append(point)
        if len(self.points) > self.most:
            del self.points[1::2]
            self._apart = 1.5 * (self.points[-1].seconds - self.points[0].seconds) / len(self.points)
