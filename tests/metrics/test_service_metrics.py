"""What the metrics of a service count, and labels with a bounded number of values."""

from datetime import UTC, datetime

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from dockrion import events
from dockrion.caller import CallerRequest, set_current_request
from dockrion.events import Entry
from dockrion.metrics import Metrics

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the exposed samples: values by name and labels, without the agent."""
    text = metrics.exposition()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items() - {("agent", "tested")}))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def entries(*kinds: str, emitted_at: float = 0.0) -> list[Entry]:
    return [Entry(number, kind, b"{}", emitted_at) for number, kind in enumerate(kinds, 1)]


def counted(metrics: Metrics) -> dict[str, float]:
    """Return the events counted, by type."""
    return {
        dict(labels)["type"]: value
        for (name, labels), value in samples(metrics).items()
        if name == "dockrion_events_total"
    }


def test_every_metric_has_the_label_agent() -> None:
    metrics = Metrics("writer")
    metrics.memory_store()
    metrics.redis()
    metrics.webhooks()
    for family in text_string_to_metric_families(metrics.exposition()[0].decode()):
        assert {sample.labels.get("agent") for sample in family.samples} <= {"writer"}, family.name


def test_events_are_counted_by_type() -> None:
    metrics = Metrics("tested")
    metrics.runs.count_events(entries("started", "token", "token"))
    metrics.runs.count_events(entries("token", "complete"))
    assert counted(metrics) == {"started": 1, "token": 3, "complete": 1}


def test_custom_events_share_one_label() -> None:
    metrics = Metrics("tested")
    metrics.runs.count_events(entries(*(f"custom:n{number}" for number in range(1_000))))
    assert counted(metrics) == {"custom": 1_000}


@pytest.mark.parametrize("event_type", [*events.MANDATORY, *events.CONFIGURABLE])
def test_every_event_type_has_a_label(event_type: str) -> None:
    metrics = Metrics("tested")
    metrics.runs.count_events(entries(event_type))
    assert counted(metrics) == {event_type: 1}


def test_an_empty_batch_counts_nothing() -> None:
    metrics = Metrics("tested")
    metrics.runs.count_events([])
    assert counted(metrics) == {}


def test_two_services_in_one_process_count_separately() -> None:
    one, other = Metrics("tested"), Metrics("tested")
    one.runs.count_events(entries("token"))
    assert counted(other) == {}


def test_first_token_is_measured_once_a_run_and_not_after_a_loss() -> None:
    metrics = Metrics("tested")
    emitted_at = CREATED.timestamp() + 2
    first, again = metrics.runs.event_counter(CREATED, 1), metrics.runs.event_counter(CREATED, 2)
    first(entries("started"))
    first(entries("progress", "token", emitted_at=emitted_at))
    first(entries("token", emitted_at=emitted_at + 5))
    again(entries("token", emitted_at=emitted_at))
    shown = samples(metrics)
    assert shown["dockrion_first_token_seconds_count", ()] == 1
    assert shown["dockrion_first_token_seconds_sum", ()] == 2


def test_clock_of_another_replica_that_is_behind_makes_no_negative_duration() -> None:
    metrics = Metrics("tested")
    metrics.runs.event_counter(CREATED, 1)(entries("token", emitted_at=CREATED.timestamp() - 3))
    metrics.queue.count_wait(-3)
    shown = samples(metrics)
    assert shown["dockrion_first_token_seconds_sum", ()] == 0
    assert shown["dockrion_queue_wait_seconds_sum", ()] == 0


def test_names_of_models_are_bounded_in_number_length_and_characters() -> None:
    metrics = Metrics("tested")
    used = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}
    metrics.runs.count_tokens({"first\n\ud800" + "x" * 1000: used})
    metrics.runs.count_tokens({f"model-{number}": used for number in range(1_000)})
    shown = {
        (dict(labels)["model"], dict(labels)["type"]): value
        for (name, labels), value in samples(metrics).items()
        if name == "dockrion_tokens_total"
    }
    models = {model for model, _ in shown}
    assert len(models) == 51
    assert max(map(len, models)) == 100
    assert next(model for model in models if model.startswith("first")).startswith("first??xx")
    assert shown["other", "input"] == 2 * (1_000 - 49)
    assert shown["model-0", "output"] == 1


def test_without_latency_no_duration_that_callers_experience_is_measured() -> None:
    metrics = Metrics("tested", latency=False)
    metrics.requests.count("GET", "/health", 200, 0.1, streamed=False)
    metrics.requests.count("POST", "/invoke/stream", 200, 0.1, streamed=True)
    metrics.requests.count_delivery(0.1)
    metrics.runs.count_duration("completed", 0.1)
    metrics.runs.count_first_token(0.1)
    metrics.queue.count_wait(0.1)
    text = metrics.exposition()[0].decode()
    histograms = {line.split()[2] for line in text.splitlines() if line.endswith(" histogram")}
    assert histograms == {"dockrion_event_loop_lag_seconds"}
    assert 'endpoint="/health",method="GET",status="200"} 1.0' in text


def test_without_tokens_they_are_not_counted() -> None:
    metrics = Metrics("tested", tokens=False)
    metrics.runs.count_tokens({"m": {"input_tokens": 2, "output_tokens": 1}})
    assert b"dockrion_tokens" not in metrics.exposition()[0]


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain;version=0.0.4", False),
        (OPENMETRICS, True),
        ("Application/OpenMetrics-Text", True),
        ("application/openmetrics-text; q=0, text/plain", False),
        (",;,;;=;q=,", False),
    ],
)
def test_format_is_negotiated(accept: str, is_openmetrics: bool) -> None:
    body, content_type = Metrics("tested").exposition(accept)
    expected = "application/openmetrics-text; version=1" if is_openmetrics else "text/plain; version="
    assert content_type.startswith(expected)
    assert body.endswith(b"# EOF\n") == is_openmetrics


@pytest.mark.parametrize(
    ("traceparent", "exemplar"),
    [
        (SAMPLED, {"trace_id": TRACE, "span_id": SPAN}),
        (SAMPLED.removesuffix("01") + "00", None),  # nobody records this trace
        (f"cc{SAMPLED[2:]}-of-a-later-version", {"trace_id": TRACE, "span_id": SPAN}),
        (None, None),
    ],
)
def test_latency_has_the_trace_of_its_request_as_an_exemplar(
    traceparent: str | None, exemplar: dict[str, str] | None
) -> None:
    metrics = Metrics("tested")
    set_current_request(CallerRequest(traceparent))
    metrics.requests.count("POST", "/invoke", 200, 0.3, streamed=False)
    metrics.requests.count("POST", "/invoke/stream", 200, 0.3, streamed=True)
    metrics.runs.count_duration("completed", 0.3)
    metrics.runs.count_first_token(0.3)
    set_current_request(CallerRequest())
    found = {
        family.name: sample.exemplar.labels
        for family in parse_openmetrics(metrics.exposition(OPENMETRICS)[0].decode())
        for sample in family.samples
        if sample.exemplar
    }
    measured = ("request_latency", "stream_duration", "run_duration", "first_token")
    assert found == ({f"dockrion_{name}_seconds": exemplar for name in measured} if exemplar else {})


def test_redis_is_in_exactly_one_state() -> None:
    metrics = Metrics("tested")
    redis = metrics.redis()
    redis.show_state("away")
    shown = {
        dict(labels)["state"]: value
        for (name, labels), value in samples(metrics).items()
        if name == "dockrion_redis_state"
    }
    assert shown == {"up": 0, "degraded": 0, "away": 1}
