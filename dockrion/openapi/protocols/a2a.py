"""The endpoints of A2A: calls of other agents, and the agent card."""

from typing import Any

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.ids import RUN_ID_HEADER
from dockrion.openapi.error_responses import ErrorTypes
from dockrion.openapi.operation import (
    IDEMPOTENCY_KEY,
    JSON,
    REPLAYED,
    TEXT,
    Operation,
    forwarded_headers,
    param,
    response,
)
from dockrion.openapi.operations_invoke import start_errors
from dockrion.openapi.protocols.json_rpc import ID, RESPONSE, VERSION, errors_of
from dockrion.protocols.a2a.card import CARD_PATH, PATH, agent_card
from dockrion.protocols.a2a.errors import error_code_of, error_data, error_status
from dockrion.protocols.a2a.requests import MAX_ID
from dockrion.protocols.json_rpc import PARSE_ERROR
from dockrion.wire import sse

_TEXT = TEXT["schema"]
_ID = {"type": ["string", "null"], "maxLength": MAX_ID}
_ANY_OBJECT = {"type": "object"}
_PART = {
    "type": "object",
    "description": "Text, JSON or a file: of version 1.0 one of `text`, `data`, `raw`, `url`; of 0.3 `text`, "
    "`data` or `file`.",
    "properties": {
        "text": {"type": ["string", "null"]},
        "data": {"description": "Any JSON; alone in a message, an object is the agent's input."},
        "raw": {"type": ["string", "null"], "description": "Bytes of a file, in Base64."},
        "url": {"type": ["string", "null"], "description": "Of an image."},
        "mediaType": {"type": ["string", "null"]},
    },
}
_MESSAGE = {
    "type": "object",
    "properties": {
        "messageId": _ID,
        "contextId": {**_ID, "description": "The conversation; the service keeps it with the task."},
        "taskId": {**_ID, "description": "The task whose question the message answers."},
        "role": {"description": "`ROLE_USER`, in version 0.3 `user`."},
        "parts": {"type": "array", "minItems": 1, "items": _PART},
    },
    "required": ["parts"],
}
_PARAMS = {
    "type": "object",
    "description": "Of a message: `message` and `configuration`; of other methods: `id`, the task.",
    "properties": {"message": _MESSAGE, "configuration": {"type": ["object", "null"]}, "id": _TEXT},
}
_REQUEST = {
    "type": "object",
    "properties": {
        "jsonrpc": VERSION,
        "id": ID,
        "method": {
            "type": "string",
            "description": "`SendMessage`, `SendStreamingMessage`, `GetTask`, `ListTasks`, `CancelTask`, "
            "`SubscribeToTask`; "
            "in version 0.3 `message/send`, `message/stream`, `tasks/get`, `tasks/cancel`, "
            "`tasks/resubscribe`.",
        },
        "params": _PARAMS,
    },
    "required": ["jsonrpc", "id", "method"],
}
_HELLO = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "Hello"}]}
_EXAMPLE = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": _HELLO}}
_DONE = {"jsonrpc": "2.0", "id": 1, "result": {"task": {"id": "run-1", "contextId": "run-1", "status": {}}}}
# As the core describes streams, see `operation.stream_content`.
_FRAME = {
    "title": "A2AResponse",
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "For `Last-Event-ID`; absent in errors."},
        "data": {"type": "string", "contentMediaType": JSON, "contentSchema": RESPONSE},
    },
    "required": ["data"],
}


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    headers = dict(REPLAYED)
    if dockfile.streaming.async_runs:
        headers |= {RUN_ID_HEADER: "The task's id.", "Location": "The run's own events."}
    choices = {"type": "string", "enum": ["cancel", "continue"], "default": "continue"}
    last_id = param("Last-Event-ID", "The `id` of the last frame of the task's stream.", _TEXT, "header")
    content = {
        JSON: {"schema": RESPONSE, "example": _DONE},
        sse.MEDIA_TYPE: {"schema": {"anyOf": [_TEXT, _FRAME]}},
    }
    return {
        f"POST {PATH}": Operation(
            tag="protocols",
            summary="Give the agent a task, as another agent in an A2A network",
            description="JSON-RPC 2.0. `SendStreamingMessage` and `SubscribeToTask` are answered with a "
            "stream. The configuration of a message may name a URL for a push notification; see "
            "`webhooks` in the Dockfile. Errors that the protocol has a code for have the status 200.",
            parameters=[
                param("on_disconnect", "What happens to the task when the caller disconnects.", choices),
                last_id,
                IDEMPOTENCY_KEY,
                *forwarded_headers(dockfile),
            ],
            body={JSON: {"schema": _REQUEST, "example": _EXAMPLE}},
            responses={200: response("The result, a stream of results, or an error.", content, headers)},
            errors=(*start_errors(dockfile), errors.TooManySubscribers),
            describe_errors=_errors,
        ),
        f"GET {CARD_PATH}": Operation(
            tag="protocols",
            summary="Introduce the agent to others",
            responses={
                200: response(
                    "The agent card.",
                    {JSON: {"schema": _ANY_OBJECT, "example": agent_card(dockfile, "https://example.org")}},
                ),
                304: response("The card is the one whose `ETag` the caller named in `If-None-Match`."),
            },
        ),
    }


def _errors(kinds: ErrorTypes) -> dict[str, Any]:
    """Return the response objects of errors that A2A's clients see by their status."""
    kinds = [kind for kind in kinds if error_status(kind.status) == kind.status]
    described = errors_of([errors.InvalidRequest, *kinds], _code_and_data)
    described["400"]["description"] = "The body is no JSON."
    return described


def _code_and_data(kind: type[errors.DockrionError]) -> tuple[int, Any]:
    code = PARSE_ERROR if kind is errors.InvalidRequest else error_code_of(kind)
    return code, error_data(code, kind.code)
