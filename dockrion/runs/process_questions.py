"""Questions that another process asks in its events. Their answers are kept until the run is over."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from dockrion.errors import Conflict, NotFound, QuestionGone
from dockrion.events import Utc
from dockrion.runs.asking import Asking
from dockrion.runs.open_questions import MAX_OPEN, TOO_MANY, OpenQuestion
from dockrion.runs.question import MAX_TIMEOUT, Question, is_secret

REQUESTED, RECEIVED = EVENTS = ("input_requested", "input_received")
_FIELDS = {
    REQUESTED: ("request_id", "prompt", "schema", "expires_at", "timeout", "secret"),
    RECEIVED: ("request_id", "value", "source"),
}


class ProcessQuestions:
    """The questions of a run whose events another process sends.

    Args:
        asking: Asks them.

    Attributes:
        on_open: Called with each question when it is open.
    """

    def __init__(self, asking: Asking) -> None:
        self.on_open: Callable[[OpenQuestion], object] | None = None
        self._asking = asking
        self._asked: dict[str, OpenQuestion] = {}  # the newest, by id, oldest first

    def check(self, asked: Sequence[Question]) -> None:
        """Check that questions may be asked now, all of them.

        Raises:
            Conflict: One was asked already, or there are too many.
        """
        ids = {question.request_id for question in asked}
        if len(ids) < len(asked) or not ids.isdisjoint(self._asked):
            raise Conflict("a question with this request_id was asked already; choose another id")
        if len(self._asking.questions or ()) + len(asked) > MAX_OPEN:
            raise Conflict(TOO_MANY)

    async def handle(self, event_type: str, fields: dict[str, Any]) -> None:
        """Handle an event of `EVENTS`, with the fields that `ExternalEvent` returns.

        Raises:
            ValueError: As for `ask`.
        """
        if event_type == REQUESTED:
            await self.ask(fields["question"])
        else:
            await self.receive(*fields["answer"])

    async def ask(self, asked: Question) -> None:
        """Ask a question. Does nothing if the run was stopped.

        Raises:
            ValueError: It is invalid, was asked already, or nobody can answer it.
        """
        if self._asking.stopped:
            return
        try:
            self.check([asked])
            question = await self._asking.open(asked)
        except (Conflict, TypeError, RuntimeError) as error:
            raise ValueError(str(error)) from error
        if len(self._asked) >= MAX_OPEN:
            answered = (name for name, each in self._asked.items() if each.answer.done())
            del self._asked[next(answered)]
        self._asked[question.shown.request_id] = question
        if self.on_open is not None:
            self.on_open(question)

    async def receive(self, request_id: str, value: Any) -> None:
        """Close a question whose answer the process got elsewhere. Does nothing if it is not open."""
        if (question := self._asked.get(request_id)) is not None and self._asking.questions is not None:
            await self._asking.questions.close(question, value)

    async def fetch(self, request_id: str, seconds: float) -> Any:
        """Return the answer to a question, `UNSET` if there is none yet.

        Args:
            request_id: The question's id.
            seconds: How long to wait for it.

        Raises:
            NotFound: The process has not asked it, or the answer is not kept any more.
            QuestionGone: There will be no answer: the question has expired, or the run is over.
        """
        question = self._asked.get(request_id)
        if question is None:
            which = f"the question {request_id!r:.100}"
            raise NotFound(f"{which} was not asked, or its answer is not kept any more")
        if not question.answer.done():
            await asyncio.wait((question.answer,), timeout=seconds)
        if not question.answer.done():
            return msgspec.UNSET
        if question.answer.cancelled() or question.answer.exception() is not None:
            raise QuestionGone
        return question.answer.result()


def question_of(values: dict[str, Any]) -> Question:
    """Return the question in an `input_requested` event.

    Raises:
        ValueError: A field is wrong, unknown or missing.
    """
    _refuse_unknown(REQUESTED, values)
    request_id, schema, secret = values.get("request_id"), values.get("schema"), values.get("secret")
    if not isinstance(request_id, str):
        raise ValueError("an input_requested event has a `request_id`, chosen by the agent")  # noqa: TRY004
    if secret is None:
        secret = is_secret(schema)
    if not isinstance(secret, bool):
        raise ValueError("secret is true or false")  # noqa: TRY004  a bad value, whatever its type
    return Question(values.get("prompt"), schema, _timeout(values), secret, request_id)  # type: ignore[arg-type]


def answer_of(values: dict[str, Any]) -> tuple[str, Any]:
    """Return the id of the question in an `input_received` event, and its answer, `UNSET` without one.

    Raises:
        ValueError: A field is wrong, unknown or missing.
    """
    _refuse_unknown(RECEIVED, values)
    request_id = values.get("request_id")
    if not isinstance(request_id, str):
        raise ValueError("an input_received event has the `request_id` of the question")  # noqa: TRY004
    return request_id, values.get("value", msgspec.UNSET)


def _timeout(values: dict[str, Any]) -> Any:
    """Return the seconds to wait for an answer: `timeout`, or those until `expires_at`."""
    expires_at, timeout = values.get("expires_at"), values.get("timeout")
    if expires_at is None:
        return timeout
    if timeout is not None:
        raise ValueError("a question has a `timeout` or `expires_at`, not both")
    try:
        until = msgspec.convert(expires_at, Utc)
    except msgspec.ValidationError:
        raise ValueError("expires_at is a time with a time zone (RFC 3339)") from None
    seconds = (until - datetime.now(UTC)).total_seconds()
    if seconds <= 0:
        raise ValueError("expires_at is past")
    return min(seconds, MAX_TIMEOUT)


def _refuse_unknown(event_type: str, values: dict[str, Any]) -> None:
    for name in values:
        if name not in _FIELDS[event_type]:
            raise ValueError(f"an {event_type} event has no field {name!r:.100}")
