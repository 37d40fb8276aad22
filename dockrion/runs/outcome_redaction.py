"""What callers may see of outcomes: no secrets, what the policies allow, no more than the size limit."""

from typing import TYPE_CHECKING

import msgspec

from dockrion import json_encoding
from dockrion.errors import AgentPolicyViolation, InvalidOutput
from dockrion.redaction import Redactor
from dockrion.runs.outcome import Cancelled, Completed, Failed, Outcome, of_exception

if TYPE_CHECKING:  # a service without an output policy does not load it
    from dockrion.policies.output_redaction import RunTextFilter

_MAX_MESSAGE = 4000  # characters
_MAX_REDACTED = 64 * 1024  # characters; redacting megabytes would hold the event loop


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


def error_message(error: BaseException, redactor: Redactor) -> str:
    """Return what callers may read of an exception that did not end its run."""
    return sanitized(of_exception(error).error, redactor)


def sanitized(message: str, redactor: Redactor) -> str:
    """Return what callers may read of the message of an exception that did not end its run."""
    return redactor.sanitize(message[:_MAX_REDACTED])[:_MAX_MESSAGE]
