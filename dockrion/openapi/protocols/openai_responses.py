"""Responses of OpenAI's API."""

from typing import Any

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.events import MAX_SEQUENCE
from dockrion.openapi.error_responses import ErrorTypes
from dockrion.openapi.operation import (
    FLAG,
    IDEMPOTENCY_KEY,
    JSON,
    Operation,
    forwarded_headers,
    integer,
    on_disconnect,
    param,
    response,
)
from dockrion.openapi.operations_invoke import start_errors
from dockrion.openapi.operations_runs import INCARNATION
from dockrion.openapi.protocols.openai_common import errors_of, run_headers, stream_of
from dockrion.protocols.openai.response_requests import MAX_METADATA, MAX_MODEL, MAX_TOOLS
from dockrion.wire import sse

_TEXT = {"type": "string"}
_NULLABLE_OBJECT = {"type": ["object", "null"]}
_ITEM_TYPES = ["message", "reasoning", "mcp_call", "function_call"]
_METADATA = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": 512},
    "propertyNames": {"maxLength": 64},
    "maxProperties": MAX_METADATA,
}


def _object(kind: str, *texts: str, **others: Any) -> dict[str, Any]:
    """Return the schema of an object of a type that has to have these fields."""
    properties = {"type": {"const": kind}, **dict.fromkeys(texts, _TEXT), **others}
    return {"type": "object", "properties": properties, "required": list(properties)}


_PARTS = [
    *(_object(kind, "text") for kind in ("input_text", "output_text")),
    _object("refusal", "refusal"),
    _object("input_image", "image_url"),
    _object("input_file", "file_data"),
]
_CONTENT = {"anyOf": [_TEXT, {"type": "array", "items": {"anyOf": _PARTS}}]}
_ROLE = {"type": "string", "enum": ["user", "assistant", "system", "developer"]}
_ITEMS = [
    _object("message", role=_ROLE, content=_CONTENT) | {"required": ["role", "content"]},
    _object("function_call", "call_id", "name", "arguments"),
    _object("function_call_output", "call_id", output=_CONTENT),
    _object("mcp_call", "id", "name", "arguments"),
    _object("reasoning"),
]
_TOOL = {
    "type": "object",
    "properties": {
        "type": {"const": "function"},
        "name": {"type": "string", "maxLength": 64},
        "description": _TEXT,
        "parameters": _NULLABLE_OBJECT,
    },
    "required": ["type", "name"],
}
_REQUEST = {
    "title": "ResponseRequest",
    "description": "Fields that are not listed reach the agent if `io_schema.input` has them.",
    "type": "object",
    "properties": {
        "input": {
            "description": "The question, or all messages and other items so far.",
            "anyOf": [_TEXT, {"type": "array", "items": {"anyOf": _ITEMS}, "minItems": 1}],
        },
        "instructions": {"description": "The system message.", "type": ["string", "null"]},
        "model": {
            "description": "Any name; the response repeats it.",
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_MODEL,
        },
        "stream": {"type": "boolean"},
        "background": {
            "description": "Respond at once; the run goes on when the caller leaves.",
            "type": "boolean",
        },
        "metadata": _METADATA,
        "tools": {
            "description": "Tools that the client executes.",
            "type": "array",
            "items": _TOOL,
            "maxItems": MAX_TOOLS,
        },
        "previous_response_id": {"type": "null"},
        "conversation": {"type": "null"},
        "prompt": {"type": "null"},
    },
    "required": ["input"],
}
_USAGE = {
    "type": ["object", "null"],
    "properties": {name: {"type": "integer"} for name in ("input_tokens", "output_tokens", "total_tokens")},
}
_RESPONSE = {
    "title": "Response",
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The id of the run, after `resp_`."},
        "object": {"const": "response"},
        "created_at": {"type": "integer", "description": "Seconds since the epoch."},
        "completed_at": {"type": ["integer", "null"]},
        "status": {
            "type": "string",
            "enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"],
        },
        "background": {"type": "boolean"},
        "model": _TEXT,
        "metadata": _METADATA,
        "output": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"id": _TEXT, "type": {"type": "string", "enum": _ITEM_TYPES}},
                "required": ["id", "type"],
            },
        },
        "error": _NULLABLE_OBJECT,
        "incomplete_details": _NULLABLE_OBJECT,
        "usage": _USAGE,
    },
    "required": ["id", "object", "created_at", "status", "model", "metadata", "output", "error", "usage"],
}
_STREAM = stream_of("A `response.…` object or an error, with its `sequence_number`.")
_WHOLE: dict[str, Any] = {JSON: {"schema": _RESPONSE}}
_EITHER: dict[str, Any] = _WHOLE | {sse.MEDIA_TYPE: {"schema": _STREAM}}
_LOOKUP_ERRORS: ErrorTypes = (errors.RunNotFound, errors.ServiceUnavailable)


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    headers = run_headers(dockfile)
    return {
        "POST /v1/responses": Operation(
            tag="protocols",
            summary="Ask the agent as OpenAI's API asks for a response",
            description="With `stream`, the response is a stream of its events.",
            parameters=[on_disconnect(dockfile), IDEMPOTENCY_KEY, *forwarded_headers(dockfile)],
            body={JSON: {"schema": _REQUEST}},
            responses={200: response("The response, whole or as a stream.", _EITHER, headers)},
            errors=(errors.IdempotencyMismatch, *start_errors(dockfile)),
            describe_errors=errors_of,
        ),
        "GET /v1/responses/resp_{run_id}": Operation(
            tag="protocols",
            summary="Get a run as a response of OpenAI's API",
            parameters=[
                param("stream", "Return the events, then new ones as they occur.", FLAG),
                param(
                    "starting_after",
                    "With `stream`: the `sequence_number` of the last event received.",
                    integer(0, MAX_SEQUENCE),
                ),
                INCARNATION,
            ],
            responses={200: response("The response as it is now, or its stream.", _EITHER)},
            errors=(*_LOOKUP_ERRORS, errors.Gone, errors.TooManySubscribers),
            describe_errors=errors_of,
        ),
        "POST /v1/responses/resp_{run_id}/cancel": Operation(
            tag="protocols",
            summary="Cancel a response of OpenAI's API",
            parameters=[INCARNATION],
            responses={200: response("The response, which is over.", _WHOLE)},
            errors=_LOOKUP_ERRORS,
            describe_errors=errors_of,
        ),
        "DELETE /v1/responses/resp_{run_id}": Operation(
            tag="protocols",
            summary="Always refused: responses expire",
            parameters=[INCARNATION],
            responses={},
            errors=_LOOKUP_ERRORS,
            describe_errors=errors_of,
        ),
    }
