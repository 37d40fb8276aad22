"""Prometheus metrics: those of a service, and how several worker processes share theirs.

Imports `events` and `logs`.
"""

from dockrion.metrics.dependencies import MemoryStoreMetrics, RedisMetrics, RedisState, WebhookMetrics
from dockrion.metrics.event_loop import LoopLag
from dockrion.metrics.multiprocess import AllProcesses, SharedValues, discard_process, enable_multiprocess
from dockrion.metrics.runs import RunMetrics
from dockrion.metrics.service import Metrics, Policy

__all__ = [
    "AllProcesses",
    "LoopLag",
    "MemoryStoreMetrics",
    "Metrics",
    "Policy",
    "RedisMetrics",
    "RedisState",
    "RunMetrics",
    "SharedValues",
    "WebhookMetrics",
    "discard_process",
    "enable_multiprocess",
]
