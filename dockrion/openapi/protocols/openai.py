"""The endpoints of OpenAI's API."""

from typing import Any

from dockrion import errors
from dockrion.dockfile import Dockfile
from dockrion.openapi import error_responses
from dockrion.openapi.error_responses import ErrorTypes
from dockrion.openapi.operation import JSON, Operation, response
from dockrion.protocols.openai.errors import error_object

_NULLABLE_TEXT = {"type": ["string", "null"]}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string", "enum": ["invalid_request_error", "requests", "server_error"]},
                "param": _NULLABLE_TEXT,
                "code": _NULLABLE_TEXT,
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
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


def operations(_dockfile: Dockfile) -> dict[str, Operation]:
    """Return the operations, by method and path."""
    return {
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


def errors_of(kinds: ErrorTypes) -> dict[str, Any]:
    """Return the response objects of errors in OpenAI's format, by status."""
    described = error_responses.responses(kinds)
    for status, each in described.items():
        examples, lines = {}, []
        for kind, words in error_responses.DESCRIPTIONS.items():
            if kind in kinds and kind.status == int(status):
                body = error_object(words, kind.code, status=kind.status)
                examples[kind.__name__] = {"value": body}
                lines.append(f"- `{body['error']['code']}`: {words}")
        each["description"] = "\n".join(lines)
        each["content"] = {JSON: {"schema": _ERROR, "examples": examples}}
    return described
