"""Secret answers: masked in a run's exceptions, its log lines and its stored input."""

import asyncio
from functools import partial
from typing import Any

import msgspec

from dockrion.errors import ServiceUnavailable
from dockrion.runs.emitter import Emitter
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.stored_input import StoredInput, replaced_input
from dockrion.threads import in_thread_if_large

_STORE_SECONDS = 5.0  # well below the time in which the owner of a run has to reply


class SecretAnswers:
    """Masks the secret answers of one run. Must be used on the event loop.

    Args:
        emitter: Has the run's redactor.
        buffer: Takes changes of the run's record.
        stored: The run's input, None if it is not stored.
    """

    def __init__(self, emitter: Emitter, buffer: EventBuffer, stored: StoredInput | None) -> None:
        self._emitter = emitter
        self._buffer = buffer
        self._input = stored
        self._lock = asyncio.Lock()  # the input is replaced once at a time, so that each one masks more
        self._input_stored = asyncio.Event()  # the last one
        self._input_stored.set()

    async def hide(self, answer: Any) -> None:
        """Mask an answer from now on; return when nobody can read it in the stored input any more.

        Args:
            answer: A decoded JSON value.

        Raises:
            ServiceUnavailable: The stored input could not be replaced in time.
        """
        self._emitter.hide(answer)
        if self._input is None:
            return
        try:
            async with asyncio.timeout(_STORE_SECONDS), self._lock:
                await self._replace_input(self._input)
                if not self._buffer.closed:  # else the change is dropped, and so is the answer
                    await self._input_stored.wait()
        except TimeoutError:
            raise ServiceUnavailable("the run cannot be stored at present; try again later") from None

    async def _replace_input(self, stored: StoredInput) -> None:
        mask = partial(replaced_input, stored, self._emitter.redactor)
        masked = await in_thread_if_large(mask, len(stored.body), f"dockrion-mask-{self._emitter.run_id}")
        if masked is stored:
            return
        self._input = masked
        self._input_stored = asyncio.Event()
        self._buffer.change_record(
            input=msgspec.Raw(masked.body),
            input_excerpt=masked.excerpt,
            on_input_stored=self._input_stored.set,
        )
