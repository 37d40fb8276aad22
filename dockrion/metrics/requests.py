"""Metrics of HTTP requests and of event streams."""

from dockrion.metrics.families import Families

_LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_STREAM_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_DELIVERY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class RequestMetrics:
    """Counts requests and streams, and measures how long they take.

    Args:
        families: Makes the metrics.

    Attributes:
        active: Requests in progress.
        open_streams: Streams in progress: the subscribers of runs.
        count_delivery: Counts how many seconds events took to a reader.
    """

    def __init__(self, families: Families) -> None:
        self.active = families.gauge("dockrion_active_requests", "HTTP requests in progress.")
        self.open_streams = families.gauge("dockrion_open_streams", "Event streams open.")
        endpoint = ("method", "endpoint")
        self._count = families.counters("dockrion_requests", "HTTP requests completed.", *endpoint, "status")
        self._latency = families.latency(
            "dockrion_request_latency_seconds",
            "Seconds from a request to the end of its response, without streams.",
            _LATENCY_BUCKETS,
            *endpoint,
        )
        self._streams = families.latency(
            "dockrion_stream_duration_seconds",
            "Seconds from a request to the end of the stream that it opened.",
            _STREAM_BUCKETS,
            *endpoint,
        )
        self.count_delivery = families.observer(
            "dockrion_event_delivery_seconds",
            "Seconds from an agent's emit to the write to a reader, of the newest event of each write.",
            _DELIVERY_BUCKETS,
            latency=True,
        )

    def count(self, method: str, endpoint: str, status: int, seconds: float, *, streamed: bool) -> None:
        """Count a completed request.

        Args:
            method: The method; only known ones, as each makes a time series.
            endpoint: The path's pattern.
            status: The status of the response.
            seconds: The duration.
            streamed: Whether the response was a stream.
        """
        self._count(method, endpoint, str(status)).inc()
        (self._streams if streamed else self._latency).observe(seconds, method, endpoint)
