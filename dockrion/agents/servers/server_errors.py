"""Errors of servers that speak other protocols, as the outcomes of runs."""

from typing import Any

import msgspec

from dockrion.errors import (
    AgentDisconnected,
    AgentFailed,
    AgentPolicyViolation,
    AgentProtocolError,
    AgentTimedOut,
    InvalidOutput,
)
from dockrion.runs.outcome import Failed

# Codes of the errors of a service that is itself a Dockrion, and others' codes of the same meaning.
_CODES = {
    kind.code.lower(): kind.code
    for kind in (AgentDisconnected, AgentFailed, AgentProtocolError, AgentTimedOut, InvalidOutput)
} | dict.fromkeys(("content_filter", "content_policy_violation"), AgentPolicyViolation.code)
_MAX_FIELD = 256  # characters; longer ones are left out: what is cut may have the start of a secret


def error_of(error: Any, details: dict[str, Any] | None = None) -> Failed:
    """Return the outcome of a reply that ends with an error.

    Args:
        error: What the server says of it: an object with a `message`, or anything else.
        details: Further information.
    """
    fields = error if isinstance(error, dict) else {"message": error}
    message, code = fields.get("message"), fields.get("code")
    text = message if isinstance(message, str) and message else "the agent's server reports an error"
    known = {name: fields[name] for name in ("type", "code", "param") if _is_short(fields.get(name))}
    code = _CODES.get(code, AgentFailed.code) if isinstance(code, str) else AgentFailed.code
    return Failed(text, code, {**(details or {}), **known} or None)


def failure_of(status: int, body: str) -> Failed:
    """Return the outcome of a request that was not successful.

    Args:
        status: The status of the response.
        body: The beginning of its body.
    """
    message = f"the agent's server responded with status {status}"
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        value = None
    error = value.get("error", value) if isinstance(value, dict) else None
    said = error.get("message") if isinstance(error, dict) else error
    if not isinstance(said, str) or not said:
        return Failed(message, AgentFailed.code, {"status": status, "body": body})
    failed = error_of(error, {"status": status})
    return msgspec.structs.replace(failed, error=f"{message}: {failed.error}")


def _is_short(value: Any) -> bool:
    return isinstance(value, str | int) and len(str(value)) <= _MAX_FIELD
