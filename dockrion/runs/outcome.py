"""The outcome of an agent's work, as data: made in one place, published once."""

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
    AppendRefused,
    DockrionError,
    InvalidOutput,
    InvalidRequest,
    ServiceUnavailable,
)
from dockrion.runs.tool_policy import ToolDenied

TIMED_OUT = "the agent exceeded its time limit"


class Stop(msgspec.Struct, frozen=True):
    """Why an agent is stopped.

    Attributes:
        kind: What stops it; `ended` is a terminal event that another process pushed, `refused` are events
            that the storage does not take.
        reason: The reason of a cancel, or the policy that was violated.
        outcome: The outcome that was pushed, or that of a refusal.
    """

    kind: Literal["cancelled", "timeout", "shutdown", "lost", "limit", "violation", "ended", "refused"]
    reason: str | None = None
    outcome: "Outcome | None" = None


class Completed(msgspec.Struct, frozen=True):
    """The agent returned.

    Attributes:
        output: Its output as JSON.
        metadata: Additional metadata of the run.
        returned: The output as the agent returned it; None if another process returned it.
    """

    output: bytes
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    returned: Any = None
    status: Literal["completed"] = "completed"


class Failed(msgspec.Struct, frozen=True):
    """The agent raised, or was stopped by the service.

    Attributes:
        error: A message fit for callers.
        code: The error code.
        details: A JSON value with further information, or None.
        raised: The agent's exception, for the log.
        metadata: Additional metadata of the run's record.
    """

    error: str
    code: str
    details: Any = None
    raised: BaseException | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    status: Literal["failed"] = "failed"


class Cancelled(msgspec.Struct, frozen=True):
    """The run was cancelled.

    Attributes:
        reason: The caller's reason, or None.
        metadata: Additional metadata of the run's record.
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
    AgentPolicyViolation.code: AgentPolicyViolation,
    DockrionError.code: DockrionError,
    InvalidRequest.code: InvalidRequest,
    InvalidOutput.code: InvalidOutput,
    SHUTDOWN: ServiceUnavailable,
}


def of_output(output: Any, metadata: dict[str, Any] | None = None) -> Outcome:
    """Return the outcome of an agent that returned.

    Args:
        output: Its output, any value.
        metadata: Additional metadata of the run.
    """
    try:
        return Completed(json_encoding.encode(output, "output"), metadata or {}, output)
    except json_encoding.NotJSON as error:
        return Failed(str(error), InvalidOutput.code, raised=error)


def of_exception(error: BaseException) -> Failed:
    """Return the outcome of an agent that raised."""
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
        error = error.__cause__  # a coroutine turns the one into the other (PEP 479)
    while isinstance(error, BaseExceptionGroup) and (len(error.exceptions) == 1 or _only_denials(error)):
        error = error.exceptions[0]  # the message of a TaskGroup names no cause
    kind = type(error).__name__
    message = json_encoding.safe_str(error)
    code = AgentPolicyViolation.code if isinstance(error, ToolDenied) else AgentFailed.code
    return Failed(f"{kind}: {message}" if message else kind, code, {"type": kind}, error)


def _only_denials(group: BaseExceptionGroup[BaseException]) -> bool:
    _, others = group.split(ToolDenied)
    return others is None


def of_refusal(error: AppendRefused) -> Failed:
    """Return the outcome of a run that emitted what the storage does not take."""
    return Failed(str(error), LIMIT_EXCEEDED)


def of_stop(stop: Stop) -> Outcome:
    """Return the outcome of an agent that was stopped."""
    match stop.kind:
        case "cancelled":
            return Cancelled(stop.reason)
        case "timeout":
            return Failed(TIMED_OUT, AgentTimedOut.code)
        case "shutdown":
            return Failed("the service is shutting down", SHUTDOWN)
        case "lost":
            return Failed("the run could not be stored", DockrionError.code)
        case "limit":
            return Failed("the agent emitted more events than limits.max_events_per_run", LIMIT_EXCEEDED)
        case "violation":
            return Failed(stop.reason or "a policy was violated", AgentPolicyViolation.code)
        case "ended" | "refused":
            return stop.outcome or Failed("the run was ended by another process", DockrionError.code)


def with_denied(result: Outcome, tools: list[str]) -> Outcome:
    """Return an outcome that names the tools whose calls were denied, if there were any."""
    if not tools:
        return result
    denied = {"denied_tools": tools}
    if isinstance(result, Failed) and isinstance(result.details, dict | None):
        # an `error` event has no metadata
        result = msgspec.structs.replace(result, details=(result.details or {}) | denied)
    return msgspec.structs.replace(result, metadata=result.metadata | denied)


def with_usage(result: Outcome, by_model: dict[str, Any]) -> Outcome:
    """Return an outcome whose metadata has the tokens that the agent's models took, if it reported them."""
    if not by_model:
        return result
    return msgspec.structs.replace(result, metadata=result.metadata | {"usage": by_model})


def to_exception(result: Failed | Cancelled) -> DockrionError:
    """Return the error that `/invoke` reports for an outcome without output."""
    if isinstance(result, Cancelled):
        return ServiceUnavailable("the run was cancelled")
    kind = _EXCEPTIONS.get(result.code)
    if kind is not None:
        return kind(result.error, details=result.details)
    failure = AgentFailed(result.error, details=result.details)
    failure.code = result.code  # agent processes may use codes that the service does not define
    return failure


def terminal_event(
    result: Outcome, seconds: float, metadata: dict[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the terminal event of an outcome: its type, its fields, and what changes in the record.

    Args:
        result: The outcome.
        seconds: How long the agent worked.
        metadata: The metadata of every run of this service.
    """
    metadata = result.metadata | metadata
    changes: dict[str, Any] = {"metadata": metadata, "waiting_for": None}
    match result:
        case Completed():
            output = msgspec.Raw(result.output)
            fields = {"output": output, "latency_seconds": seconds, "metadata": metadata}
            return "complete", fields, changes | {"output": output}
        case Failed():
            fields = {"error": result.error, "code": result.code, "details": result.details}
            return "error", fields, changes | {"error": fields}
        case Cancelled():
            fields = {"reason": result.reason}
            return "cancelled", fields, changes | {"metadata": metadata | fields}
