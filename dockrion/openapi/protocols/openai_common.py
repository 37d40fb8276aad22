"""What the responses of OpenAI's API have in common: streams, headers and errors."""

from typing import Any

from dockrion.dockfile import Dockfile
from dockrion.ids import RUN_ID_HEADER
from dockrion.openapi import error_responses
from dockrion.openapi.error_responses import ErrorTypes
from dockrion.openapi.operation import JSON, REPLAYED
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


def stream_of(data: str) -> dict[str, Any]:
    """Return the schema of one message of a stream, and a string, as which generated clients get all of it.

    Args:
        data: What the data of a message is.
    """
    properties = {"data": {"type": "string", "description": data}}
    message = {"type": "object", "properties": properties, "required": ["data"]}
    return {"anyOf": [{"type": "string"}, message]}


def run_headers(dockfile: Dockfile) -> dict[str, str]:
    """Return the headers of a response that is a run, and what they say."""
    if not dockfile.streaming.async_runs:
        return REPLAYED
    return {RUN_ID_HEADER: "The run's id.", "Location": "The run's own events."} | REPLAYED


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
