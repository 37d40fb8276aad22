"""What spans may not have is masked before they are exported, also in those that the agent's code makes."""

from collections.abc import Iterator, Mapping
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
    """Return a span without secrets, and without what cannot be encoded: itself if it has none of them.

    The exporter drops all spans that it sends together if it cannot encode one.
    """
    values = list(_values(span))
    text = "\n".join(each for each in values if isinstance(each, str))
    if _is_encodable(text) and not any(map(_is_too_large, values)) and not redactor.masks(text):
        return span
    return with_fields(
        span,
        name=redactor.mask(span.name),
        attributes=_mask(span.attributes, redactor),
        events=[
            Event(redactor.mask(each.name), _mask(each.attributes, redactor), each.timestamp)
            for each in span.events
        ],
        links=[Link(each.context, _mask(each.attributes, redactor)) for each in span.links],
        status=Status(span.status.status_code, _mask(span.status.description, redactor)),
    )


def with_fields(span: ReadableSpan, **fields: Any) -> ReadableSpan:
    """Return a span with some fields replaced."""
    return ReadableSpan(**{name: getattr(span, name) for name in _FIELDS} | fields)


def _mask(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, Mapping):
        return {redactor.mask(name): _mask(item, redactor) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mask(item, redactor) for item in value]
    if isinstance(value, bytes):
        text = value.decode(errors="replace")
        return redactor.mask(text).encode() if redactor.masks(text) else value
    return redactor.mask_value(str(value) if _is_too_large(value) else value)


def _is_encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_too_large(value: Any) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _values(span: ReadableSpan) -> Iterator[Any]:
    """Yield all that the code that made a span has put into it."""
    yield span.name
    yield span.status.description
    yield from _values_in(span.attributes)
    for event in span.events:
        yield event.name
        yield from _values_in(event.attributes)
    for link in span.links:
        yield from _values_in(link.attributes)


def _values_in(value: Any) -> Iterator[Any]:
    """Yield the single values in the value of an attribute, or in attributes."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield name
            yield from _values_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values_in(item)
    else:
        yield value.decode(errors="replace") if isinstance(value, bytes) else value
