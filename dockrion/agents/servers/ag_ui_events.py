"""What AG-UI's events have that becomes events of ours."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from dockrion import ids
from dockrion.agents.responses import Interruption, ProtocolError
from dockrion.runs.open_questions import MAX_OPEN
from dockrion.runs.question import Question, is_secret, seconds_until


class Interrupt(msgspec.Struct, rename="camel"):
    """What the other server asks."""

    id: str
    reason: str | None = None
    message: str | None = None
    response_schema: dict[str, Any] | None = None
    expires_at: datetime | None = None

    def question(self) -> Question:
        timeout = None
        if self.expires_at is not None:
            until = self.expires_at if self.expires_at.tzinfo else self.expires_at.replace(tzinfo=UTC)
            timeout = seconds_until(until)
        prompt, schema = self.message or self.reason or "", self.response_schema
        return Question(prompt, schema, timeout, is_secret(schema))


class Outcome(msgspec.Struct):
    """How its run has finished."""

    type: str
    interrupts: list[Interrupt] = []


class Usage(msgspec.Struct, rename="camel"):
    """The tokens that one of its models took."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None


class Event(msgspec.Struct, rename="camel"):
    """The fields of all events that become events of ours."""

    type: str
    message_id: str | None = None
    role: str | None = None
    delta: Any = None
    tool_call_id: str | None = None
    tool_call_name: str | None = None
    parent_message_id: str | None = None
    content: Any = None
    metadata: dict[str, Any] | None = None
    step_name: str | None = None
    name: str | None = None
    value: Any = None
    snapshot: Any = None
    message: str | None = None
    code: str | None = None
    result: Any = None
    outcome: Outcome | None = None
    usage: list[Usage] | None = None

    @property
    def text(self) -> str:
        if not isinstance(self.delta, str | None):
            raise ProtocolError(f"the agent's server sent a {self.type:.100} whose delta is not text")
        return self.delta or ""


def interruption(interrupts: list[Interrupt]) -> Interruption:
    """Return the questions with which a run has finished; the next run has the answers.

    Raises:
        ProtocolError: They are too many.
    """
    if len(interrupts) > MAX_OPEN:
        raise ProtocolError(f"the agent's server asks more than {MAX_OPEN} questions at once")

    def resumed(body: bytes, answers: list[Any]) -> bytes:
        before = msgspec.json.decode(body)
        resume = [
            {"interruptId": each.id, "status": "cancelled"}
            if answer is msgspec.UNSET
            else {"interruptId": each.id, "status": "resolved", "payload": answer}
            for each, answer in zip(interrupts, answers, strict=True)
        ]
        return msgspec.json.encode(
            {**before, "runId": ids.uuid7(), "parentRunId": before["runId"], "resume": resume}
        )

    return Interruption([each.question() for each in interrupts], resumed)
