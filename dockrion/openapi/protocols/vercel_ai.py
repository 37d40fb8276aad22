"""The endpoints of chat pages with the Vercel AI SDK."""

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
    response,
)
from dockrion.openapi.operations_invoke import start_errors
from dockrion.protocols.vercel_ai.requests import MAX_CHAT_ID
from dockrion.wire import sse

_TEXT = TEXT["schema"]


def _part(kind: dict[str, Any], **fields: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a part with some required fields."""
    properties = {"type": {"type": "string", **kind}, **fields}
    return {"type": "object", "properties": properties, "required": list(properties)}


_TOOL = _part({"pattern": "^(dynamic-tool|tool-.*)$"}, toolCallId=_TEXT, state=_TEXT)
_TOOL["properties"] |= {
    "toolName": _TEXT,
    "errorText": _TEXT,
    "approval": {"type": "object", "properties": {"reason": {"type": ["string", "null"]}}},
}
_FILE = _part({"const": "file"}, url=_TEXT, mediaType=_TEXT)
_FILE["properties"]["filename"] = {"type": ["string", "null"]}
_IGNORED = _part({"pattern": "^(step-start|reasoning|source-url|source-document|data-.*)$"})
_PART = {"anyOf": [_part({"const": "text"}, text=_TEXT), _FILE, _TOOL, _IGNORED]}
_MESSAGE = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "role": {"type": "string", "enum": ["system", "user", "assistant"]},
        "parts": {"type": "array", "items": _PART},
    },
    "required": ["role", "parts"],
}
_REQUEST = {
    "type": "object",
    "description": "The agent gets further fields of which `io_schema.input` has the names.",
    "properties": {
        "id": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": MAX_CHAT_ID,
            "description": "The chat, to resume its stream.",
        },
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        "trigger": {
            "type": ["string", "null"],
            "description": "`submit-message`, or `regenerate-message`, which leaves out the last answer.",
        },
        "messageId": {"type": ["string", "null"]},
    },
    "required": ["messages"],
}
_EXAMPLE = {
    "id": "Xk2…",
    "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Hello"}]}],
    "trigger": "submit-message",
}
# As the core describes streams, see `operation.stream_content`.
_CHUNK = {
    "title": "Chunk",
    "type": "object",
    "properties": {
        "data": {"type": "string", "description": "A chunk of the UI message stream, JSON; at last `[DONE]`."}
    },
    "required": ["data"],
}
_CHUNKS = (
    '{"type":"start","messageId":"run-1","messageMetadata":{"runId":"run-1"}}',
    '{"type":"start-step"}',
    '{"type":"text-start","id":"2"}',
    '{"type":"text-delta","id":"2","delta":"Hello"}',
    '{"type":"text-end","id":"2"}',
    '{"type":"finish-step"}',
    '{"type":"finish","finishReason":"stop"}',
    "[DONE]",
)


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    return {
        "POST /api/chat": Operation(
            tag="protocols",
            summary="Send a message, and stream the reply to a page with the Vercel AI SDK",
            parameters=[on_disconnect(dockfile), IDEMPOTENCY_KEY, *forwarded_headers(dockfile)],
            body={JSON: {"schema": _REQUEST, "example": _EXAMPLE}},
            responses={200: _stream("The reply.", dockfile, REPLAYED)},
            errors=(*start_errors(dockfile), errors.IdempotencyMismatch),
        ),
        "GET /api/chat/{chat_id}/stream": Operation(
            tag="protocols",
            summary="Resume the stream of the reply that a chat waits for",
            responses={
                200: _stream("The reply, from its beginning.", dockfile),
                204: response("No run of this caller is active in the chat."),
            },
            errors=(errors.TooManySubscribers, errors.ServiceUnavailable),
        ),
    }


def _stream(
    description: str, dockfile: Dockfile, more_headers: dict[str, str] | None = None
) -> dict[str, Any]:
    headers = {"x-vercel-ai-ui-message-stream": "`v1`."} | (more_headers or {})
    if dockfile.streaming.async_runs:
        headers |= {RUN_ID_HEADER: "The run's id.", "Location": "The run's events."}
    frames = "".join(f"data: {chunk}\n\n" for chunk in _CHUNKS)
    media = {"schema": {"anyOf": [_TEXT, _CHUNK]}, "example": frames}
    return response(description, {sse.MEDIA_TYPE: media}, headers)
