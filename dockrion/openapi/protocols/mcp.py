"""The endpoint of clients of the Model Context Protocol."""

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
    on_disconnect,
    param,
    response,
)
from dockrion.openapi.operations_invoke import start_errors
from dockrion.openapi.protocols.json_rpc import ID, RESPONSE, VERSION, errors_of
from dockrion.protocols.mcp.envelope import SESSION_HEADER, SESSION_ID, VERSION_HEADER, VERSIONS
from dockrion.wire import sse

_METHODS = "`initialize`, `ping`, `server/discover`, `tools/list` or `tools/call`"
_REQUEST = {
    "type": "object",
    "properties": {
        "jsonrpc": VERSION,
        "id": {**ID, "description": "Left out in a notification."},
        "method": {"type": "string", "description": f"{_METHODS}, or that of a notification."},
        "params": {"type": ["object", "null"]},
    },
    "required": ["jsonrpc", "method"],
}
_ANSWER = {
    "type": "object",
    "description": "The answer to a question that the stream of a call has asked.",
    "properties": {
        "jsonrpc": VERSION,
        "id": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}:[0-9a-f]{16}:[1-9][0-9]{0,17}$",
            "description": "That of the question.",
        },
        "result": {
            "type": "object",
            "properties": {
                "action": {"enum": ["accept", "decline", "cancel"]},
                "content": {"type": ["object", "null"]},
            },
            "required": ["action"],
        },
        "error": {},
    },
    "required": ["jsonrpc", "id"],
    "oneOf": [{"required": ["result"]}, {"required": ["error"]}],
    "not": {"required": ["method"]},
}
_MESSAGE = {
    "type": "object",
    "properties": {
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "description": "Progress, a question to the person, or that it is over; at last, the response.",
        }
    },
    "required": ["data"],
}
_FRAMES = (
    '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":2,"total":4}}',
    '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Hello"}],"isError":false}}',
)


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    name = dockfile.agent.name
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}}
    headers = REPLAYED | {SESSION_HEADER: "What `initialize` has told of a client that shows forms."}
    if dockfile.streaming.async_runs:
        headers |= {RUN_ID_HEADER: "The id of the run that is the call.", "Location": "The run's own events."}
    content: dict[str, Any] = {
        JSON: {"schema": RESPONSE},
        sse.MEDIA_TYPE: {
            "schema": {"anyOf": [TEXT["schema"], _MESSAGE]},
            "example": "".join(f"data: {frame}\n\n" for frame in _FRAMES),
        },
    }
    version = param(VERSION_HEADER, "The client's version.", {"enum": list(VERSIONS)}, "header")
    session = param(
        SESSION_HEADER,
        "That of the response to `initialize`.",
        {"type": "string", "pattern": SESSION_ID},
        "header",
    )
    return {
        "POST /mcp": Operation(
            tag="protocols",
            summary="Answer a client of the Model Context Protocol, which calls the agent as a tool",
            description="A call is answered with a stream if the client accepts one.",
            parameters=[
                version,
                session,
                on_disconnect(dockfile),
                IDEMPOTENCY_KEY,
                *forwarded_headers(dockfile),
            ],
            body={JSON: {"schema": {"anyOf": [_REQUEST, _ANSWER]}, "example": call}},
            responses={
                200: response("The response; of a call, after its progress.", content, headers),
                202: response("It was a notification or an answer, to which there is no response."),
            },
            errors=(
                *start_errors(dockfile),
                errors.IdempotencyMismatch,
                errors.NotFound,
                errors.RunNotFound,
                errors.QuestionNotOpen,
                errors.TooManySubscribers,
            ),
            describe_errors=errors_of,
        ),
    }
