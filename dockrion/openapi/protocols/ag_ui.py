"""The endpoints of AG-UI clients."""

from typing import Any

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.ids import RUN_ID_HEADER
from dockrion.openapi.operation import (
    IDEMPOTENCY_KEY,
    JSON,
    REPLAYED,
    TEXT,
    Operation,
    forwarded_headers,
    integer,
    param,
    response,
)
from dockrion.openapi.operations_invoke import start_errors
from dockrion.protocols.ag_ui.requests import MAX_ID
from dockrion.wire import sse

_TEXT = TEXT["schema"]
_ID = {"type": "string", "maxLength": MAX_ID}
_FRAME_ID = {"type": "string", "pattern": r"^[0-9]{1,19}(\.[0-9]{1,9})?$"}
_MESSAGE = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "role": {
            "type": "string",
            "enum": ["developer", "system", "user", "assistant", "tool", "activity", "reasoning"],
        },
    },
    "required": ["role"],
}
_TOOL = {
    "type": "object",
    "properties": {"name": _TEXT, "description": {"type": ["string", "null"]}, "parameters": {}},
    "required": ["name"],
}
_ANSWER = {
    "type": "object",
    "properties": {
        "interruptId": _TEXT,
        "status": {"type": "string", "enum": ["resolved", "cancelled"]},
        "payload": {"description": "The answer, any JSON."},
    },
    "required": ["interruptId", "status"],
}
_REQUEST = {
    "type": "object",
    "description": "`RunAgentInput`. The agent gets `threadId`, `runId`, `state`, `context` and "
    "`forwardedProps` if `io_schema.input` has them.",
    "properties": {
        "threadId": _ID,
        "runId": {
            **_ID,
            "description": "Also the id of the run here, if it is a valid one, free, and clients may choose.",
        },
        "messages": {"type": "array", "items": _MESSAGE},
        "tools": {
            "type": ["array", "null"],
            "items": _TOOL,
            "description": "What the client can do; the agent gets them in `tools`, if its input has that.",
        },
        "resume": {
            "type": ["array", "null"],
            "items": _ANSWER,
            "description": "Answers to the interrupts of one run, which goes on; messages are not read then.",
        },
    },
    "required": ["threadId", "runId", "messages"],
}
_EXAMPLE = {
    "threadId": "thread-1",
    "runId": "run-1",
    "messages": [{"id": "m1", "role": "user", "content": "Hello"}],
}
_EVENTS = (
    ("1.1", '{"type":"RUN_STARTED","threadId":"thread-1","runId":"run-1","protocolVersion":"1.0"}'),
    ("2.1", '{"type":"TEXT_MESSAGE_START","messageId":"run-1:2","role":"assistant"}'),
    ("2.2", '{"type":"TEXT_MESSAGE_CONTENT","messageId":"run-1:2","delta":"Hello"}'),
    ("3.1", '{"type":"TEXT_MESSAGE_END","messageId":"run-1:2"}'),
    ("3.2", '{"type":"RUN_FINISHED","threadId":"thread-1","runId":"run-1","outcome":{"type":"success"}}'),
)
_FRAMES = "".join(f"id: {frame_id}\ndata: {event}\n\n" for frame_id, event in _EVENTS)
_STREAM: dict[str, Any] = {sse.MEDIA_TYPE: {"schema": _TEXT, "example": _FRAMES}}


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    choices = {
        "type": "string",
        "enum": ["cancel", "continue"],
        "default": dockfile.streaming.connection.on_disconnect,
    }
    on_disconnect = param("on_disconnect", "What happens to the run when the caller disconnects.", choices)
    headers: dict[str, str] = {}
    if dockfile.streaming.async_runs:
        headers = {RUN_ID_HEADER: "The run's id.", "Location": "Where to resume the stream."}
    default_timeout = dockfile.streaming.connection.default_timeout
    return {
        "POST /ag-ui": Operation(
            tag="protocols",
            summary="Run the agent, and stream its events to an AG-UI client",
            description="A run whose agent asks something finishes with an interrupt; the next request "
            "answers it with `resume`, and streams what follows.",
            parameters=[on_disconnect, IDEMPOTENCY_KEY, *forwarded_headers(dockfile)],
            body={JSON: {"schema": _REQUEST, "example": _EXAMPLE}},
            responses={200: response("The events of the run.", _STREAM, headers | REPLAYED)},
            errors=(
                *start_errors(dockfile),
                errors.IdempotencyMismatch,
                errors.RunNotFound,
                errors.QuestionNotOpen,
            ),
        ),
        "GET /ag-ui/runs/{run_id}": Operation(
            tag="protocols",
            summary="Resume the stream of an AG-UI client",
            description="What is open where the client goes on is opened again, by events without an id.",
            parameters=[
                param(
                    "Last-Event-ID",
                    "The `id` of the last frame that the client has, or an event's `sequence`.",
                    _FRAME_ID,
                    "header",
                ),
                param("runId", "The client's run, if it is not the first one.", _ID),
                param("timeout", "Seconds until the stream ends.", integer(1, 3600, default_timeout)),
            ],
            responses={
                200: response("The events that follow.", _STREAM),
                204: response("There is none: the run has finished, or waits for an answer."),
            },
            errors=(errors.RunNotFound, errors.TooManySubscribers, errors.ServiceUnavailable),
        ),
    }
