"""What Prometheus may ask."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest, values
from prometheus_client.registry import Collector

from dockrion.events import CUSTOM_PREFIX, Entry

_DELIVERY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PREFIX = "dockrion_"
M = TypeVar("M", Counter, Histogram)
_OUTCOMES = {"complete": "completed", "error": "failed", "cancelled": "cancelled"}

# For all metrics of a process; otherwise PROMETHEUS_MULTIPROC_DIR decides it, which may be there for
# another program: the folder may be missing, or hold the numbers of another process.
values.ValueClass = values.MutexValue


def enable_multiprocess(directory: str, number: int) -> None:
    """Count together with other processes, from now on.

    Args:
        directory: Where each has its files.
        number: This process's, which differs from the others'; it goes on where one that had the
            same number ended.
    """
    Path(directory).mkdir(mode=0o700, exist_ok=True)  # what is old in /tmp may have been swept away
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: number)
    Metrics.directory = directory


def discard_process(directory: str, number: int) -> None:
    """Leave out what a process that ended had at work.

    Args:
        directory: Where it had its files.
        number: The process's.
    """
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  one process does without

    mark_process_dead(number, directory)


class Metrics:
    """The service's counters, in a registry of its own.

    Attributes:
        directory: Where processes share what they count, or None.
    """

    directory: ClassVar[str | None] = None

    def __init__(self) -> None:
        self._children: dict[tuple[Any, tuple[str, ...]], Any] = {}
        self._registry = registry = CollectorRegistry()
        request = ["method", "route"]
        self.requests = Counter(
            "dockrion_requests", "HTTP requests answered.", [*request, "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "dockrion_request_seconds",
            "Seconds from a request to the end of its answer; streams are not counted.",
            request,
            registry=registry,
        )
        self.active_requests = _gauge("dockrion_active_requests", "HTTP requests at work.", registry)
        self.runs = Counter("dockrion_runs", "Runs that ended, by outcome.", ["outcome"], registry=registry)
        self.active_runs = _gauge("dockrion_active_runs", "Runs accepted and not over.", registry)
        self.output_errors = Counter(
            "dockrion_output_errors", "Outputs that broke io_schema.output.", registry=registry
        )
        self.events = Counter("dockrion_events", "Events stored, by type.", ["type"], registry=registry)
        self.open_streams = _gauge("dockrion_open_streams", "Event streams open.", registry)
        self.delivery_seconds = Histogram(
            "dockrion_event_delivery_seconds",
            "Seconds from an agent's emit to the write to a reader, the newest event of each write.",
            buckets=_DELIVERY_BUCKETS,
            registry=registry,
        )

    def count_request(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a request that is over.

        Args:
            method: A known method.
            route: The path's pattern.
            status: As it was answered.
            seconds: How long the answer took, None for a stream.
        """
        self._labelled(self.requests, method, route, str(status)).inc()
        if seconds is not None:
            self._labelled(self.request_seconds, method, route).observe(seconds)

    def count_events(self, entries: Sequence[Entry]) -> None:
        """Count events that are stored, and the end of their run if it is among them."""
        counts: dict[str, int] = {}
        for entry in entries:
            counts[entry.type] = counts.get(entry.type, 0) + 1
        for event_type, count in counts.items():
            # Names are the agent's to make up; one label for all of them bounds the series.
            label = "custom" if event_type.startswith(CUSTOM_PREFIX) else event_type
            self._labelled(self.events, label).inc(count)
        if entries and (outcome := _OUTCOMES.get(entries[-1].type)) is not None:
            self._labelled(self.runs, outcome).inc()

    def _labelled(self, metric: M, *labels: str) -> M:
        """Return a metric's child; the library's own look-up takes longer than the counting."""
        child = self._children.get((metric, labels))
        if child is None:
            child = self._children[metric, labels] = metric.labels(*labels)
        return child

    def exposition(self) -> bytes:
        """Return all of it in the Prometheus text format."""
        return generate_latest(self._registry if self.directory is None else _Shared(self.directory))


class _Shared(Collector):
    """The sums over all processes, without what agents count."""

    def __init__(self, directory: str) -> None:
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415  as above

        self._collector = MultiProcessCollector(None, directory)

    def collect(self) -> Iterator[Metric]:
        merged = self._collector.collect()
        return (metric for metric in merged if metric.name.startswith(_PREFIX))


def _gauge(name: str, documentation: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, documentation, registry=registry, multiprocess_mode="livesum")
