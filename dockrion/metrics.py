"""Prometheus metrics."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

from dockrion.events import CUSTOM_PREFIX, Entry
from dockrion.logs import log

_logger = logging.getLogger(__name__)
_FILE_BYTES = 64 * 1024  # of a new file
_VALUE_BYTES = 32  # at most, beside its key
_DELIVERY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WAIT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_Merged = Literal["livesum", "livemostrecent"]
_SUM: _Merged = "livesum"
_NEWEST: _Merged = "livemostrecent"
_PREFIX = "dockrion_"
M = TypeVar("M", Counter, Histogram)
_OUTCOMES = {"complete": "completed", "error": "failed", "cancelled": "cancelled"}

# Ignore PROMETHEUS_MULTIPROC_DIR unless `enable_multiprocess` is called: it may be set for another program,
# and its directory may be missing or contain that program's files.
values.ValueClass = values.MutexValue


def enable_multiprocess(directory: str, number: int) -> None:
    """Share metrics with the other worker processes.

    Args:
        directory: The directory of the metrics files.
        number: The number of this process among the workers; a process that replaces another takes over its
            number, and its files.
    """
    with suppress(OSError):
        Path(directory).mkdir(mode=0o700, exist_ok=True)  # a cleaner of /tmp may have deleted it
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    vars(values)["MmapedDict"] = SharedValues  # the class of its files, for which there is no parameter
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: number)
    Metrics.directory = directory


def discard_process(directory: str, number: int) -> None:
    """Remove the gauges of a process that ended.

    Args:
        directory: The directory of the metrics files.
        number: The number of the process.
    """
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  memory: only needed with several processes

    mark_process_dead(number, directory)


class SharedValues(MmapedDict):
    """Values of a worker in a file that the others read; without room for the file it only counts on.

    Writing to a mapped file where it has no disk blocks, and there are no more, ends the process (SIGBUS).
    So the blocks are allocated first. A value is in the file once it is written while there is room.

    Args:
        filename: The file, which may be that of a dead worker.
    """

    def __init__(self, filename: str) -> None:
        self._path = Path(filename)
        self._opened = False
        self._complete = True
        self._positions: dict[str, int] = {}

    def read_value(self, key: str) -> tuple[float, float]:
        """Return a value and its timestamp, 0 by default."""
        return super().read_value(key) if self._has_room(key) else (0.0, 0.0)  # type: ignore[no-untyped-call]

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Set a value."""
        if self._has_room(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the file."""
        if self._opened:
            super().close()  # type: ignore[no-untyped-call]

    def _has_room(self, key: str) -> bool:
        if key in self._positions:
            return True
        try:
            self._make_room(len(key.encode()) + _VALUE_BYTES)
        except OSError as error:
            if self._complete:
                self._complete = False
                log(_logger, logging.ERROR, "metrics cannot be stored at present", reason=str(error))
            return False
        self._complete = True
        return True

    def _make_room(self, more: int) -> None:
        if not self._opened:
            if not self._path.exists():
                incomplete = self._path.with_suffix(".incomplete")  # which no other process reads
                _allocate(incomplete, _FILE_BYTES)
                incomplete.replace(self._path)
            super().__init__(str(self._path))  # type: ignore[no-untyped-call]
            self._opened = True
        size = self._capacity
        while size < self._used + more:
            size *= 2
        if size > self._capacity:
            _allocate(self._path, size)


def _allocate(path: Path, size: int) -> None:
    """Extend a file to a size, without holes."""
    with path.open("ab") as file:
        file.write(bytes(max(size - file.tell(), 0)))


class Metrics:
    """The metrics of the service.

    Attributes:
        directory: The directory of the metrics files of all processes, or None with one process.
    """

    directory: ClassVar[str | None] = None

    def __init__(self) -> None:
        self._children: dict[tuple[Any, tuple[str, ...]], Any] = {}
        self._registry = registry = CollectorRegistry()
        request = ["method", "route"]
        self.requests = Counter(
            "dockrion_requests", "HTTP requests completed.", [*request, "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "dockrion_request_seconds",
            "Seconds from a request to the end of its response, without streams.",
            request,
            registry=registry,
        )
        self.active_requests = _gauge("dockrion_active_requests", "HTTP requests in progress.", registry)
        self.runs = Counter("dockrion_runs", "Runs that ended, by outcome.", ["outcome"], registry=registry)
        self.active_runs = _gauge("dockrion_active_runs", "Runs accepted and not ended.", registry)
        self.queued_runs = _gauge("dockrion_queued_runs", "Runs that wait for a slot.", registry, _NEWEST)
        self.queue_seconds = _gauge(
            "dockrion_queue_oldest_seconds", "Seconds that the first of them waits.", registry, _NEWEST
        )
        self.queue_bytes = _gauge(
            "dockrion_queue_payload_bytes", "Size of what is stored to start them.", registry, _NEWEST
        )
        self.kept_payload_bytes = _gauge(
            "dockrion_kept_payload_bytes", "Size of what is stored to begin active runs again.", registry
        )
        self.waiting_seconds = Histogram(
            "dockrion_queue_wait_seconds",
            "Seconds that runs waited for a slot, without those that found one at once.",
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.output_errors = Counter(
            "dockrion_output_errors", "Outputs that violated io_schema.output.", registry=registry
        )
        self.events = Counter("dockrion_events", "Events stored, by type.", ["type"], registry=registry)
        self.stored_bytes = _gauge(
            "dockrion_stored_bytes", "Memory that runs take with the memory backend.", registry
        )
        self.evicted_runs = Counter(
            "dockrion_evicted_runs", "Runs removed because of limits.max_stored_bytes.", registry=registry
        )
        self.evicted_events = Counter(
            "dockrion_evicted_events",
            "Events of other runs removed because of limits.max_stored_bytes.",
            registry=registry,
        )
        self.open_streams = _gauge("dockrion_open_streams", "Event streams open.", registry)
        self.delivery_seconds = Histogram(
            "dockrion_event_delivery_seconds",
            "Seconds from an agent's emit to the write to a reader, of the newest event of each write.",
            buckets=_DELIVERY_BUCKETS,
            registry=registry,
        )

    def webhooks(self) -> "WebhookMetrics":
        """Return the metrics of webhooks, which are there once this is called."""
        return WebhookMetrics(self._registry)

    def count_request(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a completed request.

        Args:
            method: The method; only known ones, as each makes a time series.
            route: The path's pattern.
            status: The status of the response.
            seconds: The duration, or None for a stream.
        """
        self._labelled(self.requests, method, route, str(status)).inc()
        if seconds is not None:
            self._labelled(self.request_seconds, method, route).observe(seconds)

    def count_events(self, entries: Sequence[Entry]) -> None:
        """Count stored events, and the outcome of their run if one of them is terminal."""
        counts: dict[str, int] = {}
        for entry in entries:
            counts[entry.type] = counts.get(entry.type, 0) + 1
        for event_type, count in counts.items():
            # Agents choose the names of custom events: one label for all of them bounds the time series.
            label = "custom" if event_type.startswith(CUSTOM_PREFIX) else event_type
            self._labelled(self.events, label).inc(count)
        if entries and (outcome := _OUTCOMES.get(entries[-1].type)) is not None:
            self._labelled(self.runs, outcome).inc()

    def show_queue(self, length: float, oldest_seconds: float, payload_bytes: float) -> None:
        """Show the state of the queue, NaN for what is not known."""
        self.queued_runs.set(length)
        self.queue_seconds.set(oldest_seconds)
        self.queue_bytes.set(payload_bytes)

    def count_wait(self, seconds: float) -> None:
        """Count how long a run has waited for a slot; clocks of replicas differ."""
        self.waiting_seconds.observe(max(seconds, 0.0))

    def count_evicted(self, runs: int, events: int) -> None:
        """Count what was removed because of `limits.max_stored_bytes`."""
        self.evicted_runs.inc(runs)
        self.evicted_events.inc(events)

    def _labelled(self, metric: M, *labels: str) -> M:
        """Return a metric's child; cached, as `labels()` takes longer than counting."""
        child = self._children.get((metric, labels))
        if child is None:
            child = self._children[metric, labels] = metric.labels(*labels)
        return child

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format; those of this process if there are no others."""
        if self.directory is None or not Path(self.directory).is_dir():  # a cleaner of /tmp, as above
            return generate_latest(self._registry)
        return generate_latest(_AllProcesses(self.directory))


class WebhookMetrics:
    """The metrics of webhooks.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._count = Counter(
            "dockrion_webhooks",
            "Webhooks delivered and given up, and attempts that failed.",
            ["outcome"],
            registry=registry,
        )
        # All processes and replicas see the same.
        self._waiting = Gauge(
            "dockrion_webhooks_waiting",
            "Runs of which webhooks wait, counted for each target.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._oldest = Gauge(
            "dockrion_webhooks_oldest_seconds",
            "How long the oldest webhook has waited.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        for outcome in ("delivered", "failed", "given_up"):
            self._count.labels(outcome)

    def count(self, outcome: Literal["delivered", "failed", "given_up"], number: int = 1) -> None:
        """Count webhooks that were delivered or given up, or attempts that failed."""
        self._count.labels(outcome).inc(number)

    def waiting(self, deliveries: int, oldest_seconds: float) -> None:
        """Set how much waits, and for how long the oldest has waited."""
        self._waiting.set(deliveries)
        self._oldest.set(oldest_seconds)


class _AllProcesses(Collector):
    """The sums over all processes, without metrics that the agent's code defines."""

    def __init__(self, directory: str) -> None:
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415  memory, as above

        self._collector = MultiProcessCollector(None, directory)

    def collect(self) -> Iterator[Metric]:
        merged = self._collector.collect()
        return (metric for metric in merged if metric.name.startswith(_PREFIX))


def _gauge(name: str, documentation: str, registry: CollectorRegistry, of_workers: _Merged = _SUM) -> Gauge:
    """Make a gauge; of several processes, the sum or the newest value is shown."""
    return Gauge(name, documentation, registry=registry, multiprocess_mode=of_workers)
