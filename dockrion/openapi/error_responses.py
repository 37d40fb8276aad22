"""Every error that callers meet: when, and what the answer looks like."""

from collections.abc import Collection
from typing import Any

from dockrion import errors
from dockrion.errors import DockrionError

Kinds = Collection[type[DockrionError]]

WHEN: dict[type[DockrionError], str] = {
    errors.InvalidRequest: "The request is malformed; `error` says what is expected.",
    errors.PolicyViolation: "The body has a phrasing that is refused here.",
    errors.Unauthorized: "A key or token is missing, wrong or expired.",
    errors.Forbidden: "The caller may not do this.",
    errors.NotFound: "Nothing is here.",
    errors.RunNotFound: "No such run: it never existed, has expired, or is another's.",
    errors.Conflict: "An earlier batch of events is missing.",
    errors.RunExists: "The run id is taken; `details` name the run.",
    errors.NotAcceptable: "`Accept` takes none of the forms that there are.",
    errors.Gone: "With `strict=true`: the events asked for are no longer kept.",
    errors.PayloadTooLarge: "The body is too large.",
    errors.UnsupportedMediaType: "The body is not JSON.",
    errors.TooManySubscribers: "The run has as many readers as it may.",
    errors.TooManyRuns: "The queue of waiting runs is full.",
    errors.RateLimited: "The caller has begun as much as is allowed.",
    errors.TooManyConnections: "The caller has as many requests and streams as it may.",
    errors.AgentFailed: "The agent failed; its process may give a code of its own.",
    errors.AgentPolicyViolation: "The agent did what a policy forbids.",
    errors.InvalidOutput: "The agent's output cannot be JSON, or is too large.",
    errors.AgentDisconnected: "The agent's process cannot be reached, or went away.",
    errors.AgentProtocolError: "The agent's process sent what cannot be understood.",
    errors.ServiceUnavailable: "Not ready, shutting down, or something that is needed is away.",
    errors.AgentTimedOut: "The agent took too long and was stopped.",
    DockrionError: "The service failed; the operator finds the reason in its log.",
}
_FAILURE = {"$ref": "#/components/schemas/Failure"}
_RETRY_AFTER = {"description": "Seconds to wait before asking again.", "schema": {"type": "integer"}}
_CHALLENGE = {"description": "How to prove who one is (RFC 9110, 11.6.1).", "schema": {"type": "string"}}


def responses(kinds: Kinds) -> dict[str, Any]:
    """Return the OpenAPI responses for errors, those of one status together."""
    by_status: dict[int, list[type[DockrionError]]] = {}
    for kind in WHEN:
        if kind in kinds:
            by_status.setdefault(kind.status, []).append(kind)
    return {str(status): _response(some) for status, some in by_status.items()}


def examples(kinds: Kinds) -> dict[str, Any]:
    """Return an example of each error's answer, by the name that `responses` gives it."""
    return {
        kind.__name__: {
            "summary": WHEN[kind],
            "value": {"success": False, "error": WHEN[kind], "code": kind.code},
        }
        for kind in kinds
    }


def _response(kinds: list[type[DockrionError]]) -> dict[str, Any]:
    codes = sorted({kind.code for kind in kinds})
    described = {
        "description": "\n".join(f"- `{kind.code}`: {WHEN[kind]}" for kind in kinds),
        "content": {
            "application/json": {
                "schema": {"allOf": [_FAILURE, {"properties": {"code": _code(kinds, codes)}}]},
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


def _code(kinds: list[type[DockrionError]], codes: list[str]) -> dict[str, Any]:
    """Return the schema of `code`; agents' processes have codes of their own."""
    return {"type": "string", "examples": codes} if errors.AgentFailed in kinds else {"enum": codes}
