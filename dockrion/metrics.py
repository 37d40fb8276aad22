"""What Prometheus may ask."""

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from dockrion.events import CUSTOM_PREFIX, Entry

_DELIVERY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The service's counters, in a registry of its own."""

    def __init__(self) -> None:
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
        self.active_requests = Gauge("dockrion_active_requests", "HTTP requests at work.", registry=registry)
        self.runs = Counter("dockrion_runs", "Runs that ended, by outcome.", ["outcome"], registry=registry)
        self.active_runs = Gauge("dockrion_active_runs", "Runs accepted and not over.", registry=registry)
        self.output_errors = Counter(
            "dockrion_output_errors", "Outputs that broke io_schema.output.", registry=registry
        )
        self.events = Counter("dockrion_events", "Events stored, by type.", ["type"], registry=registry)
        self.open_streams = Gauge("dockrion_open_streams", "Event streams open.", registry=registry)
        self.delivery_seconds = Histogram(
            "dockrion_event_delivery_seconds",
            "Seconds from an agent's emit to the write to a reader, the newest event of each write.",
            buckets=_DELIVERY_BUCKETS,
            registry=registry,
        )

    def count_events(self, entries: Sequence[Entry]) -> None:
        for event_type, count in Tally(entry.type for entry in entries).items():
            # Names are the agent's to make up; one label for all of them bounds the series.
            label = "custom" if event_type.startswith(CUSTOM_PREFIX) else event_type
            self.events.labels(label).inc(count)

    def exposition(self) -> bytes:
        """Return all of it in the Prometheus text format."""
        return generate_latest(self._registry)
