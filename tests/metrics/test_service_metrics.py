"""Metrics: their names, and labels with a bounded number of values."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dockrion import events
from dockrion.events import Entry
from dockrion.metrics import Metrics

NAMES = {
    "dockrion_requests",
    "dockrion_request_seconds",
    "dockrion_active_requests",
    "dockrion_runs",
    "dockrion_active_runs",
    "dockrion_queued_runs",
    "dockrion_queue_oldest_seconds",
    "dockrion_queue_payload_bytes",
    "dockrion_kept_payload_bytes",
    "dockrion_queue_wait_seconds",
    "dockrion_output_errors",
    "dockrion_events",
    "dockrion_stored_bytes",
    "dockrion_evicted_runs",
    "dockrion_evicted_events",
    "dockrion_open_streams",
    "dockrion_event_delivery_seconds",
}


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the exposed samples: values by name and labels."""
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def entries(*kinds: str) -> list[Entry]:
    return [Entry(number, kind, b"{}", 0.0) for number, kind in enumerate(kinds, 1)]


def counted(metrics: Metrics) -> dict[str, float]:
    """Return the events counted, by type."""
    return {
        dict(labels)["type"]: value
        for (name, labels), value in samples(metrics).items()
        if name == "dockrion_events_total"
    }


def test_metric_names() -> None:
    families = {family.name for family in text_string_to_metric_families(Metrics().exposition().decode())}
    assert {name for name in families if not name.endswith("_created")} == NAMES


def test_events_are_counted_by_type() -> None:
    metrics = Metrics()
    metrics.count_events(entries("started", "token", "token"))
    metrics.count_events(entries("token", "complete"))
    assert counted(metrics) == {"started": 1, "token": 3, "complete": 1}


def test_custom_events_share_one_label() -> None:
    metrics = Metrics()
    metrics.count_events(entries(*(f"custom:n{number}" for number in range(1_000))))
    assert counted(metrics) == {"custom": 1_000}


@pytest.mark.parametrize("event_type", [*events.MANDATORY, *events.CONFIGURABLE])
def test_every_event_type_has_a_label(event_type: str) -> None:
    metrics = Metrics()
    metrics.count_events(entries(event_type))
    assert counted(metrics) == {event_type: 1}


def test_an_empty_batch_counts_nothing() -> None:
    metrics = Metrics()
    metrics.count_events([])
    assert counted(metrics) == {}


def test_two_services_in_one_process_count_separately() -> None:
    one, other = Metrics(), Metrics()
    one.count_events(entries("token"))
    assert counted(other) == {}


def test_labels_are_limited_to_route_method_status_outcome_and_type() -> None:
    metrics = Metrics()
    metrics.requests.labels("GET", "/runs/{id}", "200").inc()
    metrics.request_seconds.labels("GET", "/runs/{id}").observe(0.1)
    metrics.runs.labels("completed").inc()
    metrics.count_events(entries("token"))
    names = {label for _, labels in samples(metrics) for label, _ in labels}
    assert names == {"method", "route", "status", "outcome", "type", "le"}
    assert samples(metrics)["dockrion_runs_total", (("outcome", "completed"),)] == 1
