"""Events that come from other processes, as JSON: read, and checked as far as their type tells."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from dockrion import events
from dockrion.errors import AgentFailed
from dockrion.events import validation
from dockrion.runs.outcome import Cancelled, Completed, Failed, Outcome, of_output

_CODE = re.compile(events.ERROR_CODE, re.ASCII)
_MAX_REASON = 1000
_SERVICE_S_OWN = ("agent", "framework", "producer_seq")  # of a run's metadata


def read(value: Any) -> Mapping[str, Any] | Outcome:
    """Return an event, or, where it is a terminal one, how the run ended.

    Args:
        value: The event's fields and its `type`; the fields that every event has on the
            wire may be there, all of them, and are left out.

    Raises:
        ValueError: It is no event that an agent may send; the message says why.
    """
    if not isinstance(value, dict):
        raise ValueError("an event is a JSON object with a `type`")  # noqa: TRY004  a bad value, whatever its type
    event_type = value.get("type")
    if not isinstance(event_type, str):
        raise ValueError("the event has no `type`")  # noqa: TRY004  as above
    if value.keys() >= set(events.COMMON_FIELDS):
        value = {name: item for name, item in value.items() if name not in events.COMMON_FIELDS}
    given = {name: item for name, item in value.items() if name != "type"}
    if event_type in _ENDS:
        return _ENDS[event_type](given)
    event = {"type": event_type, **given}
    if not validation.is_event(event):
        known = ", ".join([*events.CONFIGURABLE, "custom:<name>", *_ENDS])
        raise ValueError(f"{event_type!r:.100} is no type that an agent may send; those are {known}")
    return event


def checked(event: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return an event's type and its fields, ready to be published.

    Raises:
        ValueError: A field is wrong.
    """
    try:
        return validation.type_of(event), validation.from_mapping(event)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _complete(given: dict[str, Any]) -> Completed:
    _refuse_others("complete", given, ("output", "metadata", "latency_seconds"))
    metadata = given.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise ValueError("a complete event's metadata is an object")  # noqa: TRY004
    metadata = {name: value for name, value in metadata.items() if name not in _SERVICE_S_OWN}
    if isinstance(unfit := of_output(metadata), Failed):
        raise ValueError(unfit.error)  # noqa: TRY004  as above
    result = of_output(given.get("output"), metadata)
    if not isinstance(result, Completed):
        raise ValueError(result.error if isinstance(result, Failed) else "output cannot be JSON")  # noqa: TRY004
    return result


def _error(given: dict[str, Any]) -> Failed:
    _refuse_others("error", given, ("error", "code", "details"))
    message, code = given.get("error"), given.get("code", AgentFailed.code)
    if not isinstance(message, str):
        raise ValueError("an error event has an `error`, its message")  # noqa: TRY004
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise ValueError(f"an error event's code must match ^{_CODE.pattern}$")
    return Failed(message, code, given.get("details"))


def _cancelled(given: dict[str, Any]) -> Cancelled:
    _refuse_others("cancelled", given, ("reason",))
    reason = given.get("reason")
    if reason is not None and (not isinstance(reason, str) or len(reason) > _MAX_REASON):
        raise ValueError(f"a cancelled event's reason is text of at most {_MAX_REASON} characters")
    return Cancelled(reason)


_ENDS: dict[str, Callable[[dict[str, Any]], Outcome]] = {
    "complete": _complete,
    "error": _error,
    "cancelled": _cancelled,
}


def _refuse_others(event_type: str, given: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"a {event_type} event has no field {name!r:.100}")
