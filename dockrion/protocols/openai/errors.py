"""Errors as OpenAI's API reports them: as an HTTP response's body, and in the middle of a stream."""

from collections.abc import Collection, Iterable
from typing import Any, NoReturn

import msgspec

from dockrion.errors import AgentPolicyViolation, DockrionError, InvalidRequest, Unauthorized

# Codes that clients know by OpenAI's names; all others are Dockrion's, in lower case.
_CODES = {
    Unauthorized.code: "invalid_api_key",
    InvalidRequest.code: "invalid_request",
    AgentPolicyViolation.code: "content_policy_violation",
}
_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429


def error_object(message: str, code: str, *, status: int = 500, param: str | None = None) -> dict[str, Any]:
    """Return an error as the API's clients expect it.

    Args:
        message: What happened, and what the caller can do about it.
        code: The error code of a `DockrionError` or of a run's `error` event.
        status: The HTTP status.
        param: The field of the request that is at fault, if it is known.
    """
    if status >= _SERVER_ERROR:
        kind = "server_error"
    else:
        kind = "requests" if status == _TOO_MANY_REQUESTS else "invalid_request_error"
    return {
        "error": {"message": message, "type": kind, "param": param, "code": _CODES.get(code, code.lower())}
    }


def param_of(error: DockrionError) -> str | None:
    """Return the field of the request that an error is about, None if that is not known."""
    details = msgspec.to_builtins(error.details)
    if not isinstance(details, list):
        return None
    paths = (str(detail.get("path")) for detail in details if isinstance(detail, dict))
    return next((path.removeprefix("$.") for path in paths if path.startswith("$.")), None)


def refuse_unmet(demands: Iterable[tuple[str, bool, str]], agent_fields: Collection[str]) -> None:
    """Refuse a request that demands what no reply would have.

    Args:
        demands: Fields of the request, whether each demands anything, and the problem with that.
        agent_fields: The fields that `io_schema.input` has. What the agent gets, it may as well obey.

    Raises:
        InvalidRequest: It does.
    """
    for field, demanded, problem in demands:
        if demanded and field.partition(".")[0] not in agent_fields:
            refuse(field, problem)


def refuse(field: str, problem: str) -> NoReturn:
    """Refuse a request because of one of its fields.

    Raises:
        InvalidRequest: Always.
    """
    raise InvalidRequest(f"{field}: {problem}", details=[{"path": f"$.{field}", "message": problem}])
