"""Descriptions of `/runs/{run_id}/input`: the answers to what agents ask."""

from collections.abc import Iterator
from typing import Any

import msgspec

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.openapi import examples
from dockrion.openapi.operation import JSON, Operation, json_response
from dockrion.openapi.operations_runs import INCARNATION
from dockrion.openapi.schemas import ref


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    answer: dict[str, Any] = {"schema": ref("Answer"), "example": msgspec.to_builtins(examples.ANSWER)}
    return {
        "POST /runs/{run_id}/input": Operation(
            tag="runs",
            summary="Answer what the agent asks",
            description="The question is in the run's `input_requested` event, and in its `waiting_for`. Of "
            "several answers one is accepted. The role of a caller needs `respond` to answer for another.",
            parameters=[INCARNATION],
            body={JSON: answer},
            responses={202: json_response(examples.ANSWERED, "The agent gets the answer.")},
            errors=tuple(_errors(dockfile)),
        ),
    }


def _errors(dockfile: Dockfile) -> Iterator[type[errors.DockrionError]]:
    policies, auth = dockfile.policies, dockfile.auth
    if policies is not None and policies.safety is not None and policies.safety.block_prompt_injection:
        yield errors.PolicyViolation
    if auth is not None and auth.rate_limits:
        yield errors.RateLimited
    yield errors.RunNotFound
    yield errors.QuestionNotOpen
    yield errors.PayloadTooLarge
    yield errors.UnsupportedMediaType
    yield errors.ServiceUnavailable
