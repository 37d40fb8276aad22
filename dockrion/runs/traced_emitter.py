"""The emitter of a run that is traced: its span learns of events before the filter acts."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dockrion.events import EventFilter
from dockrion.events.validation import BuildFields
from dockrion.redaction import Redactor
from dockrion.runs.emitter import Emitter
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.tool_policy import ToolPolicy
from dockrion.runs.tracing import RunSpan

_TOKEN = "token"  # noqa: S105  the event type
_TRACED = frozenset([_TOKEN, "step", "tool_call", "tool_result", "checkpoint"])


class TracedEmitter(Emitter):
    """Shows a span what the agent emits.

    Args:
        span: The run's span.
        run_id: As for `Emitter`, like the others.
    """

    __slots__ = ("_span", "_traced")

    def __init__(
        self,
        span: RunSpan,
        run_id: str,
        events_filter: EventFilter,
        buffer: EventBuffer | None,
        tools: ToolPolicy,
        redactor: Redactor,
    ) -> None:
        super().__init__(run_id, events_filter, buffer, tools, redactor)
        self._span = span
        self._traced = _TRACED

    async def emit(self, event_type: str, build: BuildFields, *arguments: Any) -> None:
        if event_type in self._traced and (fields := self._observed(event_type, build, arguments)):
            await super().emit(event_type, lambda: fields)
        else:
            await super().emit(event_type, build, *arguments)

    def sync_emit(self, event_type: str, build: BuildFields, *arguments: Any) -> None:
        if event_type in self._traced and (fields := self._observed(event_type, build, arguments)):
            super().sync_emit(event_type, lambda: fields)
        else:
            super().sync_emit(event_type, build, *arguments)

    def max_bytes(self, event_type: str) -> int:
        return super().max_bytes(event_type) or self._span.content_bytes

    def hide(self, answer: Any) -> None:
        super().hide(answer)
        self._span.mask_with(self.redactor)

    def observe_pushed(
        self, pushed: Iterable[tuple[str, dict[str, Any]]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for event_type, fields in pushed:
            if event_type in self._traced:
                self._observe(event_type, fields, nested=False)
            yield event_type, fields

    def enter_tool_call(self, tool_call_id: str) -> Callable[[], None] | None:
        return self._span.enter_tool_call(tool_call_id)

    def _observed(
        self, event_type: str, build: BuildFields, arguments: tuple[Any, ...]
    ) -> dict[str, Any] | None:
        """Return the fields of an event that the span has seen, None if they are invalid."""
        try:
            fields = build(*arguments)
        except Exception:  # which the emitter raises if the event passes the filter
            return None
        self._observe(event_type, fields, nested=True)
        return fields

    def _observe(self, event_type: str, fields: dict[str, Any], *, nested: bool) -> None:
        if event_type == _TOKEN:  # the first one is enough
            self._traced = self._traced - {_TOKEN}
        self._span.observe(event_type, fields, nested=nested)
