"""Chat completions and models of OpenAI's API."""

from typing import Any

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.events import MAX_SEQUENCE
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
from dockrion.openapi.operations_invoke import run_errors, start_errors
from dockrion.openapi.operations_runs import INCARNATION
from dockrion.openapi.protocols.openai_common import errors_of, run_headers, stream_of
from dockrion.protocols.openai.response_requests import MAX_TOOLS
from dockrion.wire import sse

_MODEL = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The agent's name."},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
    "required": ["id", "object", "created", "owned_by"],
}
_MODELS = {
    "type": "object",
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}},
    "required": ["object", "data"],
}
_STRING = {"type": "string"}
_TEXT_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": _STRING},
    "required": ["type", "text"],
}
_OTHER_PART = {
    "type": "object",
    "properties": {"type": {"type": "string", "not": {"const": "text"}}},
    "required": ["type"],
}
_CONTENT = {"anyOf": [_STRING, {"type": "array", "items": {"anyOf": [_TEXT_PART, _OTHER_PART]}}]}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_MESSAGES: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "role": {"type": "string", "enum": ["developer", "system", "user"]},
            "content": _CONTENT,
            "name": _STRING,
        },
        "required": ["role", "content"],
    },
    {
        "type": "object",
        "properties": {
            "role": {"const": "assistant"},
            "content": {"anyOf": [_CONTENT, {"type": "null"}]},
            "tool_calls": _OBJECTS,
        },
        "required": ["role"],
    },
    {
        "type": "object",
        "properties": {"role": {"const": "tool"}, "content": _CONTENT, "tool_call_id": _STRING},
        "required": ["role", "content", "tool_call_id"],
    },
]
_REQUEST = {
    "title": "ChatCompletionRequest",
    "description": "Fields that are not listed reach the agent if `io_schema.input` has them.",
    "type": "object",
    "properties": {
        "messages": {"type": "array", "items": {"anyOf": _MESSAGES}, "minItems": 1},
        "model": {
            "description": "Any name; the response repeats it.",
            "type": "string",
            "minLength": 1,
            "maxLength": 256,
        },
        "stream": {"type": "boolean"},
        "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
        "tools": {"description": "Tools that the client executes.", **_OBJECTS, "maxItems": MAX_TOOLS},
        "n": {"const": 1},
    },
    "required": ["messages"],
}
_USAGE = {
    "type": "object",
    "properties": {
        name: {"type": "integer"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    },
    "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
}
_CHOICE = {
    "type": "object",
    "properties": {
        "index": {"const": 0},
        "message": {
            "type": "object",
            "properties": {
                "role": {"const": "assistant"},
                "content": {"type": ["string", "null"]},
                "refusal": {"type": ["string", "null"]},
                "reasoning_content": _STRING,
                "tool_calls": _OBJECTS,
            },
            "required": ["role", "content", "refusal"],
        },
        "logprobs": {"type": "null"},
        "finish_reason": {"type": "string", "enum": ["stop", "length", "tool_calls", "content_filter"]},
    },
    "required": ["index", "message", "logprobs", "finish_reason"],
}
_COMPLETION = {
    "title": "ChatCompletion",
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "The id of the run, after `chatcmpl-`."},
        "object": {"const": "chat.completion"},
        "created": {"type": "integer", "description": "Seconds since the epoch."},
        "model": _STRING,
        "choices": {"type": "array", "items": _CHOICE, "minItems": 1, "maxItems": 1},
        "usage": _USAGE,
    },
    "required": ["id", "object", "created", "model", "choices"],
}
_STREAM = stream_of("A `chat.completion.chunk` object, an error, or `[DONE]`.")


def operations(dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    headers = run_headers(dockfile)
    content: dict[str, Any] = {JSON: {"schema": _COMPLETION}, sse.MEDIA_TYPE: {"schema": _STREAM}}
    return {
        "POST /v1/chat/completions": Operation(
            tag="protocols",
            summary="Ask the agent as OpenAI's API asks for a chat completion",
            description="With `stream`, the response is a stream of `chat.completion.chunk` objects.",
            parameters=[on_disconnect(dockfile), IDEMPOTENCY_KEY, *forwarded_headers(dockfile)],
            body={JSON: {"schema": _REQUEST}},
            responses={200: response("The agent's reply, whole or as a stream.", content, headers)},
            errors=(
                errors.IdempotencyMismatch,
                *start_errors(dockfile),
                *run_errors(dockfile),
                errors.AgentTimedOut,
            ),
            describe_errors=errors_of,
        ),
        "GET /v1/chat/completions/chatcmpl-{run_id}": Operation(
            tag="protocols",
            summary="Get a run as a chat completion of OpenAI's API",
            description="Without `stream`, the response is sent when the run is over.",
            parameters=[
                param("stream", "Return the chunks, then new ones as they occur.", FLAG),
                param(
                    "starting_after",
                    "With `stream`: how many chunks were received, which are not sent again.",
                    integer(0, MAX_SEQUENCE),
                ),
                INCARNATION,
            ],
            responses={200: response("The agent's reply, whole or as a stream.", content)},
            errors=(
                errors.RunNotFound,
                errors.Gone,
                errors.TooManySubscribers,
                errors.ServiceUnavailable,
                *run_errors(dockfile),
                errors.AgentTimedOut,
            ),
            describe_errors=errors_of,
        ),
        "GET /v1/models": Operation(
            tag="protocols",
            summary="List the agent as OpenAI's API lists models",
            responses={200: response("The agent.", {JSON: {"schema": _MODELS}})},
            describe_errors=errors_of,
        ),
        "GET /v1/models/{model}": Operation(
            tag="protocols",
            summary="Get the agent as OpenAI's API describes a model",
            responses={200: response("The agent.", {JSON: {"schema": _MODEL}})},
            errors=(errors.NotFound,),
            describe_errors=errors_of,
        ),
    }
