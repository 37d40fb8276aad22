"""An event buffer whose events go through the output policy, which may take seconds for a large one.

Meanwhile neither the event loop nor the buffer's lock is held: a long token is filtered, and published,
in parts; async code has any other large event masked in a thread.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from dockrion import events, json_encoding
from dockrion.runs.event_buffer import EventBuffer, Fields
from dockrion.runs.outcome import Stop
from dockrion.threads import in_thread

if TYPE_CHECKING:  # a service without an output policy does not load it
    from dockrion.policies.output_redaction import RunTextFilter

MAX_FILTERED_AT_ONCE = 32 * 1024  # bytes or characters
_STREAMED = ("token", "reasoning")  # see `output_redaction.STREAMED`
_LOCK_FREE_SECONDS = 0.0005  # a lock is not fair: without a pause, the event loop might never get it


class FilteredEventBuffer(EventBuffer):
    """An `EventBuffer` with an output policy.

    Args:
        text_filter: Filters the agent's texts.
        arguments: Those of `EventBuffer`.
    """

    def __init__(self, *arguments: Any, text_filter: "RunTextFilter", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._text_filter = self.text_filter = text_filter

    def publish(self, event_type: str, fields: Fields, **record_changes: Any) -> None:
        if event_type in events.MANDATORY:
            super().publish(event_type, fields, **record_changes)
        else:
            self._check_size(event_type, fields)
            self._publish_filtered(event_type, fields)

    async def mask(self, event_type: str, fields: Fields) -> Fields:
        mask = partial(self._text_filter.mask_fields, event_type, fields)
        if len(json_encoding.encode(fields)) <= MAX_FILTERED_AT_ONCE:
            return mask()
        return await self._in_thread(mask)

    async def publish_async(self, event_type: str, fields: Fields) -> None:
        size = self._check_size(event_type, fields)
        if size <= MAX_FILTERED_AT_ONCE or not self.on_loop:
            self._publish_filtered(event_type, fields)
        elif event_type in _STREAMED:
            for part in _parts(fields):
                super().publish(event_type, part)
                await asyncio.sleep(0)
        else:
            mask = partial(self._text_filter.mask_fields, event_type, fields)
            super().publish(event_type, await self._in_thread(mask))

    async def _in_thread(self, mask: Callable[[], Fields]) -> Fields:
        masked: Fields = await in_thread(mask, f"dockrion-mask-{self.run_id}")
        return masked

    def _publish_filtered(self, event_type: str, fields: Fields) -> None:
        if event_type not in _STREAMED:
            super().publish(event_type, self._text_filter.mask_fields(event_type, fields))
            return
        for number, part in enumerate(_parts(fields)):
            if number and not self.on_loop:
                time.sleep(_LOCK_FREE_SECONDS)
            super().publish(event_type, part)

    def publish_held_back(self) -> None:
        with self._lock:
            held_back = self._text_filter.end_streams()
            if self._text_filter.violation is None and not self.ended:
                for event_type, fields in held_back:
                    super()._add(event_type, fields, {})
        self._call_on_loop(self.wake)

    def _check_size(self, event_type: str, fields: Fields) -> int:
        """Return an event's size in bytes.

        It is checked before the event is filtered: the filter must not see text that is never emitted,
        and a mask may be longer than the text that it replaces.

        Raises:
            json_encoding.NotJSON: A field has no JSON form.
            ValueError: It exceeds `max_event_bytes`.
        """
        size = len(events.encode(event_type, self.run_id, 0, datetime.now(UTC), fields))
        if size > self.max_event_bytes:
            raise self._too_large(size)
        return size

    def _add(self, event_type: str, fields: Fields, changes: Fields) -> Stop | bool:
        if event_type in events.MANDATORY:
            return super()._add(event_type, fields, changes)
        released = [fields]
        if event_type in _STREAMED and self._text_filter.violation is None:
            released = self._text_filter.filter_streamed(event_type, fields)
        if self._text_filter.violation is not None:
            return Stop("violation", self._text_filter.violation)
        wake: Stop | bool = False
        for each in released:
            wake = super()._add(event_type, each, changes) or wake
        return wake


def _parts(piece: Fields) -> Iterator[Fields]:
    """Yield the fields of a piece of text in parts of bounded length; the last has the finish reason."""
    content = piece["content"]
    last = max(len(content) - 1, 0) // MAX_FILTERED_AT_ONCE * MAX_FILTERED_AT_ONCE
    unfinished = piece | {"finish_reason": None} if "finish_reason" in piece else piece
    for start in range(0, last, MAX_FILTERED_AT_ONCE):
        yield unfinished | {"content": content[start : start + MAX_FILTERED_AT_ONCE]}
    yield piece | {"content": content[last:]} if last else piece
