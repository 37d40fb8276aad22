"""What agents ask, as interrupts of AG-UI: a run that asks has finished, and the next one has the answer.

The id of an interrupt is that of the run of this service, a colon, and the question's `request_id`.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from dockrion.backends.pages import PAGE_EVENTS
from dockrion.backends.run_log import Run, RunLog
from dockrion.errors import InvalidRequest, QuestionNotOpen
from dockrion.events import MAX_SEQUENCE
from dockrion.ids import RUN_ID_PATTERN
from dockrion.protocols.ag_ui.requests import ResumeEntry
from dockrion.runs.answers import Answer
from dockrion.web import payloads
from dockrion.web.access import CALLER, RUN_ID
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


async def owned_run(request: web.Request, entry: ResumeEntry) -> Run:
    """Return the run that has asked what is answered.

    Args:
        request: The caller's request.
        entry: The answer.

    Raises:
        InvalidRequest: It is not for a run of this service.
        RunNotFound: There is no such run, or it belongs to another caller.
        Forbidden: The caller may not change it.
    """
    run_id = entry.interrupt_id.partition(":")[0]
    if not RUN_ID_PATTERN.fullmatch(run_id):
        raise InvalidRequest("resume: the interruptId must be one with which a run of this service finished")
    request[RUN_ID] = run_id
    return await request.app[SERVICE].access.owned_run(request, run_id)


async def answer(request: web.Request, run: Run, entry: ResumeEntry) -> int:
    """Answer what a run has asked, or cancel the run if its question is not answered.

    Args:
        request: The caller's request.
        run: The run.
        entry: The answer.

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
    await payloads.refuse_injections(request, entry.payload, len(await request.read()))
    await service.rate_limiter.count(request)
    request_id = entry.interrupt_id.partition(":")[2]
    question = (await _questions(service.backend, run)).get(request_id)
    if question is None:
        raise QuestionNotOpen(request_id)
    if entry.status == "resolved":
        source = None if caller is None else caller.user_id
        await service.answers.give(run, Answer(request_id, entry.payload, source))
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
