"""The exceptions of the client: one tree, below `ClientError`."""

import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec
from yarl import URL

_MAX_DIGITS = 9


class ClientError(Exception):
    """A request or stream failed."""


class ConnectionLost(ClientError):
    """The service cannot be reached, or the connection broke.

    The request may have been carried out nevertheless.

    Attributes:
        sent: Whether the request may have reached the service.
        run_id: The run whose stream was lost, else empty: `Client.events(run_id, after)` continues it.
        after: The sequence of the last event that was read.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
        self.run_id = ""
        self.after = 0


class ProtocolError(ClientError):
    """The response is malformed, or breaks a promise of the event stream."""


class EventsGone(ClientError):
    """The run's events are no longer stored."""


class ResponseError(ClientError):
    """The service responded with an error status.

    Attributes:
        status: The HTTP status.
        code: The service's error code, such as `NOT_FOUND`; empty if the response has none.
        message: The service's error message.
        details: The service's error details, or None.
        retry_after: `Retry-After` in seconds, None without that header.
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

    @property
    def detail_lines(self) -> list[str]:
        """The details as text: a line for each violation, or one of JSON."""
        if self.details is None:
            return []
        try:
            return [f"{violation['path']}: {violation['message']}" for violation in self.details]
        except (TypeError, KeyError):
            return [msgspec.json.encode(self.details).decode()]


class InvalidRequest(ResponseError):
    """400 or 422: the request is malformed, breaks the schema or a policy, or does not fit a run or key."""


class Unauthorized(ResponseError):
    """401: the token or key is missing, wrong or expired."""


class Forbidden(ResponseError):
    """403: the caller may not do this."""


class NotFound(ResponseError):
    """404: no such run or path."""


class Conflict(ResponseError):
    """409: a run with this id exists, or the question is not open."""


class PayloadTooLarge(ResponseError):
    """413: the payload is larger than the service accepts."""


class TooManyRequests(ResponseError):
    """429: a limit of rate, runs, readers or connections; `code` says which."""


class ServerError(ResponseError):
    """500 or 502: the agent failed, or the service; `code` says which."""


class ServiceUnavailable(ResponseError):
    """503: the service accepts no work at present."""


class AgentTimeout(ResponseError):
    """504: the agent took longer than `arguments.timeout_sec`."""


_BY_STATUS: dict[int, type[ResponseError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: PayloadTooLarge,
    422: InvalidRequest,
    429: TooManyRequests,
    500: ServerError,
    502: ServerError,
    503: ServiceUnavailable,
    504: AgentTimeout,
}


class _Body(msgspec.Struct):
    error: str = ""
    code: str = ""
    details: Any = None


def from_response(status: int, reason: str, headers: Mapping[str, str], body: bytes) -> ResponseError:
    """Return the exception for an error response.

    Args:
        status: Its HTTP status.
        reason: The reason phrase of its status line.
        headers: Its headers.
        body: The beginning of its body.
    """
    kind = _BY_STATUS.get(status, ResponseError)
    retry_after = _retry_after(headers.get("Retry-After", ""))
    try:
        decoded = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, RecursionError):  # sent by a proxy
        return kind(status, "", reason or "error", None, retry_after)
    return kind(status, decoded.code, decoded.error or reason or "error", decoded.details, retry_after)


def from_exception(error: Exception, service: URL) -> ClientError:
    """Return the client's own exception for one of aiohttp's or the system's.

    Args:
        error: The exception.
        service: The service's URL without user and password.
    """
    match error:
        case aiohttp.ClientSSLError():
            return ConnectionLost(f"cannot reach {service}: {_tls_problem(error.__cause__)}", sent=False)
        case aiohttp.ClientConnectorError():
            return unreachable(error.os_error, service)
        case aiohttp.ConnectionTimeoutError():
            return ConnectionLost(f"cannot reach {service}: connecting timed out", sent=False)
        case TimeoutError():
            return ConnectionLost(f"{service} sent nothing for too long")
        case aiohttp.ClientConnectionError() | aiohttp.ClientPayloadError() | OSError():
            return ConnectionLost(f"the connection to {service} broke")
    return ProtocolError(f"the response of {service} is not HTTP")


def _tls_problem(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message}; trust the certificate's authority with SSL_CERT_FILE=its-file.pem"
    return f"TLS {error.reason if isinstance(error, ssl.SSLError) else 'failed'}"


def unreachable(error: OSError, service: URL) -> ConnectionLost:
    """Return the exception for a service to which there is no connection.

    Args:
        error: Why there is none.
        service: The service's URL without user and password.
    """
    return ConnectionLost(f"cannot reach {service}: {_reason(error)}", sent=False)


def _reason(error: OSError) -> str:
    """Return the text of a system error. A failed name resolution has a negative number and its own text."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or "no connection"


def _retry_after(header: str) -> float | None:
    """Return the seconds of a `Retry-After`, which are given as such or as a date (RFC 9110, 10.2.3)."""
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:  # the zone is -0000
        date = date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)
