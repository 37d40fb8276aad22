"""Descriptions of the errors that callers receive."""

from collections.abc import Collection
from typing import Any

from dockrion import errors
from dockrion.errors import DockrionError

ErrorTypes = Collection[type[DockrionError]]

DESCRIPTIONS: dict[type[DockrionError], str] = {
    errors.InvalidRequest: "The request is malformed; `error` says what is expected.",
    errors.PolicyViolation: "The input contains a phrasing that a policy rejects.",
    errors.Unauthorized: "An API key or token is missing, invalid or expired.",
    errors.Forbidden: "The caller lacks the required permission, or its web page's origin is not allowed.",
    errors.NotFound: "There is no such resource.",
    errors.RunNotFound: "The run never existed, has expired, or belongs to another caller.",
    errors.Conflict: "An earlier batch of events is missing.",
    errors.QuestionNotOpen: "The question was answered already, has expired, or was never asked.",
    errors.RunExists: "A run with this id exists; `details` refers to it.",
    errors.NotAcceptable: "`Accept` matches none of the available media types.",
    errors.Gone: "With `strict=true`: the requested events are no longer stored.",
    errors.QuestionGone: "There will be no answer: the question has expired, or the run is over.",
    errors.PayloadTooLarge: "The body is too large.",
    errors.UnsupportedMediaType: "The body's media type is not supported.",
    errors.IdempotencyMismatch: "The `Idempotency-Key` was sent with another body or path.",
    errors.TooManySubscribers: "The run has the maximum number of readers.",
    errors.TooManyRuns: "The queue of waiting runs is full.",
    errors.RateLimited: "The caller has reached its rate limit.",
    errors.TooManyConnections: "The caller has the maximum number of concurrent requests and streams.",
    errors.AgentFailed: "The agent failed; an agent process may set its own code.",
    errors.AgentPolicyViolation: "The agent violated a policy.",
    errors.InvalidOutput: "The agent's output cannot be encoded as JSON, or is too large.",
    errors.AgentDisconnected: "The agent process cannot be reached, or closed the connection.",
    errors.AgentProtocolError: "The agent process sent a malformed response.",
    errors.ServiceUnavailable: "The service is not ready, is shutting down, or cannot reach a dependency.",
    errors.AgentTimedOut: "The agent exceeded its time limit and was stopped.",
    DockrionError: "The service failed; its log contains the reason.",
}
_FAILURE = {"$ref": "#/components/schemas/Failure"}
_RETRY_AFTER = {"description": "Seconds to wait before retrying.", "schema": {"type": "integer"}}
_CHALLENGE = {"description": "The authentication scheme (RFC 9110, 11.6.1).", "schema": {"type": "string"}}


def responses(kinds: ErrorTypes) -> dict[str, Any]:
    """Return the OpenAPI response objects of errors, by status."""
    by_status: dict[int, list[type[DockrionError]]] = {}
    for kind in DESCRIPTIONS:
        if kind in kinds:
            by_status.setdefault(kind.status, []).append(kind)
    return {str(status): _response(same_status) for status, same_status in by_status.items()}


def examples() -> dict[str, Any]:
    """Return an example body of each error, by the component name that `responses` refers to."""
    return {
        kind.__name__: {
            "summary": description,
            "value": {"success": False, "error": description, "code": kind.code},
        }
        for kind, description in DESCRIPTIONS.items()
    }


def _response(kinds: list[type[DockrionError]]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": "\n".join(f"- `{kind.code}`: {DESCRIPTIONS[kind]}" for kind in kinds),
        "content": {
            "application/json": {
                "schema": _FAILURE,
                "examples": {
                    kind.__name__: {"$ref": f"#/components/examples/{kind.__name__}"} for kind in kinds
                },
            }
        },
    }
    headers = {}
    if any(kind.retry_after is not None or kind is errors.RateLimited for kind in kinds):
        headers["Retry-After"] = _RETRY_AFTER
    if errors.Unauthorized in kinds:
        headers["WWW-Authenticate"] = _CHALLENGE
    return described | ({"headers": headers} if headers else {})
