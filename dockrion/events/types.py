"""The types of a run's events, and the fields of each."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

CUSTOM_PREFIX = "custom:"
MAX_EVENT_BYTES = 100 * 1024 * 1024  # the highest `limits.max_event_bytes`
MAX_SEQUENCE = 2**63 - 1
MAX_REASON_LENGTH = 1000  # characters of the reason of a cancel
ERROR_CODE = r"[A-Z][A-Z0-9_]{0,63}"
Utc = Annotated[datetime, Meta(tz=True)]
CUSTOM_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
MessageId = Annotated[
    str | UnsetType, Meta(description="The model's message that this is a part of; left out if unknown.")
]
Source = Annotated[
    str | UnsetType,
    Meta(description="The agent, node or branch that this comes from, as `supervisor/researcher`; optional."),
]
PreviousEnd = Literal["worker_lost", "shutdown"]  # why an attempt ended before the run did
_Count = Annotated[int, Meta(ge=0)]


class Event(msgspec.Struct, kw_only=True):
    """The fields that every event has.

    Attributes:
        id: Unique over all runs.
        type: The event's type.
        run_id: The run that emitted it.
        sequence: Its position in the run, from 1.
        timestamp: When it was emitted, UTC.
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
    attempt: Annotated[
        Annotated[int, Meta(ge=2)] | UnsetType,
        Meta(description="How often the agent was started for this run; left out for the first time."),
    ] = UNSET
    previous: Annotated[
        PreviousEnd | UnsetType,
        Meta(description="Why the attempt before ended; left out for the first."),
    ] = UNSET


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
    message_id: MessageId = UNSET
    source: Source = UNSET


class Message(Event, kw_only=True):
    """A whole message, after its tokens or in place of them."""

    type: Literal["message"] = "message"
    message_id: MessageId = UNSET
    role: str
    content: Annotated[str | list[dict[str, Any]], Meta(description="Text, or content blocks.")]
    name: str | None = None
    source: Source = UNSET


class Reasoning(Event, kw_only=True):
    """A piece of a model's reasoning text."""

    type: Literal["reasoning"] = "reasoning"
    content: str
    message_id: MessageId = UNSET
    source: Source = UNSET


class ToolCall(Event, kw_only=True):
    """A call of a tool, with its whole arguments."""

    type: Literal["tool_call"] = "tool_call"
    tool_call_id: str
    name: str
    arguments: Any = {}
    message_id: MessageId = UNSET
    source: Source = UNSET


class ToolResult(Event, kw_only=True):
    """The result of a tool's call, or its error."""

    type: Literal["tool_result"] = "tool_result"
    tool_call_id: str
    name: str | None = None
    result: Any = None
    is_error: bool = False
    duration_ms: float | None = None
    source: Source = UNSET


class Usage(Event, kw_only=True):
    """The tokens that one request to a model took."""

    type: Literal["usage"] = "usage"
    model: str | None = None
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    total_tokens: _Count | None = None
    details: dict[str, Any] | None = None
    source: Source = UNSET


class InputRequested(Event, kw_only=True):
    """A question to a person; the agent waits for the answer."""

    type: Literal["input_requested"] = "input_requested"
    request_id: str
    prompt: str
    schema: dict[str, Any] | None = None
    expires_at: Utc | None = None


class InputReceived(Event, kw_only=True):
    """The answer to a question."""

    type: Literal["input_received"] = "input_received"
    request_id: str
    value: Annotated[Any, Meta(description="Left out if the question asks for a secret.")] = UNSET
    source: Annotated[str | None, Meta(description="The caller who answered, if callers are known.")] = None


class Step(Event, kw_only=True):
    type: Literal["step"] = "step"
    node_name: str
    duration_ms: float | None = None
    input_keys: list[str] = []
    output_keys: list[str] = []
    source: Source = UNSET


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
    "message": Message,
    "reasoning": Reasoning,
    "tool_call": ToolCall,
    "tool_result": ToolResult,
    "usage": Usage,
    "input_requested": InputRequested,
    "input_received": InputReceived,
    "step": Step,
    "checkpoint": Checkpoint,
    "heartbeat": Heartbeat,
}
EMITTED_BY_AGENTS = CONFIGURABLE.keys() - {"input_received"}
COMMON_FIELDS = Event.__struct_fields__
UNTYPED_WRITES = CUSTOM_PREFIX + "stream"  # for what a graph or chain writes without an event type


def custom_type(name: str) -> str:
    """Return the event type `custom:<name>` for a name with or without the prefix.

    Raises:
        TypeError: The name is not a string.
        ValueError: The name is malformed.
    """
    if not isinstance(name, str):
        raise TypeError(f"an event's type must be a string, not {type(name).__name__}")
    bare = name.removeprefix(CUSTOM_PREFIX)
    if not CUSTOM_NAME.fullmatch(bare):
        raise ValueError(f"custom event name {bare!r} must match ^{CUSTOM_NAME.pattern}$")
    return CUSTOM_PREFIX + bare


def check_custom_fields(fields: Iterable[Any]) -> None:
    """Check the field names of a custom event.

    Raises:
        ValueError: A name is not a string, or is that of a common field.
    """
    for name in fields:
        if not isinstance(name, str):
            raise ValueError(f"field name {name!r} is not a string")  # noqa: TRY004  callers handle one error type
        if name in COMMON_FIELDS:
            raise ValueError(f"field {name!r} is reserved for the event itself; rename it")
