"""Prometheus metrics: those of a service, and how several worker processes share theirs.

Imports `events` and `logs`.
"""

from dockrion.metrics.multiprocess import AllProcesses, SharedValues, discard_process, enable_multiprocess
from dockrion.metrics.service_metrics import Metrics, WebhookMetrics

__all__ = [
    "AllProcesses",
    "Metrics",
    "SharedValues",
    "WebhookMetrics",
    "discard_process",
    "enable_multiprocess",
]
