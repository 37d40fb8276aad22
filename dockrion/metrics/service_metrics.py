"""The metrics of a service."""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from dockrion.events import CUSTOM_PREFIX, Entry
from dockrion.metrics.multiprocess import AllProcesses

_DELIVERY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WAIT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_Merged = Literal["livesum", "livemostrecent"]
_SUM: _Merged = "livesum"
_NEWEST: _Merged = "livemostrecent"
M = TypeVar("M", Counter, Histogram)
_OUTCOMES = {"complete": "completed", "error": "failed", "cancelled": "cancelled"}


class Metrics:
    """The metrics of the service."""

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
        return generate_latest(AllProcesses() if AllProcesses.available() else self._registry)


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


def _gauge(name: str, documentation: str, registry: CollectorRegistry, of_workers: _Merged = _SUM) -> Gauge:
    """Make a gauge; of several processes, the sum or the newest value is shown."""
    return Gauge(name, documentation, registry=registry, multiprocess_mode=of_workers)
