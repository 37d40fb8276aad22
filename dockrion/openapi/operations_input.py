"""Descriptions of `/runs/{run_id}/input`: the answers to what agents ask."""

from collections.abc import Iterator
from typing import Any

import msgspec

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.openapi import examples
from dockrion.openapi.error_responses import ErrorTypes
from dockrion.openapi.operation import JSON, Operation, integer, json_response, param, response
from dockrion.openapi.operations_runs import INCARNATION, ingest_errors
from dockrion.openapi.schemas import ref

_WAIT = param("wait", "Seconds to wait for the answer.", integer(0, 60, 0))
_FETCHED = {
    200: json_response(examples.FETCHED, "The answer."),
    204: response("There is no answer yet."),
}
_FETCH_ERRORS: ErrorTypes = (
    errors.RunNotFound,
    errors.NotFound,
    errors.QuestionGone,
    errors.ServiceUnavailable,
)


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
        "GET /runs/{run_id}/input/{request_id}": Operation(
            tag="events",
            summary="Fetch the answer to a pushed question",
            description="For the process that has pushed an `input_requested` event with this `request_id`.",
            parameters=[_WAIT, INCARNATION],
            responses=_FETCHED,
            errors=(*_FETCH_ERRORS, *ingest_errors(dockfile)),
        ),
        "GET /runs/{run_id}/input/{push_token}/{request_id}": Operation(
            tag="events",
            summary="Fetch the answer to a question of an agent process",
            description="The agent process gets this URL, without the `request_id`, in the header "
            "`X-Dockrion-Input-Url`. It needs no other credential, and is valid for that run alone.",
            parameters=[_WAIT],
            responses=_FETCHED,
            errors=(*_FETCH_ERRORS, errors.Unauthorized),
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
