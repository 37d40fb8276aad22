"""How an agent's work ended: data, decided in one place."""

from typing import Any, Literal

import msgspec

from dockrion import json_encoding
from dockrion.errors import (
    LIMIT_EXCEEDED,
    SHUTDOWN,
    AgentDisconnected,
    AgentFailed,
    AgentPolicyViolation,
    AgentProtocolError,
    AgentTimedOut,
    DockrionError,
    InvalidOutput,
    ServiceUnavailable,
)
from dockrion.redaction import Redactor
from dockrion.runs.tool_policy import ToolDenied

_MAX_MESSAGE = 4000
_MAX_CLEANED = 64 * 1024  # cleaning megabytes would hold the event loop


class Stop(msgspec.Struct, frozen=True):
    """Why an agent is stopped before it is done.

    Attributes:
        kind: Who wanted it.
        reason: What a caller who cancelled gave as reason, or which policy was broken.
        outcome: How the work has ended elsewhere.
    """

    kind: Literal["cancelled", "timeout", "shutdown", "lost", "limit", "violation", "ended"]
    reason: str | None = None
    outcome: "Outcome | None" = None


class Completed(msgspec.Struct, frozen=True):
    """The agent returned.

    Attributes:
        output: Its output as JSON.
        metadata: What goes with it.
    """

    output: bytes
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    status: Literal["completed"] = "completed"


class Failed(msgspec.Struct, frozen=True):
    """The agent raised, or was stopped by the service.

    Attributes:
        error: A message fit for the caller.
        code: One of the codes of `error` events.
        details: More, or None.
        raised: What the agent raised, for the log.
        metadata: What goes with it in the run's record.
    """

    error: str
    code: str
    details: Any = None
    raised: BaseException | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    status: Literal["failed"] = "failed"


class Cancelled(msgspec.Struct, frozen=True):
    """Somebody cancelled the run.

    Attributes:
        reason: As they gave it, or None.
        metadata: What goes with it in the run's record.
    """

    reason: str | None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    status: Literal["cancelled"] = "cancelled"


Outcome = Completed | Failed | Cancelled

_EXCEPTIONS: dict[str, type[DockrionError]] = {
    AgentFailed.code: AgentFailed,
    AgentTimedOut.code: AgentTimedOut,
    AgentDisconnected.code: AgentDisconnected,
    AgentProtocolError.code: AgentProtocolError,
    DockrionError.code: DockrionError,
    InvalidOutput.code: InvalidOutput,
    AgentPolicyViolation.code: AgentPolicyViolation,
    SHUTDOWN: ServiceUnavailable,
}


def of_output(output: Any, metadata: dict[str, Any] | None = None) -> Outcome:
    """Return the outcome of an agent that returned.

    Args:
        output: What it returned.
        metadata: What goes with it.
    """
    try:
        return Completed(json_encoding.encode(output, "output"), metadata or {})
    except json_encoding.NotJSON as error:
        return Failed(str(error), InvalidOutput.code, raised=error)


def of_exception(error: BaseException) -> Failed:
    """Return the outcome of an agent that raised."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
        error = error.__cause__  # what Python makes of it on its way through a coroutine
    while isinstance(error, BaseExceptionGroup) and (len(error.exceptions) == 1 or _only_denials(error)):
        error = error.exceptions[0]  # a TaskGroup's own message says nothing
    kind = type(error).__name__
    said = json_encoding.safe_str(error)
    code = AgentPolicyViolation.code if isinstance(error, ToolDenied) else AgentFailed.code
    return Failed(f"{kind}: {said}" if said else kind, code, {"type": kind}, error)


def _only_denials(group: BaseExceptionGroup[BaseException]) -> bool:
    _, others = group.split(ToolDenied)
    return others is None


def with_denied(result: Outcome, tools: list[str]) -> Outcome:
    """Say in an outcome which tools the agent called and may not.

    Args:
        result: The outcome.
        tools: Their names; of none there is nothing to say.
    """
    if not tools:
        return result
    said = {"denied_tools": tools}
    if isinstance(result, Failed) and isinstance(result.details, dict | None):  # its event has no metadata
        result = msgspec.structs.replace(result, details=(result.details or {}) | said)
    return msgspec.structs.replace(result, metadata=result.metadata | said)


def cleaned(result: Outcome, redactor: Redactor) -> Outcome:
    """Return an outcome fit for callers: what agents say of their ends is masked."""
    if isinstance(result, Completed):
        return result
    if isinstance(result, Cancelled):
        return msgspec.structs.replace(result, reason=result.reason and redactor.mask(result.reason))
    message = redactor.sanitize(result.error[:_MAX_CLEANED])
    try:
        details = redactor.mask_value(result.details)
    except RecursionError:
        details = None
    return msgspec.structs.replace(result, error=message, details=details)


def within(result: Outcome, most: int) -> Outcome:
    """Return an outcome whose parts are no larger than an event may be, and whose message is cut.

    Args:
        result: How the agent's work ended, masked: the beginning of what is hidden is not recognised.
        most: Bytes as JSON.
    """
    if isinstance(result, Completed) and (size := size_of(result)) > most:
        message = f"the output has {size} bytes as JSON; limits.max_event_bytes is {most}"
        return Failed(message, InvalidOutput.code)
    if isinstance(result, Failed):
        details = result.details if size_of(result) <= most else None
        return msgspec.structs.replace(result, error=result.error[:_MAX_MESSAGE], details=details)
    return result


def size_of(result: Outcome) -> int:
    """Return how many bytes of JSON an outcome has, apart from its message or reason."""
    match result:
        case Completed():
            return len(result.output) + (len(json_encoding.encode(result.metadata)) if result.metadata else 0)
        case Failed():
            return 0 if result.details is None else len(json_encoding.encode(result.details))
        case Cancelled():
            return 0


def of_stop(stop: Stop) -> Outcome:
    """Return the outcome of an agent that was stopped."""
    match stop.kind:
        case "cancelled":
            return Cancelled(stop.reason)
        case "timeout":
            return Failed("the agent took longer than it may", AgentTimedOut.code)
        case "shutdown":
            return Failed("the service is shutting down", SHUTDOWN)
        case "lost":
            return Failed("the run could not be stored", DockrionError.code)
        case "limit":
            message = "the agent emitted more events than limits.max_events_per_run"
            return Failed(message, LIMIT_EXCEEDED)
        case "violation":
            return Failed(stop.reason or "a policy was broken", AgentPolicyViolation.code)
        case "ended":
            return stop.outcome or Failed("the run was ended", DockrionError.code)


def as_exception(result: Failed | Cancelled) -> DockrionError:
    """Return what `/invoke` answers where there is no output."""
    if isinstance(result, Cancelled):
        return ServiceUnavailable("the run was cancelled")
    kind = _EXCEPTIONS.get(result.code)
    if kind is not None:
        return kind(result.error, details=result.details)
    failure = AgentFailed(result.error, details=result.details)
    failure.code = result.code  # an agent process has codes of its own
    return failure


def terminal(
    result: Outcome, seconds: float, metadata: dict[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the terminal event of an outcome: its type, its fields, and what changes in the record.

    Args:
        result: How the run ended.
        seconds: How long the agent worked.
        metadata: What the record says of every run.
    """
    metadata = result.metadata | metadata
    match result:
        case Completed():
            output = msgspec.Raw(result.output)
            fields = {"output": output, "latency_seconds": seconds, "metadata": metadata}
            return "complete", fields, {"output": output, "metadata": metadata}
        case Failed():
            fields = {"error": result.error, "code": result.code, "details": result.details}
            return "error", fields, {"error": fields, "metadata": metadata}
        case Cancelled():
            fields = {"reason": result.reason}
            return "cancelled", fields, {"metadata": metadata | fields}
