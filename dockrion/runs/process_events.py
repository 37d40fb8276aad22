"""The events that another process emits into a run: that of its agent, or one that pushes them."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from dockrion.events import EventFilter
from dockrion.runs import process_questions
from dockrion.runs.asking import Asking
from dockrion.runs.emitter import Emitter
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.external_events import ExternalEvent
from dockrion.runs.filtered_buffer import MAX_FILTERED_AT_ONCE
from dockrion.runs.process_questions import ProcessQuestions
from dockrion.threads import finish_in_thread

_USAGE = "usage"


class ProcessEvents:
    """Emits the events of another process. Must be made on the event loop.

    Args:
        emitter: The run's.
        buffer: Takes the events; None where no one can read them.
        events_filter: Which events pass.
        asking: Asks the questions among them.

    Attributes:
        questions: The questions among them.
        order: Held while a batch is pushed, so that no other overtakes it.
        on_push: Called when a batch was pushed.
    """

    def __init__(
        self, emitter: Emitter, buffer: EventBuffer | None, events_filter: EventFilter, asking: Asking
    ) -> None:
        self.questions = ProcessQuestions(asking)
        self.order = asyncio.Lock()
        self.on_push: Callable[[], None] | None = None
        self._emitter = emitter
        self._buffer = buffer
        self._events_filter = events_filter

    async def emit(self, event: ExternalEvent) -> None:
        """Emit an event that is not terminal.

        Raises:
            ValueError: A field is wrong.
        """
        if event.type in process_questions.EVENTS:
            await self.questions.handle(event.type, event.fields())
            return
        if event.type == _USAGE:
            self._emitter.usage.add(event.fields())
        await self._emitter.emit(event.type, event.fields)

    async def push(
        self, pushed: Iterable[tuple[str, dict[str, Any]]], size: int, *, asks: bool = False
    ) -> None:
        """Publish a batch whole, whether or not there is room, even when cancelled.

        Args:
            pushed: Its events, as (type, validated fields).
            size: The size of the batch, in bytes.
            asks: Whether there are questions or answers among them, checked with `questions.check`.
        """
        try:
            if not asks:
                await self._publish_batch(pushed, size)
                return
            for event_type, group in groupby(pushed, key=itemgetter(0)):
                if event_type not in process_questions.EVENTS:
                    await self._publish_batch(group, size)
                    continue
                for _, fields in group:
                    await self.questions.handle(event_type, fields)
        finally:
            if self.on_push is not None:
                self.on_push()

    async def wait_for_room(self) -> None:
        """Wait until the buffer has room for pushed events."""
        if self._buffer is not None and self._buffer.full:
            await self._buffer.wait_for_room()

    async def _publish_batch(self, pushed: Iterable[tuple[str, dict[str, Any]]], size: int) -> None:
        publish = partial(self._publish_all, self._emitter.observe_pushed(pushed))
        filtered = self._buffer is not None and self._buffer.text_filter is not None
        if filtered and size > MAX_FILTERED_AT_ONCE:
            await finish_in_thread(publish, f"dockrion-mask-{self._emitter.run_id}")
        else:
            publish()

    def _publish_all(self, pushed: Iterable[tuple[str, dict[str, Any]]]) -> None:
        for event_type, fields in pushed:
            if event_type == _USAGE:
                self._emitter.usage.add(fields)
            if self._buffer is not None and self._events_filter.allows(event_type):
                self._buffer.publish(event_type, fields)
