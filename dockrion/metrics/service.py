"""All metrics of a service, and their exposition."""

from typing import Literal

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from dockrion.metrics.dependencies import MemoryStoreMetrics, RedisMetrics, WebhookMetrics
from dockrion.metrics.families import Families
from dockrion.metrics.multiprocess import AllProcesses
from dockrion.metrics.requests import RequestMetrics
from dockrion.metrics.runs import QueueMetrics, RunMetrics

Policy = Literal["injection", "redaction", "tool", "truncation"]
_POLICIES: tuple[Policy, ...] = ("injection", "redaction", "tool", "truncation")
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_OPENMETRICS = "application/openmetrics-text"


class Metrics:
    """The metrics of a service.

    Args:
        agent: The agent's name, the label `agent` of every metric.
        latency: Whether to measure durations that callers experience.
        tokens: Whether to count the tokens that models took.

    Attributes:
        requests: Those of requests and streams.
        runs: Those of runs.
        queue: Those of the queue.
        observe_loop_lag: Counts by how many seconds the event loop was late.
    """

    def __init__(self, agent: str, *, latency: bool = True, tokens: bool = True) -> None:
        self._registry = CollectorRegistry()
        self._families = families = Families(agent, self._registry, latency=latency)
        self.requests = RequestMetrics(families)
        self.runs = RunMetrics(families, tokens=tokens)
        self.queue = QueueMetrics(families)
        self.observe_loop_lag = families.observer(
            "dockrion_event_loop_lag_seconds",
            "Seconds by which the event loop was late for a timer, measured every second.",
            _LAG_BUCKETS,
        )
        self._policy_hits = families.counters(
            "dockrion_policy_hits",
            "Texts redacted or truncated, requests refused for a phrasing, tool calls denied, by policy.",
            "policy",
        )
        for policy in _POLICIES:
            self._policy_hits(policy)

    def memory_store(self) -> MemoryStoreMetrics:
        """Return the metrics of the memory backend, which are there once this is called."""
        return MemoryStoreMetrics(self._families)

    def redis(self) -> RedisMetrics:
        """Return the metrics of Redis, which are there once this is called."""
        return RedisMetrics(self._families)

    def webhooks(self) -> WebhookMetrics:
        """Return the metrics of webhooks, which are there once this is called."""
        return WebhookMetrics(self._families)

    def count_policy_hit(self, policy: Policy) -> None:
        """Count what a policy of the Dockfile has masked, cut or refused. Thread-safe."""
        self._policy_hits(policy).inc()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics; those of this process if there are no others.

        Args:
            accept: The `Accept` header of the request. If it names OpenMetrics, the format is that, which
                alone has exemplars.

        Returns:
            The metrics, and their media type.
        """
        registry = AllProcesses(self._registry) if AllProcesses.available() else self._registry
        if _accepts_openmetrics(accept):
            return openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(registry), CONTENT_TYPE_LATEST


def _accepts_openmetrics(accept: str) -> bool:
    for each in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in each.split(";"))
        if media_type == _OPENMETRICS and not {"q=0", "q=0.0", "q=0.00", "q=0.000"}.intersection(parameters):
            return True
    return False
