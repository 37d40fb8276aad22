"""What agents ask, for protocols whose streams end with a question that a later request answers."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from dockrion.backends.pages import PAGE_EVENTS
from dockrion.backends.run_log import Run, RunLog
from dockrion.errors import InvalidRequest, QuestionNotOpen
from dockrion.events import MAX_SEQUENCE
from dockrion.runs.answers import Answer
from dockrion.web import payloads
from dockrion.web.access import CALLER
from dockrion.web.service import SERVICE, Service

_ABANDONED = "the caller does not answer the agent's question"


class _Logged(msgspec.Struct):
    """A question in a run's log, as far as all of them are kept at once."""

    request_id: str
    expires_at: datetime | None = None
    sequence: int = 0
    answered: bool = False

    @property
    def open(self) -> bool:
        expired = self.expires_at is not None and self.expires_at <= datetime.now(UTC)
        return not (self.answered or expired)


class Question(msgspec.Struct):
    """A question in a run's log.

    Attributes:
        request_id: Its id.
        sequence: The sequence of its event.
        schema: JSON Schema of the answer, None for any JSON value.
    """

    request_id: str
    sequence: int
    schema: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Logged)


async def answer(
    request: web.Request,
    run: Run,
    request_id: str,
    value: Any,
    *,
    declined: bool = False,
    sequence: int | None = None,
) -> int:
    """Answer what a run has asked, or cancel the run if its caller declines to.

    Args:
        request: The caller's request.
        run: The run, which the caller may change.
        request_id: The question.
        value: The answer.
        declined: Whether there is none.
        sequence: Which of the questions with this id, None for the last one.

    Returns:
        The sequence of the question.

    Raises:
        QuestionNotOpen: It was answered already, has expired, or was never asked.
        InvalidRequest: The answer does not match the question's schema; `details` lists the violations.
        PayloadTooLarge: The answer is too large.
        PolicyViolation: It contains a blocked phrasing.
        RateLimited: The caller is over its rate limit.
        ServiceUnavailable: The run cannot be reached now.
    """
    service, caller = request.app[SERVICE], request[CALLER]
    await payloads.refuse_injections(request, value, len(await request.read()))
    await service.rate_limiter.count(request)
    question = (await _questions(service.backend, run)).get(request_id)
    if question is None or sequence not in (None, question.sequence):
        raise QuestionNotOpen(request_id)
    if not declined:
        source = None if caller is None else caller.user_id
        await service.answers.give(run, Answer(request_id, value, source))
    else:
        await _cancel(service, run, question, _ABANDONED)
    return question.sequence


async def question_at(log: RunLog, run: Run, sequence: int) -> Question:
    """Return the question that an event asks, whether it is open or not.

    Raises:
        QuestionNotOpen: There is no such event, or it asks nothing.
    """
    page = await log.read(run.run_id, sequence - 1, 1, run.incarnation)
    for entry in page.entries:
        if entry.sequence == sequence and entry.type == "input_requested":
            return msgspec.json.decode(entry.data, type=Question)
    raise QuestionNotOpen(f"event {sequence}")


async def cancel_unanswered(service: Service, run: Run, question: Question, reason: str) -> None:
    """Cancel a run whose caller cannot answer a question; do nothing if the question is not open.

    Args:
        service: The service.
        run: The run, which the caller may change.
        question: The question.
        reason: Why, for the run's readers.
    """
    last = (await _questions(service.backend, run)).get(question.request_id)
    if last is not None and last.sequence == question.sequence:
        await _cancel(service, run, last, reason)


async def _cancel(service: Service, run: Run, question: _Logged, reason: str) -> None:
    if question.open and run.waiting_for is not None:
        with suppress(InvalidRequest):  # it has finished meanwhile
            await service.runs.cancel(run.run_id, reason, run.incarnation)


async def last_answered(log: RunLog, run: Run) -> int:
    """Return the sequence of the last question before those that wait for an answer, 0 for none.

    It does not depend on when this is called, so that readers who come at different times share frames.
    """
    if run.finished:
        return MAX_SEQUENCE
    questions = await _questions(log, run)
    waiting = None if run.waiting_for is None else questions.get(run.waiting_for.request_id)
    end = run.last_sequence + 1 if waiting is None else waiting.sequence
    return max((each.sequence for each in questions.values() if each.sequence < end), default=0)


async def _questions(log: RunLog, run: Run) -> dict[str, _Logged]:
    """Return the questions in a run's log, the last one of each id."""
    asked: dict[str, _Logged] = {}
    position = 0
    while (page := await log.read(run.run_id, position, PAGE_EVENTS, run.incarnation)).entries:
        for entry in page.entries:
            if entry.type == "input_requested":
                question = _decoder.decode(entry.data)
                asked[question.request_id] = question
            elif entry.type == "input_received":
                request_id = _decoder.decode(entry.data).request_id
                if request_id in asked:
                    asked[request_id].answered = True
        position = page.entries[-1].sequence
        await asyncio.sleep(0)
    return asked
