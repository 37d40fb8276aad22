"""The endpoints of AG-UI clients."""

from typing import Any

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.ids import RUN_ID_HEADER, RUN_ID_PATTERN
from dockrion.openapi.operation import (
    IDEMPOTENCY_KEY,
    JSON,
    REPLAYED,
    TEXT,
    Operation,
    forwarded_headers,
    integer,
    on_disconnect,
    param,
    response,
)
from dockrion.openapi.operations_invoke import start_errors
from dockrion.protocols.ag_ui.requests import MAX_ID
from dockrion.wire import sse

_TEXT = TEXT["schema"]
_NULLABLE_TEXT = {"type": ["string", "null"]}
_ID = {"type": "string", "maxLength": MAX_ID}
_FRAME_ID = {"type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,9})?$"}


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    """Return the schema of an object whose fields are all required, unless some are named."""
    return {"type": "object", "properties": properties, "required": required or list(properties)}


def _message(role: str, fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return _object({"id": _TEXT, "role": {"const": role}, **fields}, ["role", *required])


_DATA = _object({"type": {"const": "data"}, "value": _TEXT, "mimeType": _TEXT})
_FILE = _object({"type": {"const": "file"}, "value": _TEXT})
_URL = _object({"type": {"const": "url"}, "value": _TEXT})
_PARTS = {
    "anyOf": [
        _object({"type": {"const": "text"}, "text": _TEXT}),
        _object({"type": {"const": "image"}, "source": {"anyOf": [_DATA, _URL, _FILE]}}),
        _object({"type": {"enum": ["audio", "video", "document"]}, "source": {"anyOf": [_DATA, _FILE]}}),
    ]
}
_CONTENT = {"anyOf": [_TEXT, {"type": "array", "items": _PARTS}]}
_CALL = _object(
    {
        "id": _TEXT,
        "type": {"const": "function"},
        "function": _object({"name": _TEXT, "arguments": {"type": "string", "description": "JSON."}}),
    },
    ["id", "function"],
)
_CALLS = {"type": ["array", "null"], "items": _CALL}
_NAME = {"name": _NULLABLE_TEXT}
_TOOL_RESULT = {"toolCallId": _TEXT, "error": _NULLABLE_TEXT}
_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "description": "The agent gets those of other roles than `activity` and `reasoning`.",
    "items": {
        "anyOf": [
            _message("user", {"content": _CONTENT, **_NAME}, ["content"]),
            _message("assistant", {"content": _NULLABLE_TEXT, "toolCalls": _CALLS, **_NAME}, []),
            _message("system", {"content": _TEXT, **_NAME}, ["content"]),
            _message("developer", {"content": _TEXT, **_NAME}, ["content"]),
            _message("tool", {"content": _CONTENT, **_TOOL_RESULT}, ["content", "toolCallId"]),
        ]
    },
}
_TOOL = _object({"name": _TEXT, "description": _NULLABLE_TEXT, "parameters": {}}, ["name"])
_ANSWER = _object(
    {
        "interruptId": {"type": "string", "pattern": f"^{RUN_ID_PATTERN.pattern}:"},
        "status": {"type": "string", "enum": ["resolved", "cancelled"]},
        "payload": {"description": "The answer, any JSON."},
    },
    ["interruptId", "status"],
)
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
        "messages": _MESSAGES,
        "tools": {
            "type": ["array", "null"],
            "items": _TOOL,
            "description": "What the client itself can do; the agent gets them as `tools`.",
        },
        "resume": {
            "type": ["array", "null"],
            "items": _ANSWER,
            "maxItems": 1,
            "description": "The answer to an interrupt, with which its run goes on; no message is read then.",
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
_EVENT = _object({"type": {"type": "string", "description": "As `TEXT_MESSAGE_CONTENT`; see the protocol."}})
_FRAME = _object(
    {
        "id": {**_FRAME_ID, "description": "Absent in what only opens again what was open."},
        "data": {"type": "string", "contentMediaType": JSON, "contentSchema": _EVENT},
    },
    ["data"],
)
_STREAM: dict[str, Any] = {
    sse.MEDIA_TYPE: {"schema": {"anyOf": [_TEXT, _FRAME]}, "example": _FRAMES},
}


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
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
            parameters=[on_disconnect(dockfile), IDEMPOTENCY_KEY, *forwarded_headers(dockfile)],
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
