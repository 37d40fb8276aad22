"""What a load test found: what its table, its page and its JSON say."""

from collections.abc import Iterator

import msgspec
from yarl import URL

from dockrion.load.measurements import Figures, Histogram, Point
from dockrion.load.options import Options

_BUSY = 0.9
_LATE = 0.05
_MILLISECOND = 1e-3
_MANY = 1000  # of which three digits would leave some out


class Spread(msgspec.Struct, frozen=True):
    """How long something took, in seconds."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result.

    Attributes:
        url: The service, without a password.
        ok: Something succeeded, and nothing failed.
        ended_early: Whether it was interrupted.
        seconds: How long it took.
        client_cpu: The share of a core that the client's busiest process used.
        client_lag: How late the client's event loops were.
        time_to_first_event: From the run's request to a reader's first event.
        emit_to_receive: From an event's timestamp to its arrival, of those emitted to an open connection.
        between_events: Between a reader's events; those that came together have none.
        whole_run: From the run's request to its end.
        emit_to_receive_distribution: How many events took about how long.
        whole_run_distribution: How many runs took about how long.
        examples: The first violations, in words.
        notes: What to know about the figures.
        series: How far it was over time.
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
    def spreads(self) -> dict[str, Spread]:
        """The rows of the table."""
        return {
            "time to first event": self.time_to_first_event,
            "emit to receive": self.emit_to_receive,
            "between events": self.between_events,
            "whole run": self.whole_run,
        }

    @property
    def totals(self) -> list[tuple[str, str, str]]:
        """What there was, how much of it, and how much a second."""
        return [
            ("runs", f"{self.runs:,}", f"{self.runs_per_second:,.1f}/s"),
            ("succeeded", f"{self.runs_succeeded:,}", ""),
            ("events", f"{self.events:,}", f"{self.events_per_second:,.0f}/s"),
            ("bytes", f"{self.bytes:,}", f"{self.bytes_per_second:,.0f}/s"),
            ("reconnects", f"{self.reconnects:,}", ""),
        ]


def result(options: Options, figures: Figures, series: list[Point], *, ended_early: bool) -> Result:
    """Sum up a test."""
    seconds = max(figures.seconds, 1e-9)
    return Result(
        url=str(URL(options.url).with_user(None)),
        pattern=options.pattern,
        concurrency=options.concurrency,
        readers=options.readers,
        slow_readers=options.slow_readers,
        reconnect=options.reconnect,
        processes=options.processes,
        ok=figures.succeeded > 0 and not figures.errors and not figures.violations,
        ended_early=ended_early,
        seconds=figures.seconds,
        runs=figures.ended,
        runs_succeeded=figures.succeeded,
        runs_per_second=figures.ended / seconds,
        events=figures.events,
        events_per_second=figures.events / seconds,
        bytes=figures.received,
        bytes_per_second=figures.received / seconds,
        reconnects=figures.reconnects,
        slow_readers_disconnected=figures.disconnected,
        client_cpu=figures.cpu,
        client_lag=_spread(figures.lag),
        time_to_first_event=_spread(figures.first_event),
        emit_to_receive=_spread(figures.late),
        between_events=_spread(figures.gap),
        whole_run=_spread(figures.whole),
        emit_to_receive_distribution=figures.late.distribution(),
        whole_run_distribution=figures.whole.distribution(),
        errors=figures.errors,
        violations=figures.violations,
        examples=figures.examples,
        notes=list(_notes(options, figures, ended_early=ended_early)),
        series=series,
    )


def _spread(histogram: Histogram) -> Spread:
    p50, p90, p99 = (histogram.quantile(share) for share in (0.5, 0.9, 0.99))
    return Spread(histogram.total, p50, p90, p99, histogram.highest)


def _notes(options: Options, figures: Figures, *, ended_early: bool) -> Iterator[str]:
    if ended_early:
        yield f"ended early: {figures.started - figures.ended} runs were left where they were"
    lag = figures.lag.quantile(0.9)
    if figures.cpu > _BUSY or lag > _LATE:
        yield (
            f"the client is the limit (CPU {figures.cpu:.0%}, its event loop {duration(lag)} late): "
            "use more --processes, or more machines"
        )
    if figures.late.total:
        yield "emit to receive means something only when this machine and the service share a clock"
    if figures.late.negative:
        yield f"the clocks differ: {figures.late.negative:,} events came before they were emitted"
    if options.slow_readers:
        yield (
            "readers that are slow on purpose are not in the times of events; "
            f"the service cut them off {figures.disconnected:,} times"
        )


def duration(seconds: float) -> str:
    """Write a duration with three digits."""
    if seconds >= 1:
        return f"{seconds:,.0f} s" if seconds >= _MANY else f"{seconds:.3g} s"
    if seconds >= _MILLISECOND:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds * 1e6:.3g} µs"
