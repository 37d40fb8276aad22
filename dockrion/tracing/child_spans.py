"""The spans in that of one run, and what they may say."""

import threading
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from dockrion.redaction import Redactor
from dockrion.tracing import content
from dockrion.tracing import conventions as names
from dockrion.tracing.content import Mask

MAX_SPANS = 1000
MAX_NAME = 200  # characters of a name that the agent gives
_LONGEST = 24 * 3600 * 10**9  # nanoseconds, of which a run cannot take more


class ChildSpans:
    """Starts spans in that of a run, up to a limit.

    Args:
        tracer: Starts them.
        redactor: Masks secrets.
        mask: Masks what else is not to be shown of arguments and results; None if they are left out.

    Attributes:
        redactor: As given; may be replaced by one that masks more.
        omitted: How many were above the limit.
    """

    def __init__(self, tracer: trace.Tracer, redactor: Redactor, mask: Mask | None) -> None:
        self.redactor = redactor
        self.omitted = 0
        self._tracer = tracer
        self._mask = mask
        self._started = 0
        self._lock = threading.Lock()

    def start(
        self, name: str, attributes: dict[str, Any], *, parent: Context, started_at: int
    ) -> trace.Span | None:
        """Return a new span, None if there are too many."""
        with self._lock:
            if self._started >= MAX_SPANS:
                self.omitted += 1
                return None
            self._started += 1
        return self._tracer.start_span(name, parent, SpanKind.INTERNAL, attributes, start_time=started_at)

    def beginning(self, ended_at: int, duration_ms: float | None) -> int:
        """Return when something began that took as long as the agent says, which may be any number."""
        if duration_ms is None or not duration_ms > 0:
            return ended_at
        return ended_at - int(min(duration_ms * 1_000_000, _LONGEST))

    def name(self, text: Any) -> str:
        """Return a name that the agent gave as spans have it."""
        return self.redactor.mask(str(text))[:MAX_NAME]

    def source(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attribute that says where an event comes from, if that is known."""
        source = fields.get("source")
        return {names.SOURCE: self.name(source)} if isinstance(source, str) else {}

    def shown(self, value: Any) -> str | None:
        """Return content, None if it is not to be shown."""
        return None if self._mask is None else content.shown(value, self.redactor, self._mask)
