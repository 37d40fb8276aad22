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
from dockrion.web.service import SERVICE

_ABANDONED = "the caller does not answer the agent's question"


class _Question(msgspec.Struct):
    """A question in a run's log."""

    request_id: str
    expires_at: datetime | None = None
    sequence: int = 0
    answered: bool = False

    @property
    def open(self) -> bool:
        expired = self.expires_at is not None and self.expires_at <= datetime.now(UTC)
        return not (self.answered or expired)


_decoder = msgspec.json.Decoder(_Question)


async def answer(
    request: web.Request, run: Run, request_id: str, value: Any, *, declined: bool = False
) -> int:
    """Answer what a run has asked, or cancel the run if its caller declines to.

    Args:
        request: The caller's request.
        run: The run, which the caller may change.
        request_id: The question.
        value: The answer.
        declined: Whether there is none.

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
    if question is None:
        raise QuestionNotOpen(request_id)
    if not declined:
        source = None if caller is None else caller.user_id
        await service.answers.give(run, Answer(request_id, value, source))
    elif question.open and run.waiting_for is not None:
        with suppress(InvalidRequest):  # it has finished meanwhile
            await service.runs.cancel(run.run_id, _ABANDONED, run.incarnation)
    return question.sequence


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


async def _questions(log: RunLog, run: Run) -> dict[str, _Question]:
    """Return the questions in a run's log, the last one of each id."""
    asked: dict[str, _Question] = {}
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
