"""Prometheus metrics: those of a service, and how several worker processes share theirs.

`service.Metrics` has all metrics and writes their exposition: those of `requests`, `runs`, the `event_loop`
and the `dependencies`, made by `families`, which knows labels and exemplars. `multiprocess` keeps values in
files. Import the names below from here. Imports `events` and `logs`.
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
