"""Metrics that have the label `agent`, and exemplars."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dockrion.caller import current_request

M = TypeVar("M", Counter, Gauge)
Merged = Literal["livesum", "livemax", "livemostrecent"]
_SAMPLED = 1  # of the flags of a traceparent (W3C Trace Context, 3.2.2.5)


class Labelled(Generic[M]):
    """A metric's children by the values of their labels; cached, as `labels()` takes longer than counting.

    Args:
        metric: The metric, whose first label is `agent`.
        agent: The value of that label.
    """

    def __init__(self, metric: M, agent: str) -> None:
        self._metric: Any = metric
        self._agent = agent
        self._children: dict[tuple[str, ...], M] = {}

    def __call__(self, *labels: str) -> M:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(self._agent, *labels)
        return child


class Durations:
    """A histogram of seconds.

    Args:
        metric: The histogram, whose first label is `agent`; None to measure nothing.
        agent: The value of that label.
    """

    def __init__(self, metric: Histogram | None, agent: str) -> None:
        self._metric = metric
        self._agent = agent
        self._children: dict[tuple[str, ...], Histogram] = {}

    def observe(self, seconds: float, *labels: str) -> None:
        """Count a duration, with the current request's trace as an exemplar if that is recorded."""
        if self._metric is None:
            return
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(self._agent, *labels)
        child.observe(seconds, _exemplar())


class Families:
    """Makes the metrics of an agent's service.

    Args:
        agent: The agent's name.
        registry: Where they are registered.
        latency: Whether durations are measured that callers experience.
    """

    def __init__(self, agent: str, registry: CollectorRegistry, *, latency: bool = True) -> None:
        self._agent = agent
        self._registry = registry
        self._latency = latency

    def counter(self, name: str, documentation: str) -> Counter:
        """Make a counter without further labels."""
        return Counter(name, documentation, ["agent"], registry=self._registry).labels(self._agent)

    def counters(self, name: str, documentation: str, *labels: str) -> Labelled[Counter]:
        """Make counters with further labels."""
        metric = Counter(name, documentation, ["agent", *labels], registry=self._registry)
        return Labelled(metric, self._agent)

    def gauge(self, name: str, documentation: str, of_workers: Merged = "livesum") -> Gauge:
        """Make a gauge without further labels.

        Args:
            name: Its name.
            documentation: What it shows.
            of_workers: What is shown of the values of several processes.
        """
        return self.gauges(name, documentation, of_workers=of_workers)()

    def gauges(
        self, name: str, documentation: str, *labels: str, of_workers: Merged = "livesum"
    ) -> Labelled[Gauge]:
        """Make gauges with further labels."""
        metric = Gauge(
            name,
            documentation,
            ["agent", *labels],
            registry=self._registry,
            multiprocess_mode=of_workers,
        )
        return Labelled(metric, self._agent)

    def latency(self, name: str, documentation: str, buckets: Sequence[float], *labels: str) -> Durations:
        """Make a histogram of what callers experience, which measures nothing where that is switched off."""
        if not self._latency:
            return Durations(None, self._agent)
        metric = self._histogram(name, documentation, buckets, labels)
        if not labels:
            metric.labels(self._agent)  # shown before there is a duration
        return Durations(metric, self._agent)

    def observer(
        self, name: str, documentation: str, buckets: Sequence[float], *, latency: bool = False
    ) -> Callable[[float], None]:
        """Make a histogram without further labels and exemplars, and return what counts a duration.

        Args:
            name: Its name.
            documentation: What it shows.
            buckets: Their upper bounds.
            latency: Whether callers experience it, as with `latency`.
        """
        if latency and not self._latency:
            return lambda _seconds: None
        return self._histogram(name, documentation, buckets).labels(self._agent).observe

    def _histogram(
        self, name: str, documentation: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(name, documentation, ["agent", *labels], buckets=buckets, registry=self._registry)


def _exemplar() -> dict[str, str] | None:
    """Return the position of the current request in a trace, None if nobody records that trace."""
    traceparent = current_request().traceparent
    if traceparent is None:
        return None
    _, trace_id, span_id, flags, *_ = traceparent.split("-")
    return {"trace_id": trace_id, "span_id": span_id} if int(flags, 16) & _SAMPLED else None
