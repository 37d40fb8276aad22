"""The output policy applied to how a run ended."""

from typing import TYPE_CHECKING

import msgspec

from dockrion import json_encoding
from dockrion.errors import AgentPolicyViolation, InvalidOutput
from dockrion.runs.outcome import Cancelled, Completed, Failed, Outcome

if TYPE_CHECKING:  # a service without an output policy does not load it
    from dockrion.policies.output_redaction import RunTextFilter


def filtered(result: Outcome, text_filter: "RunTextFilter") -> Outcome:
    """Return how a run ends: its texts masked and cut, or a violation. Once the tokens are over."""
    try:
        result = _masked(result, text_filter)
    except (RecursionError, ValueError):
        result = Failed(f"the output cannot be JSON: {json_encoding.NOT_ENCODABLE}", InvalidOutput.code)
    return with_violation(result, text_filter)


def with_violation(result: Outcome, text_filter: "RunTextFilter") -> Outcome:
    """Return how a run ends: as it did, or with the violation that the filter has seen."""
    if text_filter.violation is not None and not isinstance(result, Cancelled):
        return Failed(text_filter.violation, AgentPolicyViolation.code)
    return result


def _masked(result: Outcome, text_filter: "RunTextFilter") -> Outcome:
    mask = text_filter.mask
    match result:
        case Completed():
            output = text_filter.filter_output(msgspec.json.decode(result.output))
            metadata = mask(msgspec.json.decode(json_encoding.encode(result.metadata)))
            if text_filter.truncated:
                metadata |= {"truncated": True}
            return msgspec.structs.replace(result, output=msgspec.json.encode(output), metadata=metadata)
        case Failed():
            return msgspec.structs.replace(result, error=mask(result.error), details=mask(result.details))
        case Cancelled():
            return msgspec.structs.replace(result, reason=mask(result.reason))
