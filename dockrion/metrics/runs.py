"""Metrics of runs, of what they emit, and of the queue."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from dockrion.events import CUSTOM_PREFIX, Entry
from dockrion.metrics.families import Families

_WAIT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 20, 30, 60, 120)
_OUTCOMES = {"complete": "completed", "error": "failed", "cancelled": "cancelled"}
_MAX_MODELS = 50
_OTHER_MODELS = "other"
_NOT_IN_MODEL_NAMES = re.compile(r"[^ -~]")
_MAX_MODEL_NAME = 100  # characters


class RunMetrics:
    """Counts runs and what they emit, and measures how long they take.

    Args:
        families: Makes the metrics.
        tokens: Whether to count the tokens that models took.

    Attributes:
        active: Runs of this process that are accepted and not over.
        kept_payload_bytes: What is stored to begin them again.
        output_errors: Outputs that broke the schema.
    """

    def __init__(self, families: Families, *, tokens: bool) -> None:
        self.active = families.gauge("dockrion_active_runs", "Runs accepted and not ended.")
        self.kept_payload_bytes = families.gauge(
            "dockrion_kept_payload_bytes", "Size of what is stored to begin active runs again."
        )
        self.output_errors = families.counter(
            "dockrion_output_errors", "Outputs that violated io_schema.output."
        )
        self._ended = families.counters("dockrion_runs", "Runs that ended, by outcome.", "outcome")
        for outcome in _OUTCOMES.values():
            self._ended(outcome)
        self._events = families.counters("dockrion_events", "Events stored, by type.", "type")
        self._duration = families.latency(
            "dockrion_run_duration_seconds",
            "Seconds that agents worked on runs, by outcome.",
            _DURATION_BUCKETS,
            "outcome",
        )
        self._first_token = families.latency(
            "dockrion_first_token_seconds",
            "Seconds from the request for a run to its first token.",
            _FIRST_TOKEN_BUCKETS,
        )
        self._tokens = None
        self._models: set[str] = set()
        if tokens:
            self._tokens = families.counters(
                "dockrion_tokens", "Tokens that models took, as agents reported them.", "model", "type"
            )

    def event_counter(self, created_at: datetime, attempt: int) -> "EventCounter":
        """Return what counts the events of a run.

        Args:
            created_at: When the run was accepted.
            attempt: How often its agent was started.
        """
        return EventCounter(self, created_at, first_attempt=attempt == 1)

    def count_events(self, entries: Sequence[Entry]) -> None:
        """Count stored events, and the outcome of their run if one of them is terminal."""
        self.count_by_type(entries)

    def count_by_type(self, entries: Sequence[Entry]) -> dict[str, int]:
        """Count stored events as `count_events` does; return how many there are of each type."""
        counts: dict[str, int] = {}
        for entry in entries:
            counts[entry.type] = counts.get(entry.type, 0) + 1
        for event_type, count in counts.items():
            # Agents choose the names of custom events: one label for all of them bounds the time series.
            label = "custom" if event_type.startswith(CUSTOM_PREFIX) else event_type
            self._events(label).inc(count)
        if entries and (outcome := _OUTCOMES.get(entries[-1].type)) is not None:
            self._ended(outcome).inc()
        return counts

    def count_first_token(self, seconds: float) -> None:
        """Count how long the first token of a run took; clocks of replicas differ."""
        self._first_token.observe(max(seconds, 0.0))

    def count_duration(self, outcome: str, seconds: float) -> None:
        """Count how long an agent worked on a run that is over now."""
        self._duration.observe(seconds, outcome)

    def count_tokens(self, by_model: Mapping[str, Mapping[str, int]]) -> None:
        """Count the tokens that the models of a run took.

        Args:
            by_model: `input_tokens` and `output_tokens` by the model's name, which the agent chooses: the
                names after the first fifty have one label together, which bounds the time series.
        """
        if self._tokens is None:
            return
        for name, counts in by_model.items():
            model = _NOT_IN_MODEL_NAMES.sub("?", name[:_MAX_MODEL_NAME])
            if model not in self._models and len(self._models) >= _MAX_MODELS:
                model = _OTHER_MODELS
            self._models.add(model)
            self._tokens(model, "input").inc(counts["input_tokens"])
            self._tokens(model, "output").inc(counts["output_tokens"])


class EventCounter:
    """Counts the stored events of one run.

    Args:
        metrics: Where.
        created_at: When the run was accepted.
        first_attempt: Whether its agent was not started before.
    """

    __slots__ = ("_awaits_token", "_created_at", "_metrics")

    def __init__(self, metrics: RunMetrics, created_at: datetime, *, first_attempt: bool) -> None:
        self._metrics = metrics
        self._created_at = created_at
        self._awaits_token = first_attempt

    def __call__(self, entries: Sequence[Entry]) -> None:
        """Count a batch."""
        counts = self._metrics.count_by_type(entries)
        if self._awaits_token and "token" in counts:
            self._awaits_token = False
            first = next(entry for entry in entries if entry.type == "token")
            self._metrics.count_first_token(first.emitted_at - self._created_at.timestamp())


class QueueMetrics:
    """Shows the runs that wait for a slot.

    Args:
        families: Makes the metrics.
    """

    def __init__(self, families: Families) -> None:
        self._length = families.gauge(
            "dockrion_queued_runs", "Runs that wait for a slot.", of_workers="livemostrecent"
        )
        self._oldest_seconds = families.gauge(
            "dockrion_queue_oldest_seconds",
            "Seconds that the first of them waits.",
            of_workers="livemostrecent",
        )
        self._payload_bytes = families.gauge(
            "dockrion_queue_payload_bytes",
            "Size of what is stored to start them.",
            of_workers="livemostrecent",
        )
        self._wait = families.latency(
            "dockrion_queue_wait_seconds",
            "Seconds that runs waited for a slot, without those that found one at once.",
            _WAIT_BUCKETS,
        )

    def show(self, length: float, oldest_seconds: float, payload_bytes: float) -> None:
        """Show the state of the queue, NaN for what is not known."""
        self._length.set(length)
        self._oldest_seconds.set(oldest_seconds)
        self._payload_bytes.set(payload_bytes)

    def count_wait(self, seconds: float) -> None:
        """Count how long a run has waited for a slot; clocks of replicas differ."""
        self._wait.observe(max(seconds, 0.0))
