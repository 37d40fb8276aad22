"""Answers to what agents ask, whichever replica owns their runs.

An answer is accepted by the run's owner alone, on its event loop, so of several at once one is accepted.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from dockrion.backends.owner_messages import OwnerRequest
from dockrion.backends.run_log import Run
from dockrion.errors import QuestionNotOpen
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


_answer_decoder = msgspec.json.Decoder(Answer)


class Answers:
    """Passes answers to runs of this process, and forwards those for others.

    Args:
        find: Returns the run of this process that has an id and an incarnation, or None.
        requests: Reaches the owners of other runs.
    """

    def __init__(
        self, find: Callable[[str, str | None], InFlightRun | None], requests: OwnerRequests
    ) -> None:
        self._find = find
        self._requests = requests
        requests.on("answer", self._handle)

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

    async def _handle(self, request: OwnerRequest) -> Accepted:
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
