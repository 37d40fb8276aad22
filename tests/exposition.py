"""Reading `/metrics`."""

import re
from typing import Any

from dockrion.metrics import Metrics
from tests.support import Served

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def metric(text: str, name: str, **labels: str) -> float:
    """Return the sum of the samples of a metric that have these labels, and perhaps others."""
    return sum(
        float(value)
        for found, pairs, value in _SAMPLE.findall(text)
        if found == name and labels.items() <= dict(_LABEL.findall(pairs)).items()
    )


def exposition(served: Served) -> str:
    """Return the metrics of a service of this process, in the text format of Prometheus."""
    body, _ = served.service.metrics.exposition()
    return body.decode()


def with_everything() -> Metrics:
    """Return metrics as a service has them that uses every backend at once."""
    metrics = Metrics("tested")
    metrics.memory_store()
    metrics.redis()
    metrics.webhooks()
    return metrics


def declared_labels(metrics: Metrics) -> dict[str, list[str]]:
    """Return the labels of all metrics, by their names in queries; histograms have no suffix."""
    collectors: list[Any] = list(metrics._registry._collector_to_names)
    return {
        each._name + ("_total" if each._type == "counter" else ""): list(each._labelnames)
        for each in collectors
    }
