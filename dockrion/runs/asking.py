"""Asking from agent code, on whichever thread or event loop it runs."""

import asyncio
import concurrent.futures
import math
from collections.abc import Sequence
from typing import Any

from dockrion.runs.emitter import Emitter
from dockrion.runs.event_buffer import EventBuffer
from dockrion.runs.open_questions import OpenQuestion, OpenQuestions
from dockrion.runs.question import Question
from dockrion.runs.secret_answers import SecretAnswers
from dockrion.runs.stored_input import StoredInput
from dockrion.runs.time_limit import TimeLimit

_NO_ANSWERS = (
    "nobody can answer in an invocation: an agent that asks needs a run that is started or streamed, "
    "with streaming.async_runs"
)
_ON_LOOP = "sync_ask would block the event loop; use `await context.ask(…)`, or call it in a thread"


class Asking:
    """What a run's context and its session share to ask questions.

    Args:
        emitter: Takes the events; None if the run is not stored, so that nobody can answer.
        stored_input: The run's input, None if it is not stored.

    Attributes:
        limit: The run's time limit, None if there is none.
    """

    __slots__ = ("_emitter", "_questions", "_stopped", "_stored_input", "_waits", "limit")

    def __init__(self, emitter: Emitter | None, stored_input: StoredInput | None = None) -> None:
        self.limit: TimeLimit | None = None
        self._emitter = emitter
        self._stored_input = stored_input
        self._questions: OpenQuestions | None = None
        self._waits: set[asyncio.Task[Any]] | None = None  # of threads and other event loops
        self._stopped = False

    @property
    def answerable(self) -> bool:
        """Whether anybody can answer."""
        return self._emitter is not None

    @property
    def stopped(self) -> bool:
        """Whether the run was stopped, or is over."""
        return self._stopped

    @property
    def waited_until(self) -> float:
        """When the run last waited for an answer, on the loop's clock; `-inf` for never."""
        return -math.inf if self._questions is None else self._questions.waited_until

    @property
    def questions(self) -> OpenQuestions | None:
        """The open questions; None while nothing was asked."""
        return self._questions

    async def ask_all(self, asked: Sequence[Question]) -> list[Any]:
        """Ask questions, and wait for all answers; see `OpenQuestions.ask_all`, on any event loop.

        Raises:
            RuntimeError: Nobody can answer, or there are too many questions.
        """
        emitter, buffer = self._require_buffer()
        if buffer.on_loop:
            return await self._begin(emitter, buffer).ask_all(asked)
        return await asyncio.wrap_future(self._ask_from_thread(emitter, buffer, asked))

    async def ask_each(self, asked: Sequence[Question]) -> list[Any]:
        """Ask questions, and wait for each; see `OpenQuestions.ask_each`. On the event loop alone."""
        return await self._begin(*self._require_buffer()).ask_each(asked)

    def ask_all_blocking(self, asked: Sequence[Question]) -> list[Any]:
        """Ask questions, and block the thread until all answers are there.

        Raises:
            CancelledError: The run was stopped.
            RuntimeError: Nobody can answer, there are too many questions, or this is the event loop.
        """
        emitter, buffer = self._require_buffer()
        if buffer.on_loop:
            raise RuntimeError(_ON_LOOP)
        try:
            return self._ask_from_thread(emitter, buffer, asked).result()
        except concurrent.futures.CancelledError:
            raise asyncio.CancelledError("the run was stopped") from None

    async def open(self, asked: Question) -> OpenQuestion:
        """Ask a question without waiting for the answer; on the event loop alone."""
        (question,) = await self._begin(*self._require_buffer()).open_all([asked])
        return question

    def stop(self) -> None:
        """End the waits of threads: the run is stopped. On the event loop, tasks are cancelled instead."""
        self._stopped = self._emitter is not None
        for task in self._waits or ():
            task.cancel()

    def end(self) -> None:
        """End all questions: the run is over."""
        self.stop()
        self.limit = None
        if self._questions is not None:
            self._questions.end()

    def _require_buffer(self) -> tuple[Emitter, EventBuffer]:
        if self._emitter is None or self._emitter.buffer is None:
            raise RuntimeError(_NO_ANSWERS)
        return self._emitter, self._emitter.buffer

    def _begin(self, emitter: Emitter, buffer: EventBuffer) -> OpenQuestions:
        """Return the questions, on the event loop."""
        if self._stopped:
            raise asyncio.CancelledError("the run was stopped")
        if self._questions is None:
            secret_answers = SecretAnswers(emitter, buffer, self._stored_input)
            self._questions = OpenQuestions(emitter.events_filter, buffer, self.limit, secret_answers.hide)
        return self._questions

    def _ask_from_thread(
        self, emitter: Emitter, buffer: EventBuffer, asked: Sequence[Question]
    ) -> "concurrent.futures.Future[list[Any]]":
        async def wait() -> list[Any]:
            task: Any = asyncio.current_task()
            waits = self._waits = self._waits or set()
            waits.add(task)
            try:
                return await self._begin(emitter, buffer).ask_all(asked)
            finally:
                waits.discard(task)
                del task  # which has the exception, whose traceback has this frame

        waiting = wait()
        try:
            return asyncio.run_coroutine_threadsafe(waiting, buffer.loop)
        except RuntimeError:  # the loop is closed
            waiting.close()
            raise asyncio.CancelledError("the service has ended") from None


UNANSWERABLE = Asking(None)  # for all invocations: it cannot ask, so it has no state
