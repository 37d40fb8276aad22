"""Metrics of what a service stores and depends on: the store, Redis, the receivers of webhooks."""

from typing import Literal

from dockrion.metrics.families import Families

RedisState = Literal["up", "degraded", "away"]
_REDIS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3)


class MemoryStoreMetrics:
    """Shows what the memory backend stores.

    Args:
        families: Makes the metrics.

    Attributes:
        stored_bytes: The memory that runs take.
    """

    def __init__(self, families: Families) -> None:
        self.stored_bytes = families.gauge(
            "dockrion_stored_bytes", "Memory that runs take with the memory backend."
        )
        self._evicted_runs = families.counter(
            "dockrion_evicted_runs", "Runs removed because of limits.max_stored_bytes."
        )
        self._evicted_events = families.counter(
            "dockrion_evicted_events",
            "Events of other runs removed because of limits.max_stored_bytes.",
        )

    def count_evicted(self, runs: int, events: int) -> None:
        """Count what was removed because of `limits.max_stored_bytes`."""
        self._evicted_runs.inc(runs)
        self._evicted_events.inc(events)


class RedisMetrics:
    """Shows how Redis does, as seen by this process.

    Args:
        families: Makes the metrics.

    Attributes:
        observe: Counts how long Redis took to reply.
    """

    def __init__(self, families: Families) -> None:
        self.observe = families.observer(
            "dockrion_redis_latency_seconds", "Seconds until Redis replied.", _REDIS_BUCKETS
        )
        self._states = families.gauges(
            "dockrion_redis_state", "Processes that see Redis in a state.", "state"
        )
        self.show_state("up")

    def show_state(self, state: RedisState) -> None:
        """Show the state that Redis is in."""
        for each in ("up", "degraded", "away"):
            self._states(each).set(each == state)


class WebhookMetrics:
    """Counts webhooks.

    Args:
        families: Makes the metrics.
    """

    def __init__(self, families: Families) -> None:
        self._count = families.counters(
            "dockrion_webhooks",
            "Webhooks delivered and given up, and attempts that failed.",
            "outcome",
        )
        # All processes and replicas see the same.
        self._waiting = families.gauge(
            "dockrion_webhooks_waiting",
            "Runs of which webhooks wait, counted for each target.",
            of_workers="livemax",
        )
        self._oldest = families.gauge(
            "dockrion_webhooks_oldest_seconds",
            "How long the oldest webhook has waited.",
            of_workers="livemax",
        )
        for outcome in ("delivered", "failed", "given_up"):
            self._count(outcome)

    def count(self, outcome: Literal["delivered", "failed", "given_up"], number: int = 1) -> None:
        """Count webhooks that were delivered or given up, or attempts that failed."""
        self._count(outcome).inc(number)

    def show_waiting(self, deliveries: int, oldest_seconds: float) -> None:
        """Show how much waits, and for how long the oldest has waited."""
        self._waiting.set(deliveries)
        self._oldest.set(oldest_seconds)
