"""Events from other processes: a JSON value becomes a known event, or the outcome of its run."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from dockrion import events, json_encoding
from dockrion.errors import AgentFailed
from dockrion.events import validation
from dockrion.runs import process_questions
from dockrion.runs.outcome import Cancelled, Completed, Failed, Outcome

_CODE = re.compile(events.ERROR_CODE, re.ASCII)
PRODUCER_SEQ = "producer_seq"  # in the metadata of a finished run: the number of its last batch
_SERVICE_METADATA = ("agent", "framework", PRODUCER_SEQ)  # set by the service, not by producers


class ExternalEvent(msgspec.Struct, frozen=True):
    """An event that another process sent.

    Attributes:
        type: A type that agents may emit, or that of a terminal event.
        values: Its own fields as they were sent.
        outcome: How the run ended, if the event is terminal.
    """

    type: str
    values: dict[str, Any]
    outcome: Outcome | None = None

    def fields(self) -> dict[str, Any]:
        """Validate the values of an event that is not terminal, and return the fields to publish.

        The fields of a question are a `Question`, those of an answer the question's id and the value. Apart
        from `parse`, so that an event which the filter drops costs nothing more.

        Raises:
            ValueError: A field is wrong.
        """
        if self.type == process_questions.REQUESTED:
            return {"question": process_questions.question_of(self.values)}
        if self.type == process_questions.RECEIVED:
            return {"answer": process_questions.answer_of(self.values)}
        try:
            return validation.fields_of(self.type, self.values)
        except TypeError as error:
            raise ValueError(str(error)) from error


def parse(value: Any) -> ExternalEvent:
    """Return the event that a JSON value stands for.

    Args:
        value: The event's fields and its `type`. The fields common to all events are ignored
            if all of them are present.

    Raises:
        ValueError: It is not an event that an agent may send; the message says why.
    """
    if not isinstance(value, dict):
        raise ValueError("an event is a JSON object with a `type`")  # noqa: TRY004  a bad value, whatever its type
    event_type = value.get("type")
    if not isinstance(event_type, str):
        raise ValueError("an event has a `type`, a string")  # noqa: TRY004  as above
    ignored = events.COMMON_FIELDS if value.keys() >= set(events.COMMON_FIELDS) else ("type",)
    values = {name: item for name, item in value.items() if name not in ignored}
    if event_type in _OUTCOMES:
        return ExternalEvent(event_type, values, _OUTCOMES[event_type](values))
    if event_type == process_questions.RECEIVED:
        return ExternalEvent(event_type, values)
    if not validation.is_event(value):
        known = ", ".join([*events.CONFIGURABLE, "custom:<name>", *_OUTCOMES])
        raise ValueError(f"{event_type!r:.100} is not a type that agents may send; those are {known}")
    return ExternalEvent(validation.type_of(value), values)


def _complete(values: dict[str, Any]) -> Completed:
    _refuse_unknown("complete", values, ("output", "metadata", "latency_seconds"))
    metadata = values.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ValueError("a complete event's metadata is an object")  # noqa: TRY004
    metadata = {name: value for name, value in metadata.items() if name not in _SERVICE_METADATA}
    try:
        json_encoding.encode(metadata, "metadata")
        return Completed(json_encoding.encode(values.get("output"), "output"), metadata)
    except json_encoding.NotJSON as error:
        raise ValueError(str(error)) from error


def _error(values: dict[str, Any]) -> Failed:
    _refuse_unknown("error", values, ("error", "code", "details"))
    message, code = values.get("error"), values.get("code", AgentFailed.code)
    if not isinstance(message, str):
        raise ValueError("an error event has an `error`, its message")  # noqa: TRY004
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise ValueError(f"an error event's code must match ^{_CODE.pattern}$")
    return Failed(message, code, values.get("details"))


def _cancelled(values: dict[str, Any]) -> Cancelled:
    _refuse_unknown("cancelled", values, ("reason",))
    reason = values.get("reason")
    if reason is not None and (not isinstance(reason, str) or len(reason) > events.MAX_REASON_LENGTH):
        raise ValueError(
            f"a cancelled event's reason is text of at most {events.MAX_REASON_LENGTH} characters"
        )
    return Cancelled(reason)


_OUTCOMES: dict[str, Callable[[dict[str, Any]], Outcome]] = {
    "complete": _complete,
    "error": _error,
    "cancelled": _cancelled,
}


def _refuse_unknown(event_type: str, values: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in values:
        if name not in known:
            raise ValueError(f"a {event_type} event has no field {name!r:.100}")
