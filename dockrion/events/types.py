"""The events of a run: their fields, which of them pass, and their bytes."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dockrion import json_encoding

CUSTOM_PREFIX = "custom:"
MAX_SEQUENCE = 2**63 - 1
ERROR_CODE = r"[A-Z][A-Z0-9_]{0,63}"
Utc = Annotated[datetime, Meta(tz=True)]
CUSTOM_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


class Event(msgspec.Struct, kw_only=True):
    """What every event carries.

    `id` is unique, `sequence` counts from 1 within the run, `timestamp` is UTC.
    """

    id: str
    type: str
    run_id: str
    sequence: int
    timestamp: Utc


class Started(Event, kw_only=True):
    type: Literal["started"] = "started"
    agent_name: str
    framework: str


class Complete(Event, kw_only=True):
    type: Literal["complete"] = "complete"
    output: Any
    latency_seconds: float
    metadata: dict[str, Any]


class Error(Event, kw_only=True):
    type: Literal["error"] = "error"
    error: str
    code: Annotated[str, Meta(pattern=f"^{ERROR_CODE}$")]
    details: Any = None


class Cancelled(Event, kw_only=True):
    type: Literal["cancelled"] = "cancelled"
    reason: str | None = None


class Progress(Event, kw_only=True):
    type: Literal["progress"] = "progress"
    step: str
    progress: Annotated[float, Meta(ge=0, le=1)]
    message: str | None = None


class Token(Event, kw_only=True):
    type: Literal["token"] = "token"
    content: str
    finish_reason: str | None = None


class Step(Event, kw_only=True):
    type: Literal["step"] = "step"
    node_name: str
    duration_ms: float | None = None
    input_keys: list[str] | None = None
    output_keys: list[str] | None = None


class Checkpoint(Event, kw_only=True):
    type: Literal["checkpoint"] = "checkpoint"
    name: str
    data: Any


class Heartbeat(Event, kw_only=True):
    type: Literal["heartbeat"] = "heartbeat"


MANDATORY: dict[str, type[Event]] = {
    "started": Started,
    "complete": Complete,
    "error": Error,
    "cancelled": Cancelled,
}
TERMINAL = frozenset({"complete", "error", "cancelled"})
CONFIGURABLE: dict[str, type[Event]] = {
    "progress": Progress,
    "token": Token,
    "step": Step,
    "checkpoint": Checkpoint,
    "heartbeat": Heartbeat,
}
_KINDS = MANDATORY | CONFIGURABLE
COMMON_FIELDS = Event.__struct_fields__
OTHER_WRITES = CUSTOM_PREFIX + "stream"  # what a graph or a chain writes that names no event

PRESETS: dict[str, frozenset[str]] = {
    "minimal": frozenset(),
    "chat": frozenset({"token"}),
    "debug": frozenset(CONFIGURABLE),
    "all": frozenset({*CONFIGURABLE, "custom"}),
}


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event of a run, encoded: what backends keep and transports write.

    Attributes:
        sequence: Its place in the run, from 1.
        type: The event's type.
        data: The event as one line of JSON.
        emitted_at: When, in seconds since the epoch.
    """

    sequence: int
    type: str
    data: bytes
    emitted_at: float


_encoder = msgspec.json.Encoder()


class EventFilter:
    """Which event types of a run are let through.

    Args:
        allowed: A preset's name, a list of types, or None for all of them. In a list
            `custom` is every custom event and `custom:<name>` is that one.

    Raises:
        ValueError: A preset or a type is unknown, or a custom name is malformed.
    """

    def __init__(self, allowed: str | Iterable[str] | None = None) -> None:
        if allowed is None:
            allowed = "all"
        if isinstance(allowed, str):
            if allowed not in PRESETS:
                raise ValueError(f"unknown preset {allowed!r}; the presets are {', '.join(PRESETS)}")
            allowed = PRESETS[allowed]
        self._types = {*map(_checked_type, allowed), *MANDATORY}
        self._all_custom = "custom" in self._types

    @property
    def passes_any(self) -> bool:
        """Whether any event passes that agents may emit."""
        return self._types > MANDATORY.keys()

    @property
    def passes_custom(self) -> bool:
        """Whether any custom event passes."""
        return any(name.startswith("custom") for name in self._types)

    def allows(self, event_type: str) -> bool:
        return event_type in self._types or (self._all_custom and event_type.startswith(CUSTOM_PREFIX))

    def __repr__(self) -> str:
        return f"EventFilter({sorted(self._types)})"


def _checked_type(event_type: str) -> str:
    if event_type in MANDATORY or event_type in CONFIGURABLE or event_type == "custom":
        return event_type
    if event_type.startswith(CUSTOM_PREFIX):
        return custom_type(event_type)
    known = [*CONFIGURABLE, "custom", "custom:<name>"]
    raise ValueError(f"unknown event type {event_type!r}; the types are {', '.join(known)}")


def custom_type(name: str) -> str:
    """Return the event type of a custom event, given with or without its prefix.

    Raises:
        TypeError: The name is no string.
        ValueError: The name is malformed.
    """
    if not isinstance(name, str):
        raise TypeError(f"an event's type must be a string, not {type(name).__name__}")
    bare = name.removeprefix(CUSTOM_PREFIX)
    if not CUSTOM_NAME.fullmatch(bare):
        raise ValueError(f"custom event name {bare!r} must match ^{CUSTOM_NAME.pattern}$")
    return CUSTOM_PREFIX + bare


def check_custom_fields(fields: Iterable[Any]) -> None:
    """Refuse names of a custom event's fields that are no strings or would hide a common field.

    Raises:
        ValueError: Such a name is there.
    """
    for name in fields:
        if not isinstance(name, str):
            raise ValueError(f"field name {name!r} is not a string")  # noqa: TRY004  a bad value of the agent's
        if name in COMMON_FIELDS:
            raise ValueError(f"field {name!r} would hide the event's own; call it something else")


def encode(event_type: str, run_id: str, sequence: int, timestamp: datetime, fields: dict[str, Any]) -> bytes:
    """Encode one event as the JSON that every reader gets.

    Args:
        event_type: A known type, or `custom:<name>`.
        run_id: The run it belongs to.
        sequence: Its place in the run, from 1.
        timestamp: When it happened, UTC.
        fields: The type's own fields.

    Raises:
        json_encoding.NotJSON: A field has no JSON form; the error names it.
    """
    event_id = f"{run_id}:{sequence}"
    kind = _KINDS.get(event_type)
    event: Any
    if kind is None:
        event = {
            "id": event_id,
            "type": event_type,
            "run_id": run_id,
            "sequence": sequence,
            "timestamp": timestamp,
            **fields,
        }
    else:
        event = kind(id=event_id, run_id=run_id, sequence=sequence, timestamp=timestamp, **fields)
    try:
        return _encoder.encode(event)
    except Exception:  # never with fields as agents' code hands them over: checked and plain
        for name, value in fields.items():
            json_encoding.encode(value, name)
        return json_encoding.encode(event)


def heartbeat(run_id: str, sequence: int, beat: str) -> bytes:
    """Encode a heartbeat of the service's own: a control frame, not an event of the log.

    Args:
        run_id: The run that is being watched.
        sequence: The last one delivered on this connection.
        beat: What makes its id unique.
    """
    now = datetime.now(UTC)
    return json_encoding.encode(
        Heartbeat(id=f"{run_id}:heartbeat:{beat}", run_id=run_id, sequence=sequence, timestamp=now)
    )
