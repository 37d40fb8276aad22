"""What can go wrong for whoever asks a service: one tree, below `ClientError`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

_MOST_DIGITS = 9


class ClientError(Exception):
    """What was asked for did not come."""


class ConnectionLost(ClientError):
    """The service cannot be reached, or the connection broke.

    Where a request had been sent that is not safe to repeat, it may have been worked on.

    Attributes:
        run_id: The run that was watched, empty for none: `Client.events(run_id, after)` goes on with it.
        after: The last sequence that was read of it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.run_id = ""
        self.after = 0


class ProtocolError(ClientError):
    """The answer is none of Dockrion's, or breaks what Dockrion promises."""


class EventsGone(ClientError):
    """The run's events are no longer stored."""


class ResponseError(ClientError):
    """The service answered with an error.

    Attributes:
        status: The HTTP status.
        code: What kind of error it is, as the README's table has it; empty where the answer names none.
        message: What happened, in the service's words.
        details: More about it, or None.
        retry_after: Seconds after which the service wants to be asked again, None where it does not say.
    """

    def __init__(
        self, status: int, code: str, message: str, details: Any = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{message} (HTTP {status}{code and ' ' + code})")
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.retry_after = retry_after


class InvalidRequest(ResponseError):
    """What was sent is malformed, breaks the schema or a policy, or makes no sense now."""


class Unauthorized(ResponseError):
    """The token or key is missing, wrong or expired."""


class Forbidden(ResponseError):
    """The caller may not do this."""


class NotFound(ResponseError):
    """No such run, or nothing is there."""


class Conflict(ResponseError):
    """A run of this id exists."""


class PayloadTooLarge(ResponseError):
    """The payload is larger than the service takes."""


class TooManyRequests(ResponseError):
    """A limit of rates, runs, readers or connections; `code` says which."""


class ServerError(ResponseError):
    """The agent failed, or the service did; `code` says which."""


class ServiceUnavailable(ResponseError):
    """The service does not take work now."""


class AgentTimeout(ResponseError):
    """The agent took too long."""


_BY_STATUS: dict[int, type[ResponseError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: PayloadTooLarge,
    429: TooManyRequests,
    500: ServerError,
    502: ServerError,
    503: ServiceUnavailable,
    504: AgentTimeout,
}


class _Body(msgspec.Struct):
    error: str
    code: str
    details: Any = None


def refusal(status: int, reason: str, headers: Mapping[str, str], body: bytes) -> ResponseError:
    """Return the error that an answer is.

    Args:
        status: Its HTTP status.
        reason: What its status line says.
        headers: Its headers.
        body: The beginning of its body.
    """
    kind = _BY_STATUS.get(status, ResponseError)
    retry_after = _seconds(headers.get("Retry-After", ""))
    try:
        told = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, RecursionError):  # of a proxy, not of Dockrion
        return kind(status, "", reason or "refused", None, retry_after)
    return kind(status, told.code, told.error, told.details, retry_after)


def _seconds(retry_after: str) -> float | None:
    """Read a `Retry-After` (RFC 9110, 10.2.3): seconds, or a date."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:  # the zone is -0000
        date = date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)
