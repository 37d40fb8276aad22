"""Forwarding of what agent code streams: a generator's items, or the parts of a framework's stream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, closing
from typing import Any, Protocol

from dockrion.events.validation import is_event
from dockrion.runs.event_buffer import BUFFER_EVENTS
from dockrion.runs.session import RunSession


class StreamTranslator(Protocol):
    """Translates a framework's stream to events, without I/O."""

    def translate(self, part: Any) -> Iterator[Mapping[str, Any]]:
        """Yield the events of one part of the stream."""

    def close(self) -> Iterator[Mapping[str, Any]]:
        """Yield the events that waited for more parts, when the stream has ended or failed."""


async def forward_parts_async(
    parts: AsyncGenerator[Any, None], translator: StreamTranslator, session: RunSession
) -> None:
    """Emit the events that the parts of a framework's stream translate to.

    Args:
        parts: The stream; it is closed at the end.
        translator: Translates the parts.
        session: The run.
    """
    count = 0
    try:
        async with aclosing(parts):
            async for part in parts:
                count += 1
                if not count % BUFFER_EVENTS:  # a stream that is always ready must not block the event loop
                    await asyncio.sleep(0)
                for event in translator.translate(part):
                    await session.emit_event(event)
    finally:
        for event in translator.close():
            await session.emit_event(event)


def forward_parts(parts: Iterator[Any], translator: StreamTranslator, session: RunSession) -> None:
    """Do the same as `forward_parts_async` in a thread."""
    try:
        for part in parts:
            session.context.raise_if_cancelled()
            for event in translator.translate(part):
                session.sync_emit_event(event)
    finally:
        for event in translator.close():
            session.sync_emit_event(event)


async def forward_items_async(items: AsyncIterable[Any], session: RunSession) -> Any:
    """Emit the text and the events that agent code yields, and return its output.

    Args:
        items: What a function returned; a generator is closed at the end.
        session: The run.
    """
    output = _GeneratorOutput()
    async with AsyncExitStack() as stack:
        if isinstance(items, AsyncGenerator):
            # Otherwise its clean-up would run when it is garbage-collected, after the run's end.
            await stack.enter_async_context(aclosing(items))
        count = 0
        async for item in items:
            count += 1
            if not count % BUFFER_EVENTS:  # a stream that is always ready must not block the event loop
                await asyncio.sleep(0)
            if is_event(item):
                session.check_tool_call(item)
                await session.emit_event(item)
                continue
            if isinstance(item, str):
                await session.context.emit_token(item)
            output.add(item)
    return output.value()


def forward_items(items: Iterable[Any], session: RunSession) -> Any:
    """Do the same as `forward_items_async` in a thread."""
    output = _GeneratorOutput()
    with closing(_as_generator(items)) as generator:
        while True:
            try:
                item = next(generator)
            except StopIteration as stop:
                return output.value(stop.value)
            session.context.raise_if_cancelled()
            if is_event(item):
                session.check_tool_call(item)
                session.sync_emit_event(item)
                continue
            if isinstance(item, str):
                session.context.sync_emit_token(item)
            output.add(item)


class _GeneratorOutput:
    """The output of a generator.

    It is the value that it returned; otherwise the last item that was neither text nor an event;
    otherwise the whole text.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._last: Any = None

    def add(self, item: Any) -> None:
        if isinstance(item, str):
            self._text.append(item)
        elif item is not None:
            self._last = item

    def value(self, returned: Any = None) -> Any:
        if returned is not None:
            return returned
        if self._last is not None or not self._text:
            return self._last
        return "".join(self._text)


def _as_generator(items: Iterable[Any]) -> Generator[Any, None, Any]:
    return (yield from items)
