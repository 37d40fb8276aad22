"""Errors that reach a caller, each with its HTTP status and error code, and errors of the run log.

Agents raise none of these: an agent's exception becomes an outcome (see `dockrion.runs.outcome`).
"""

from typing import Any, ClassVar

# Error codes that occur only in `error` events. All other codes are those of the exceptions below.
SHUTDOWN = "SHUTDOWN"
LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
PRODUCER_TIMEOUT = "PRODUCER_TIMEOUT"
WORKER_LOST = "WORKER_LOST"


class DockrionError(Exception):
    """A failure that is reported to the caller.

    Args:
        message: What happened, and what the caller can do about it.
        details: A JSON value with further information, or None.
        headers: Headers of the HTTP response.

    Attributes:
        status: The HTTP status.
        code: The error code.
        retry_after: Seconds after which the caller may retry, or None.
    """

    status: ClassVar[int] = 500
    code: str = "INTERNAL_ERROR"
    retry_after: ClassVar[int | None] = None

    def __init__(self, message: str, *, details: Any = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.headers = headers or {}
        if self.retry_after is not None:
            self.headers["Retry-After"] = str(self.retry_after)


class InvalidRequest(DockrionError):
    status, code = 400, "VALIDATION_ERROR"


class PolicyViolation(DockrionError):
    """The input violates a policy."""

    status, code = 400, "POLICY_VIOLATION"


class Unauthorized(DockrionError):
    status, code = 401, "AUTH_ERROR"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(DockrionError):
    status, code = 403, "FORBIDDEN"


class NotFound(DockrionError):
    status, code = 404, "NOT_FOUND"


class RunNotFound(NotFound):
    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run {run_id!r}: it never existed or has expired")


class MethodNotAllowed(DockrionError):
    status, code = 405, "METHOD_NOT_ALLOWED"


class NotAcceptable(DockrionError):
    status, code = 406, "NOT_ACCEPTABLE"


class Conflict(DockrionError):
    status, code = 409, "CONFLICT"


class RunExists(Conflict):
    def __init__(self, run_id: str, events_url: str | None = None) -> None:
        details = None if events_url is None else {"run_id": run_id, "events_url": events_url}
        super().__init__(f"run {run_id!r} exists", details=details)


class QuestionNotOpen(Conflict):
    def __init__(self, request_id: str) -> None:
        which = f"no question {request_id!r:.100} is open"
        super().__init__(f"{which}: it was answered already, has expired, or was never asked")


class Gone(DockrionError):
    status, code = 410, "GONE"


class QuestionGone(Gone):
    def __init__(self) -> None:
        super().__init__("there will be no answer: the question has expired, or the run is over")


class PayloadTooLarge(DockrionError):
    status, code = 413, "PAYLOAD_TOO_LARGE"


class UnsupportedMediaType(DockrionError):
    status, code = 415, "UNSUPPORTED_MEDIA_TYPE"


class MisdirectedRequest(DockrionError):
    """The request is for a host that this service is not (RFC 9110, 15.5.20)."""

    status, code = 421, "MISDIRECTED_REQUEST"


class IdempotencyMismatch(DockrionError):
    """The caller's key was sent with another request (IETF draft "The Idempotency-Key HTTP Header Field")."""

    status, code = 422, "IDEMPOTENCY_MISMATCH"


class TooManySubscribers(DockrionError):
    status, code, retry_after = 429, "TOO_MANY_SUBSCRIBERS", 5


class TooManyRuns(DockrionError):
    status, code, retry_after = 429, "TOO_MANY_RUNS", 5


class RateLimited(DockrionError):
    status, code = 429, "RATE_LIMIT_EXCEEDED"


class TooManyConnections(DockrionError):
    status, code, retry_after = 429, "TOO_MANY_CONNECTIONS", 5


class AgentFailed(DockrionError):
    status, code = 500, "AGENT_EXECUTION_ERROR"


class AgentDisconnected(DockrionError):
    status, code = 502, "AGENT_DISCONNECTED"


class AgentProtocolError(DockrionError):
    status, code = 502, "AGENT_PROTOCOL_ERROR"


class InvalidOutput(DockrionError):
    status, code = 500, "INVALID_OUTPUT"


class AgentPolicyViolation(DockrionError):
    """The agent, not the caller, violated a policy."""

    status, code = 500, "POLICY_VIOLATION"


class ServiceUnavailable(DockrionError):
    status, code, retry_after = 503, "SERVICE_UNAVAILABLE", 5


class AgentTimedOut(DockrionError):
    status, code = 504, "TIMEOUT_ERROR"


class BackendError(Exception):
    """A run log operation failed in a way that its caller, not the HTTP client, must handle."""


class RunClosed(BackendError):
    """The run already has its terminal event, so nothing can be appended."""


class SequenceConflict(BackendError):
    """The batch does not continue the log: another writer has appended to it."""


class AppendRefused(BackendError):
    """The storage works, but refuses to store these events however often it is asked: they are too large."""


class CorruptLog(BackendError):
    """Stored data does not have the format that this service writes."""


class StartError(Exception):
    """The service cannot start.

    Args:
        message: One line per problem: what, where, and what to do about it.
    """


def clear_tracebacks(error: BaseException | None) -> None:
    """Detach an exception from the frames that it passed through, once it has been handled.

    Their variables, which are as large as a payload can be, often refer back to it: only a garbage
    collection would free such a cycle.

    Args:
        error: The exception; its causes, contexts and members are detached too.
    """
    pending = [error]
    while pending:
        error = pending.pop()
        if error is None or error.__traceback__ is None:
            continue
        error.__traceback__ = None
        pending += [error.__cause__, error.__context__]
        if isinstance(error, BaseExceptionGroup):
            pending += error.exceptions
