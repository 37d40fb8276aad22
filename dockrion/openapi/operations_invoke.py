"""Descriptions of `/invoke`, `/invoke/stream` and `/invoke/ws`, which run the agent within one request."""

from collections.abc import Iterator

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.ids import RUN_ID_HEADER
from dockrion.openapi import examples
from dockrion.openapi.operation import (
    IDEMPOTENCY_KEY,
    REPLAYED,
    Operation,
    forwarded_headers,
    input_content,
    json_response,
    on_disconnect,
    response,
    stream_content,
)

_RESUME_HEADERS = {RUN_ID_HEADER: "The run's id.", "Location": "The run's events, to resume the stream."}


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    headers = [IDEMPOTENCY_KEY, *forwarded_headers(dockfile)]
    events = response(
        "The run's events as they occur, from the first.",
        stream_content(dockfile),
        (_RESUME_HEADERS if dockfile.streaming.async_runs else {}) | REPLAYED,
    )
    return {
        "POST /invoke": Operation(
            tag="invoke",
            summary="Run the agent and wait for its output",
            description=input_description(dockfile),
            parameters=headers,
            body=input_content(dockfile),
            responses={200: json_response(examples.invoked(dockfile), "The agent's output.", REPLAYED)},
            errors=(errors.IdempotencyMismatch, *start_errors(dockfile), *run_errors(dockfile)),
        ),
        "POST /invoke/stream": Operation(
            tag="invoke",
            summary="Run the agent and stream its events",
            description=input_description(dockfile),
            parameters=[on_disconnect(dockfile), *headers],
            body=input_content(dockfile),
            responses={200: events},
            errors=(*start_errors(dockfile), errors.IdempotencyMismatch, errors.NotAcceptable),
        ),
        "GET /invoke/ws": Operation(
            tag="invoke",
            summary="Run the agent and stream its events over a WebSocket",
            description="The client's first message is the input. `/asyncapi.json` describes the messages.",
            parameters=[on_disconnect(dockfile), *forwarded_headers(dockfile)],
            responses={101: response("The connection becomes a WebSocket (RFC 6455).")},
        ),
    }


def input_description(dockfile: Dockfile) -> str:
    """Return what callers need to know about the input beyond its schema."""
    if not (dockfile.agent.takes_config and dockfile.arguments.allow_request_config):
        return ""
    return (
        "Besides the input, the body may contain `_config`, a config for the graph. With the `thread_id` of "
        'an interrupted thread in it, `{"resume": …, "_config": …}` resumes that thread.'
    )


def start_errors(dockfile: Dockfile) -> Iterator[type[errors.DockrionError]]:
    """Yield the errors that can occur before the agent runs."""
    policies, auth = dockfile.policies, dockfile.auth
    if policies is not None and policies.safety is not None and policies.safety.block_prompt_injection:
        yield errors.PolicyViolation
    if auth is not None and auth.rate_limits:
        yield errors.RateLimited
    yield errors.PayloadTooLarge
    yield errors.UnsupportedMediaType
    yield errors.TooManyRuns
    yield errors.ServiceUnavailable


def run_errors(dockfile: Dockfile) -> Iterator[type[errors.DockrionError]]:
    """Yield the errors that can occur while the agent runs."""
    yield errors.AgentFailed
    yield errors.InvalidOutput
    if dockfile.policies is not None:
        yield errors.AgentPolicyViolation
    if dockfile.agent.mode == "url":
        yield errors.AgentDisconnected
        yield errors.AgentProtocolError
    if dockfile.arguments.timeout_sec:
        yield errors.AgentTimedOut
