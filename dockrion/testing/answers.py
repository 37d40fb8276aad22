"""Answers that a test gives to an agent's questions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from dockrion import json_encoding
from dockrion.dockfile.limits_structs import LimitsSpec
from dockrion.errors import DockrionError
from dockrion.runs.asking import Asking
from dockrion.runs.emitter import Emitter
from dockrion.runs.question import Question, new_request_id

Answers = Mapping[str, Any] | Callable[[str], Any]
MAX_EVENT_BYTES = LimitsSpec().max_event_bytes


class ScriptedAsking(Asking):
    """Answers each question at once.

    Args:
        emitter: Takes the events.
        answers: The answers.
    """

    __slots__ = ("_answers", "_recorded")

    def __init__(self, emitter: Emitter, answers: Answers) -> None:
        super().__init__(None)
        self._recorded = emitter
        self._answers = answers

    async def ask_all(self, asked: Sequence[Question]) -> list[Any]:
        return self.ask_all_blocking(asked)

    def ask_all_blocking(self, asked: Sequence[Question]) -> list[Any]:
        return [self._ask(question) for question in asked]

    def _ask(self, question: Question) -> Any:
        expected = question.validated(MAX_EVENT_BYTES)
        request_id = new_request_id()
        shown = {"prompt": question.prompt, "schema": question.schema, "expires_at": None}
        self._recorded.sync_emit("input_requested", dict, {"request_id": request_id, **shown})
        if not has_answer(self._answers, question.prompt):
            raise LookupError(
                f"the test has no answer to {question.prompt!r}; add one to the `answers` of the context"
            )
        value = answer_to(self._answers, question.prompt)
        try:
            expected.check(value)
        except DockrionError as error:
            raise ValueError(f"the answer to {question.prompt!r}: {error}: {error.details}") from None
        received = {"request_id": request_id, "source": None} | ({} if question.secret else {"value": value})
        self._recorded.sync_emit("input_received", dict, received)
        return value


def has_answer(answers: Answers, prompt: str) -> bool:
    return callable(answers) or prompt in answers


def answer_to(answers: Answers, prompt: str) -> Any:
    """Return the answer to a question, as JSON has it."""
    value = answers(prompt) if callable(answers) else answers[prompt]
    return as_json(value, "answer")


def as_json(value: Any, name: str) -> Any:
    """Return what JSON makes of a value.

    Args:
        value: Any value.
        name: What the error calls it.

    Raises:
        json_encoding.NotJSON: It has no JSON form.
    """
    return msgspec.json.decode(json_encoding.encode(value, name))
