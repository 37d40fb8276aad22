"""What an agent waits for: the open questions of a run, from the asking to the answer.

A question is open from its `input_requested` event until one of these, whichever is first; each of them ends
it once and for all:

    what ends it                        the agent gets       readers see
    ----------------------------------  -------------------  -------------------------------------------
    an answer that is as expected       the value            `input_received`
    its time limit                      `InputTimeout`       `expires_at` has passed
    the agent no longer waits           nothing              the run's record does not wait for it
    the run is stopped, or over         its cancellation     the end of the run

All of it happens on the event loop, so no two of them can happen at once.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET

from dockrion.backends.run_log import WaitingFor
from dockrion.errors import PayloadTooLarge, QuestionNotOpen
from dockrion.events import EventFilter
from dockrion.runs.event_buffer import EventBuffer, Fields
from dockrion.runs.question import MAX_TIMEOUT, Expected, InputTimeout, Question, new_request_id
from dockrion.runs.time_limit import TimeLimit

MAX_OPEN = 100  # questions of one run
TOO_MANY = f"a run can wait for {MAX_OPEN} answers at once; ask the others later"
_REQUESTED, _RECEIVED = "input_requested", "input_received"


class OpenQuestion(msgspec.Struct, eq=False):
    """A question that waits for its answer.

    Attributes:
        shown: What readers see of it.
        secret: As for `Question`.
        expected: What the answer has to be.
        seconds: How long it waits; None if the run is stopped before that.
        answer: Done with the value, or with `InputTimeout`; cancelled if nobody waits for it any more.
        timer: Ends it at its time limit.
    """

    shown: WaitingFor
    secret: bool
    expected: Expected
    seconds: float | None
    answer: asyncio.Future[Any]
    timer: asyncio.TimerHandle | None = None


class OpenQuestions:
    """The open questions of one run. Must be used on the event loop.

    Args:
        events_filter: Which events pass.
        buffer: Takes the events.
        limit: The run's time limit, None if there is none.
        hide: Masks a secret answer wherever it can be, before it is accepted.
    """

    def __init__(
        self,
        events_filter: EventFilter,
        buffer: EventBuffer,
        limit: TimeLimit | None,
        hide: Callable[[Any], Awaitable[None]],
    ) -> None:
        self._events_filter = events_filter
        self._buffer = buffer
        self._limit = limit
        self._hide = hide
        self._loop = asyncio.get_running_loop()
        self._open: dict[str, OpenQuestion] = {}  # oldest first
        self._waited_until = -math.inf

    @property
    def waited_until(self) -> float:
        """When the run last waited for an answer, on the loop's clock."""
        return self._loop.time() if self._open else self._waited_until

    def __len__(self) -> int:
        return len(self._open)

    async def ask_all(self, asked: Sequence[Question]) -> list[Any]:
        """Ask questions, and wait for the answers to all of them.

        Args:
            asked: The questions.

        Returns:
            The answers, in the order of the questions.

        Raises:
            InputTimeout: One of them was not answered in time; the others are withdrawn.
            TypeError: A prompt, schema or timeout is of the wrong type.
            ValueError: A prompt, schema or timeout is invalid.
            RuntimeError: The run would have more open questions than it may.
        """
        questions = await self.open_all(asked)
        try:
            return list(await asyncio.gather(*(question.answer for question in questions)))
        finally:
            while questions:  # emptied: one of them has the exception, whose traceback has this list
                self.withdraw(questions.pop())

    async def ask_each(self, asked: Sequence[Question]) -> list[Any]:
        """Ask questions, and wait for each until it is answered or its time is over.

        Returns:
            The answers, in the order of the questions; `UNSET` for those that were not answered in time.

        Raises:
            TypeError: As for `ask_all`.
            ValueError: As for `ask_all`.
            RuntimeError: As for `ask_all`.
        """
        questions, answers = await self.open_all(asked), []
        try:
            for question in questions:
                try:
                    answers.append(await question.answer)
                except InputTimeout:
                    answers.append(UNSET)
        finally:
            while questions:  # as in `ask_all`
                self.withdraw(questions.pop())
        return answers

    async def open_all(self, asked: Sequence[Question]) -> list[OpenQuestion]:
        """Ask questions without waiting for their answers: all of them, or none.

        Raises:
            TypeError: As for `ask_all`.
            ValueError: As for `ask_all`, or another question with this id is open.
            RuntimeError: As for `ask_all`.
        """
        questions = [await self._prepare(each) for each in asked]
        ids = {question.shown.request_id for question in questions}
        if len(ids) < len(questions) or ids & self._open.keys():
            raise ValueError("another question with this request_id is open; choose a new one")
        if len(self._open) + len(questions) > MAX_OPEN:
            raise RuntimeError(TOO_MANY)
        for number, question in enumerate(questions):
            try:
                self._add(question)
            except ValueError:
                for added in questions[:number]:
                    self.withdraw(added)
                raise
        return questions

    async def answer(self, request_id: str, value: Any, source: str | None) -> None:
        """Answer a question. Its agent gets a secret answer only after the answer is masked.

        Args:
            request_id: The question's id.
            value: The answer, a decoded JSON value.
            source: Who answers, None if that is unknown.

        Raises:
            QuestionNotOpen: It is not open.
            InvalidRequest: The value does not match the question's schema.
            PayloadTooLarge: The value is too large.
            ServiceUnavailable: It is secret, and cannot be masked now in what is stored. It is not accepted.
        """
        question = self._open.get(request_id)
        if question is None or question.answer.done():  # its agent has been cancelled, and will withdraw it
            raise QuestionNotOpen(request_id)
        question.expected.check(value)
        if question.secret:
            await self._hide(value)
        try:
            was_open = await self._close(question, value, source)
        except ValueError as error:  # the event is too large
            raise PayloadTooLarge(str(error)) from None
        if not was_open:
            raise QuestionNotOpen(request_id)
        question.answer.set_result(value)

    async def close(self, question: OpenQuestion, value: Any) -> None:
        """Close a question whose answer the agent has got elsewhere. Does nothing if it is not open.

        Args:
            question: The question.
            value: The answer, `UNSET` if it is not known.
        """
        if await self._close(question, value, None):
            question.answer.cancel()

    def withdraw(self, question: OpenQuestion) -> None:
        """Stop waiting for the answer to a question. Does nothing if it is not open."""
        if self._open.get(question.shown.request_id) is question:
            self._remove(question)
            self._buffer.change_record(waiting_for=self._oldest)
            question.answer.cancel()

    def end(self) -> None:
        """End all questions with the run."""
        for question in list(self._open.values()):
            self._remove(question)
            question.answer.cancel()

    @property
    def _oldest(self) -> WaitingFor | None:
        """What the run's record shows."""
        return next((question.shown for question in self._open.values()), None)

    async def _close(self, question: OpenQuestion, value: Any, source: str | None) -> bool:
        """Show an answer, which readers see unless it is secret; return whether its question was open."""
        fields: Fields = {}
        if not question.secret and value is not UNSET:
            fields = await self._buffer.mask(_RECEIVED, {"value": value})
        request_id = question.shown.request_id
        if self._open.get(request_id) is not question or question.answer.done():
            return False
        others = [each.shown for each in self._open.values() if each is not question]
        self._publish(_RECEIVED, {"request_id": request_id, "source": source, **fields}, others)
        self._remove(question)
        return True

    async def _prepare(self, asked: Question) -> OpenQuestion:
        expected = asked.validated(self._buffer.max_event_bytes)
        schema = expected.schema and expected.schema.definition
        if asked.secret:
            schema = {**(schema or {}), "writeOnly": True}  # JSON Schema Validation, 9.4
        shown = await self._buffer.mask(_REQUESTED, {"prompt": asked.prompt, "schema": schema})
        seconds, limited = self._seconds(asked.timeout)
        answer = self._loop.create_future()
        answer.add_done_callback(_retrieve)  # nobody may wait for it
        return OpenQuestion(
            WaitingFor(
                request_id=new_request_id() if asked.request_id is None else asked.request_id,
                expires_at=datetime.now(UTC) + timedelta(seconds=seconds),
                **shown,
            ),
            asked.secret,
            expected,
            seconds if limited else None,
            answer,
        )

    def _seconds(self, timeout: float | None) -> tuple[float, bool]:
        """Return how long to wait for an answer, and whether that ends before the run is stopped."""
        seconds = MAX_TIMEOUT if timeout is None else timeout
        limit = self._limit
        if limit is None:
            return seconds, True
        if not limit.waiting_counts:
            return (limit.seconds if timeout is None else seconds), True
        left = limit.seconds_left
        return min(seconds, left), seconds < left

    def _add(self, question: OpenQuestion) -> None:
        shown = [*(each.shown for each in self._open.values()), question.shown]
        self._publish(_REQUESTED, msgspec.structs.asdict(question.shown), shown)
        if not self._open and self._limit is not None:
            self._limit.pause()
        self._open[question.shown.request_id] = question
        if question.seconds is not None:
            question.timer = self._loop.call_later(question.seconds, self._expire, question)

    def _remove(self, question: OpenQuestion) -> None:
        del self._open[question.shown.request_id]
        if question.timer is not None:
            question.timer.cancel()
        if not self._open:
            self._waited_until = self._loop.time()
            if self._limit is not None:
                self._limit.resume()

    def _expire(self, question: OpenQuestion) -> None:
        self._remove(question)
        self._buffer.change_record(waiting_for=self._oldest)
        if not question.answer.done():
            question.answer.set_exception(InputTimeout(f"there was no answer within {question.seconds:g} s"))

    def _publish(self, event_type: str, fields: Fields, waiting: list[WaitingFor]) -> None:
        """Publish an event with what the record shows after it; only the latter if the filter drops it.

        Raises:
            ValueError: It exceeds `limits.max_event_bytes`; nothing has changed.
        """
        oldest = waiting[0] if waiting else None
        if self._events_filter.allows(event_type):
            self._buffer.publish_masked(event_type, fields, waiting_for=oldest)
        else:
            self._buffer.change_record(waiting_for=oldest)


def _retrieve(answer: asyncio.Future[Any]) -> None:
    """Keep asyncio from reporting an exception that nobody awaits."""
    if not answer.cancelled():
        answer.exception()
