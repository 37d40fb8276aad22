"""The outcome of an agent's work, as data: made in one place, published once."""

from typing import TYPE_CHECKING, Any, Literal

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
    ServiceUnavailable,
)
from dockrion.redaction import Redactor
from dockrion.runs.tool_policy import ToolDenied

if TYPE_CHECKING:  # a service without an output policy does not load it
    from dockrion.policies.output_redaction import RunTextFilter

TIMED_OUT = "the agent exceeded its time limit"
_MAX_MESSAGE = 4000  # characters
_MAX_REDACTED = 64 * 1024  # characters; redacting megabytes would hold the event loop


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


def error_message(error: BaseException, redactor: Redactor) -> str:
    """Return what callers may read of an exception that did not end its run."""
    return sanitized(of_exception(error).error, redactor)


def sanitized(message: str, redactor: Redactor) -> str:
    """Return what callers may read of the message of an exception that did not end its run."""
    return redactor.sanitize(message[:_MAX_REDACTED])[:_MAX_MESSAGE]


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


def redacted(result: Outcome, redactor: Redactor) -> Outcome:
    """Return an outcome whose message, details and reason have no secrets and no server paths."""
    if isinstance(result, Completed):
        return result
    if isinstance(result, Cancelled):
        return msgspec.structs.replace(result, reason=result.reason and redactor.mask(result.reason))
    message = redactor.sanitize(result.error[:_MAX_REDACTED])
    try:
        details = redactor.mask_value(result.details)
    except RecursionError:
        details = None
    return msgspec.structs.replace(result, error=message, details=details)


def filtered(result: Outcome, text_filter: "RunTextFilter") -> Outcome:
    """Return an outcome whose texts went through the output policy, or the policy's violation.

    Call it after the last token.
    """
    try:
        result = _masked(result, text_filter)
    except (RecursionError, ValueError):
        result = Failed(f"the output cannot be JSON: {json_encoding.NOT_ENCODABLE}", InvalidOutput.code)
    return with_violation(result, text_filter)


def with_violation(result: Outcome, text_filter: "RunTextFilter") -> Outcome:
    """Return the violation that the filter has found, if it has, else the outcome as it is."""
    if text_filter.violation is not None and not isinstance(result, Cancelled):
        return Failed(text_filter.violation, AgentPolicyViolation.code)
    return result


def _masked(result: Outcome, text_filter: "RunTextFilter") -> Outcome:
    mask = text_filter.mask
    metadata = mask(msgspec.json.decode(json_encoding.encode(result.metadata)))
    match result:
        case Completed():
            output = text_filter.filter_output(msgspec.json.decode(result.output))
            if text_filter.truncated:
                metadata |= {"truncated": True}
            return msgspec.structs.replace(result, output=msgspec.json.encode(output), metadata=metadata)
        case Failed():
            return msgspec.structs.replace(
                result, error=mask(result.error), details=mask(result.details), metadata=metadata
            )
        case Cancelled():
            return msgspec.structs.replace(result, reason=mask(result.reason), metadata=metadata)


def limited(result: Outcome, max_bytes: int) -> Outcome:
    """Return an outcome whose output and details are within the size limit, and whose message is cut.

    Args:
        result: The outcome, masked already: in a text that is cut, the start of a secret is not found.
        max_bytes: The limit, as JSON.
    """
    if isinstance(result, Completed) and (size := size_of(result)) > max_bytes:
        message = f"the output has {size} bytes as JSON; limits.max_event_bytes is {max_bytes}"
        return Failed(message, InvalidOutput.code)
    if isinstance(result, Failed):
        details = result.details if size_of(result) <= max_bytes else None
        return msgspec.structs.replace(result, error=result.error[:_MAX_MESSAGE], details=details)
    return result


def size_of(result: Outcome) -> int:
    """Return the size of an outcome as JSON in bytes, apart from its message or reason."""
    match result:
        case Completed():
            return len(result.output) + (len(json_encoding.encode(result.metadata)) if result.metadata else 0)
        case Failed():
            return 0 if result.details is None else len(json_encoding.encode(result.details))
        case Cancelled():
            return 0


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
