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
from dockrion.protocols.mcp.envelope import VERSION_HEADER, VERSIONS
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
_MESSAGE = {
    "type": "object",
    "properties": {
        "data": {
            "type": "string",
            "contentMediaType": JSON,
            "description": "A notification `notifications/progress`; at last, the response.",
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
    headers = dict(REPLAYED)
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
    return {
        "POST /mcp": Operation(
            tag="protocols",
            summary="Answer a client of the Model Context Protocol, which calls the agent as a tool",
            description="A call is answered with a stream if the client accepts one.",
            parameters=[
                version,
                on_disconnect(dockfile),
                IDEMPOTENCY_KEY,
                *forwarded_headers(dockfile),
            ],
            body={JSON: {"schema": _REQUEST, "example": call}},
            responses={
                200: response("The response; of a call, after its progress.", content, headers),
                202: response("It was a notification, to which there is no response."),
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
