"""The result of a load test, which the table, the HTML report and the JSON file show."""

from collections.abc import Iterator

import msgspec
from yarl import URL

from dockrion.load.measurements import Histogram, Measurements, Point
from dockrion.load.options import Options

_BUSY_CPU = 0.9  # above it, or with this lag in seconds, the client distorts what it measures
_BUSY_LAG = 0.05
_MILLISECOND = 1e-3
_FOUR_DIGITS = 1000


class Spread(msgspec.Struct, frozen=True):
    """The distribution of a duration, in seconds."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float

    @property
    def cells(self) -> tuple[str, ...]:
        values = (self.p50, self.p90, self.p99, self.max)
        return (*(duration(value) if self.count else "-" for value in values), f"{self.count:,}")


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result.

    Attributes:
        url: The service, without user and password.
        ok: Whether a run succeeded, and there was no error and no violation.
        ended_early: Whether the test was interrupted.
        seconds: The duration of the test.
        client_cpu: The CPU use of the client's busiest process, 1.0 for a whole core.
        client_lag: How late timers of the client's event loops were.
        time_to_first_event: From a run's request to a reader's first event.
        emit_to_receive: From an event's timestamp to its arrival, if its reader was connected at the time.
        between_events: From one event of a reader to its next, 0 if they were received together.
        whole_run: From a run's request to its end.
        emit_to_receive_distribution: Pairs of a duration and how many events took about so long.
        whole_run_distribution: Pairs of a duration and how many runs took about so long.
        examples: Descriptions of the first violations.
        notes: What limits the meaning of the measurements.
        series: The progress over time.
    """

    url: str
    pattern: str
    concurrency: int
    readers: int
    slow_readers: int
    reconnect: float
    processes: int
    ok: bool
    ended_early: bool
    seconds: float
    runs: int
    runs_succeeded: int
    runs_per_second: float
    events: int
    events_per_second: float
    bytes: int
    bytes_per_second: float
    reconnects: int
    slow_readers_disconnected: int
    client_cpu: float
    client_lag: Spread
    time_to_first_event: Spread
    emit_to_receive: Spread
    between_events: Spread
    whole_run: Spread
    emit_to_receive_distribution: list[tuple[float, int]]
    whole_run_distribution: list[tuple[float, int]]
    errors: dict[str, int]
    violations: dict[str, int]
    examples: list[str]
    notes: list[str]
    series: list[Point]

    @property
    def spread_rows(self) -> list[tuple[str, ...]]:
        """Rows of a name, p50, p90, p99, the maximum and the count."""
        return [
            ("time to first event", *self.time_to_first_event.cells),
            ("emit to receive", *self.emit_to_receive.cells),
            ("between events", *self.between_events.cells),
            ("whole run", *self.whole_run.cells),
        ]

    @property
    def totals(self) -> list[tuple[str, str, str]]:
        """Rows of a name, a total and a rate."""
        return [
            ("runs", f"{self.runs:,}", f"{self.runs_per_second:,.1f}/s"),
            ("succeeded", f"{self.runs_succeeded:,}", ""),
            ("events", f"{self.events:,}", f"{self.events_per_second:,.0f}/s"),
            ("bytes", f"{self.bytes:,}", f"{self.bytes_per_second:,.0f}/s"),
            ("reconnects", f"{self.reconnects:,}", ""),
        ]


def result(options: Options, measurements: Measurements, series: list[Point], *, ended_early: bool) -> Result:
    """Return the result of a test."""
    seconds = max(measurements.seconds, 1e-9)
    return Result(
        url=str(URL(options.url).with_user(None)),
        pattern=options.pattern,
        concurrency=options.concurrency,
        readers=options.readers,
        slow_readers=options.slow_readers,
        reconnect=options.reconnect,
        processes=options.processes,
        ok=measurements.succeeded > 0 and not measurements.errors and not measurements.violations,
        ended_early=ended_early,
        seconds=measurements.seconds,
        runs=measurements.ended,
        runs_succeeded=measurements.succeeded,
        runs_per_second=measurements.ended / seconds,
        events=measurements.events,
        events_per_second=measurements.events / seconds,
        bytes=measurements.received,
        bytes_per_second=measurements.received / seconds,
        reconnects=measurements.reconnects,
        slow_readers_disconnected=measurements.disconnected,
        client_cpu=measurements.cpu,
        client_lag=_spread(measurements.loop_lag),
        time_to_first_event=_spread(measurements.time_to_first_event),
        emit_to_receive=_spread(measurements.emit_to_receive),
        between_events=_spread(measurements.between_events),
        whole_run=_spread(measurements.whole_run),
        emit_to_receive_distribution=measurements.emit_to_receive.distribution(),
        whole_run_distribution=measurements.whole_run.distribution(),
        errors=measurements.errors,
        violations=measurements.violations,
        examples=measurements.examples,
        notes=list(_notes(options, measurements, ended_early=ended_early)),
        series=series,
    )


def _spread(histogram: Histogram) -> Spread:
    p50, p90, p99 = (histogram.quantile(share) for share in (0.5, 0.9, 0.99))
    return Spread(histogram.total, p50, p90, p99, histogram.highest)


def _notes(options: Options, measurements: Measurements, *, ended_early: bool) -> Iterator[str]:
    if ended_early:
        yield f"ended early: {measurements.started - measurements.ended} runs were not awaited"
    lag = measurements.loop_lag.quantile(0.9)
    if measurements.cpu > _BUSY_CPU or lag > _BUSY_LAG:
        yield (
            f"the client is the limit (CPU {measurements.cpu:.0%}, its event loop {duration(lag)} late): "
            "use more --processes, or more machines"
        )
    if measurements.emit_to_receive.total:
        yield "emit to receive is meaningful only if this machine and the service share a clock"
    if measurements.emit_to_receive.negative:
        negative = measurements.emit_to_receive.negative
        yield f"the clocks differ: {negative:,} events were received before they were emitted"
    if options.slow_readers:
        yield (
            "the times of events leave out readers that are slow on purpose; "
            f"the service disconnected those {measurements.disconnected:,} times"
        )


def duration(seconds: float) -> str:
    """Format a duration with three significant digits, or all of its seconds."""
    if seconds >= _FOUR_DIGITS:
        return f"{seconds:,.0f} s"
    if seconds >= 1:
        return f"{seconds:.3g} s"
    if seconds >= _MILLISECOND:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} µs"


def most_frequent_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])
