"""Secrets in spans are masked before they are exported, also in those that the agent's code makes."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Link, Status

from dockrion.logs import CurrentRun
from dockrion.redaction import Redactor

_FIELDS = (
    *("name", "context", "parent", "resource", "attributes", "events", "links", "kind", "status"),
    *("start_time", "end_time", "instrumentation_scope"),
)


class MaskingProcessor(SpanProcessor):
    """Passes on each span that ends, without secrets.

    Args:
        processor: What receives the spans.
        redactor: Masks secrets.
        current_run: Returns the run that the code works for which calls it, if any.
    """

    def __init__(self, processor: SpanProcessor, redactor: Redactor, current_run: CurrentRun) -> None:
        self._processor = processor
        self._redactor = redactor
        self._current_run = current_run

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        run = self._current_run()
        self._processor.on_end(masked(span, self._redactor if run is None else run.redactor))

    def shutdown(self) -> None:
        self._processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._processor.force_flush(timeout_millis)


def masked(span: ReadableSpan, redactor: Redactor) -> ReadableSpan:
    """Return a span without secrets: itself if it has none."""
    if not redactor.longest or not redactor.masks("\n".join(_texts(span))):
        return span
    return changed(
        span,
        name=redactor.mask(span.name),
        attributes=redactor.mask_value(dict(span.attributes or {})),
        events=[
            Event(redactor.mask(each.name), redactor.mask_value(dict(each.attributes or {})), each.timestamp)
            for each in span.events
        ],
        links=[Link(each.context, redactor.mask_value(dict(each.attributes or {}))) for each in span.links],
        status=Status(span.status.status_code, _mask(span.status.description, redactor)),
    )


def changed(span: ReadableSpan, **fields: Any) -> ReadableSpan:
    """Return a span with some fields replaced."""
    return ReadableSpan(**{name: getattr(span, name) for name in _FIELDS} | fields)


def _mask(text: str | None, redactor: Redactor) -> str | None:
    return None if text is None else redactor.mask(text)


def _texts(span: ReadableSpan) -> Iterator[str]:
    yield span.name
    yield span.status.description or ""
    yield from _texts_in(span.attributes)
    for event in span.events:
        yield event.name
        yield from _texts_in(event.attributes)
    for link in span.links:
        yield from _texts_in(link.attributes)


def _texts_in(value: Any) -> Iterable[str]:
    """Yield the texts in the value of an attribute, or in attributes."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item)
