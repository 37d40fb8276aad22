"""What the endpoints are for that ask the agent and wait."""

from collections.abc import Iterator

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.openapi import examples, media
from dockrion.openapi.operation import Answer, Operation, one, query

_RESUME = {"X-Run-Id": "The run.", "Location": "Where the run's events are, to resume."}


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return their operations, by method and path."""
    on_disconnect = {
        "type": "string",
        "enum": ["cancel", "continue"],
        "default": dockfile.streaming.connection.on_disconnect,
    }
    streamed = Answer(
        "The run's events as they happen, from the first.",
        media.stream(dockfile),
        _RESUME if dockfile.streaming.async_runs else {},
    )
    return {
        "POST /invoke": Operation(
            tag="invoke",
            summary="Ask the agent, and wait for its answer",
            description=about_input(dockfile),
            body=media.agent_input(dockfile, "/invoke"),
            answers={200: one(examples.invoked(dockfile), "The agent's output.")},
            errors=(*starting(dockfile), *_working(dockfile)),
        ),
        "POST /invoke/stream": Operation(
            tag="invoke",
            summary="Ask the agent, and watch it work",
            description=about_input(dockfile),
            parameters=[
                query("on_disconnect", "What becomes of the run when the caller leaves.", on_disconnect)
            ],
            body=media.agent_input(dockfile, "/invoke/stream"),
            answers={200: streamed},
            errors=(*starting(dockfile), errors.NotAcceptable),
        ),
        "GET /invoke/ws": Operation(
            tag="invoke",
            summary="Ask the agent, and watch it work, over a WebSocket",
            description="The client's first message is the input. The events are in `/asyncapi.json`.",
            parameters=[
                query("on_disconnect", "What becomes of the run when the caller leaves.", on_disconnect)
            ],
            answers={101: Answer("The connection is a WebSocket (RFC 6455).")},
        ),
    }


def about_input(dockfile: Dockfile) -> str:
    """Return what the schema of the input does not say."""
    if not (dockfile.agent.takes_config and dockfile.arguments.allow_request_config):
        return ""
    return (
        "Beside the input the body may have `_config`, a config of the graph; with its `thread_id`, "
        '`{"resume": …, "_config": …}` goes on where the thread was interrupted.'
    )


def starting(dockfile: Dockfile) -> Iterator[type[errors.DockrionError]]:
    """Yield what can go wrong before the agent works."""
    policies, auth = dockfile.policies, dockfile.auth
    if policies is not None and policies.safety is not None and policies.safety.block_prompt_injection:
        yield errors.PolicyViolation
    if auth is not None and auth.rate_limits:
        yield errors.RateLimited
    yield errors.PayloadTooLarge
    yield errors.UnsupportedMediaType
    yield errors.TooManyRuns
    yield errors.ServiceUnavailable


def _working(dockfile: Dockfile) -> Iterator[type[errors.DockrionError]]:
    """Yield what can go wrong while it does."""
    yield errors.AgentFailed
    yield errors.InvalidOutput
    if dockfile.policies is not None:
        yield errors.AgentPolicyViolation
    if dockfile.agent.mode == "url":
        yield errors.AgentDisconnected
        yield errors.AgentProtocolError
    if dockfile.arguments.timeout_sec:
        yield errors.AgentTimedOut
