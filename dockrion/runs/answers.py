"""Answers to what agents ask, whichever replica owns their runs.

An answer is accepted by the run's owner alone, on its event loop, so of several at once one is accepted.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from dockrion.backends.owner_messages import OwnerRequest
from dockrion.backends.run_log import Run, RunLog
from dockrion.errors import QuestionGone, QuestionNotOpen, RunNotFound, ServiceUnavailable
from dockrion.runs.in_flight import InFlightRun
from dockrion.runs.owner_requests import OwnerRequests
from dockrion.runs.question import check_size


class Answer(msgspec.Struct, frozen=True, tag_field="kind", tag="answer"):
    """An answer, and the request for its acceptance.

    Attributes:
        request_id: The question.
        value: A decoded JSON value.
        source: Who answers, None if that is unknown.
    """

    request_id: str
    value: Any
    source: str | None = None


class Accepted(msgspec.Struct, frozen=True, tag="Accepted"):
    """The owner's reply to an answer that it has accepted."""


class Fetch(msgspec.Struct, frozen=True, tag_field="kind", tag="fetch"):
    """A request for the answer to a question that an agent process has asked.

    Attributes:
        request_id: The question.
        seconds: How long to wait for it.
    """

    request_id: str
    seconds: float


class Fetched(msgspec.Struct, frozen=True, tag="Fetched", omit_defaults=True):
    """The owner's reply to a `Fetch`: the answer, `UNSET` if there is none yet."""

    value: Any = UNSET


_answer_decoder = msgspec.json.Decoder(Answer)
_fetch_decoder = msgspec.json.Decoder(Fetch)
_FETCH_SECONDS = 5.0  # of one request to an owner, well below the time in which it has to reply


class Answers:
    """Passes answers to runs of this process, and forwards those for others.

    Args:
        find: Returns the run of this process that has an id and an incarnation, or None.
        backend: Stores the runs.
        requests: Reaches the owners of other runs.
    """

    def __init__(
        self,
        find: Callable[[str, str | None], InFlightRun | None],
        backend: RunLog,
        requests: OwnerRequests,
    ) -> None:
        self._find = find
        self._backend = backend
        self._requests = requests
        requests.on("answer", self._handle_answer)
        requests.on("fetch", self._handle_fetch)

    async def give(self, run: Run, answer: Answer) -> None:
        """Answer a question.

        Args:
            run: The record of the run that asked it, on whichever replica.
            answer: The answer.

        Raises:
            QuestionNotOpen: It was answered already, has expired, or was never asked.
            InvalidRequest: The value does not match the question's schema; `details` lists the violations.
            PayloadTooLarge: The value is too large.
            ServiceUnavailable: The run cannot be reached now. The answer may have been accepted.
        """
        check_size(answer.value)
        if (found := self._find(run.run_id, run.incarnation)) is not None:
            await _give(found, answer)
        elif run.waiting_for is None:
            raise QuestionNotOpen(answer.request_id)
        else:
            await self._requests.send(run.run_id, answer, run.incarnation, Accepted)

    async def fetch(self, run_id: str, incarnation: str | None, request_id: str, seconds: float) -> Any:
        """Return the answer to a question that an agent process has asked, `UNSET` if there is none yet.

        Args:
            run_id: The run, on whichever replica.
            incarnation: The run's incarnation, None for the run that has the id now.
            request_id: The question.
            seconds: How long to wait for the answer.

        Raises:
            RunNotFound: No such run.
            NotFound: The process has not asked the question, or its answer is not kept any more.
            QuestionGone: There will be no answer: the question has expired, or the run is over.
            ServiceUnavailable: The run cannot be reached now.
        """
        if (run := self._find(run_id, incarnation)) is not None:
            return await _fetch(run, request_id, seconds)
        record = await self._backend.get(run_id)
        if record.unlisted or incarnation not in (None, record.incarnation):
            raise RunNotFound(run_id)
        if record.finished:
            raise QuestionGone
        deadline = time.monotonic() + seconds
        while True:
            left = max(deadline - time.monotonic(), 0)
            fetch = Fetch(request_id, min(left, _FETCH_SECONDS))
            reply = await self._requests.send(run_id, fetch, record.incarnation, Fetched)
            if reply.value is not UNSET or left <= _FETCH_SECONDS:
                return reply.value

    async def _handle_fetch(self, request: OwnerRequest) -> Fetched:
        fetch = _fetch_decoder.decode(request.body)
        run = self._find(request.run_id, request.incarnation)
        if run is None:
            raise QuestionGone
        return Fetched(await _fetch(run, fetch.request_id, min(fetch.seconds, _FETCH_SECONDS)))

    async def _handle_answer(self, request: OwnerRequest) -> Accepted:
        answer = _answer_decoder.decode(request.body)
        run = self._find(request.run_id, request.incarnation)
        if run is None:  # it has ended
            raise QuestionNotOpen(answer.request_id)
        await _give(run, answer)
        return Accepted()


async def _give(run: InFlightRun, answer: Answer) -> None:
    if run.session is None:
        raise QuestionNotOpen(answer.request_id)
    await run.session.answer(answer.request_id, answer.value, answer.source)


async def _fetch(run: InFlightRun, request_id: str, seconds: float) -> Any:
    if run.session is None:
        raise ServiceUnavailable("the run waits for a free slot; try again later")
    return await run.session.from_process.questions.fetch(request_id, seconds)
