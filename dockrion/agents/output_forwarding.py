"""Emitting what a framework streams."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from dockrion.runs.context import RunSession
from dockrion.runs.event_buffer import BUFFER_EVENTS

Understand = Callable[[Any], Iterator[Mapping[str, Any]]]


async def drain_async(parts: AsyncGenerator[Any, None], understand: Understand, session: RunSession) -> None:
    """Emit the events that the parts of a stream make.

    Args:
        parts: The stream; it is closed in the end.
        understand: Yields the events of a part.
        session: Where they go.
    """
    count = 0
    async with aclosing(parts):
        async for part in parts:
            count += 1
            if not count % BUFFER_EVENTS:  # whatever it streams, it must not hold the event loop
                await asyncio.sleep(0)
            for event in understand(part):
                await session.emit_event(event)


def drain(parts: Iterator[Any], understand: Understand, session: RunSession) -> None:
    """Do the same in a thread."""
    for part in parts:
        session.context.raise_if_cancelled()
        for event in understand(part):
            session.sync_emit_event(event)
