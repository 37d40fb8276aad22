"""The tokens that the models of one run took."""

import threading
from typing import Any

_MAX_MODELS = 100
_MAX_NAME = 200  # characters
_UNKNOWN = "unknown"
_OTHER = "other"
_COUNTS = ("input_tokens", "output_tokens", "total_tokens")
_lock = threading.Lock()  # of all runs: one of its own would cost each of them memory


class Usage:
    """The sum of a run's `usage` events, by model. Thread-safe.

    The counts of all models after the first hundred are one sum, `other`.
    """

    __slots__ = ("_by_model",)

    def __init__(self) -> None:
        self._by_model: dict[str, dict[str, int]] = {}

    def by_model(self) -> dict[str, dict[str, int]]:
        """Return the sums so far."""
        with _lock:
            return {model: dict(counts) for model, counts in self._by_model.items()}

    def add(self, fields: dict[str, Any]) -> None:
        """Add the fields of a `usage` event, validated."""
        model = (fields["model"] or _UNKNOWN)[:_MAX_NAME]
        with _lock:
            if model not in self._by_model and len(self._by_model) >= _MAX_MODELS:
                model = _OTHER
            counts = self._by_model.setdefault(model, dict.fromkeys(_COUNTS, 0))
            counts["input_tokens"] += (read := fields["input_tokens"] or 0)
            counts["output_tokens"] += (written := fields["output_tokens"] or 0)
            total = fields["total_tokens"]
            counts["total_tokens"] += read + written if total is None else total
