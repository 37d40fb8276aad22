"""The building blocks of the `operations_*` modules: operations, parameters, and the content of bodies."""

from collections.abc import Callable
from typing import Any

import msgspec

from dockrion.dockfile import Dockfile
from dockrion.ids import IDEMPOTENCY_HEADER, REPLAYED_HEADER
from dockrion.openapi import error_responses, examples
from dockrion.openapi.agent_schemas import input_schema
from dockrion.openapi.error_responses import ErrorTypes
from dockrion.openapi.schemas import ref
from dockrion.wire import ndjson, sse

JSON = "application/json"
NDJSON = ndjson.MEDIA_TYPE
TEXT: dict[str, Any] = {"schema": {"type": "string"}}
FLAG = {"type": "boolean", "default": False}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """The description of an endpoint.

    Attributes:
        tag: The group it is listed in.
        summary: What it does, in a few words.
        responses: OpenAPI response objects, by status, without errors.
        description: Further information, or the empty string.
        parameters: OpenAPI parameter objects, without those in the path.
        body: OpenAPI media type objects of the request body, by media type; empty for no body.
        body_required: Whether a request must have a body.
        optional_credentials: Whether some requests need credentials, though the endpoint is public.
        errors: The errors it can return, besides those of every endpoint.
        describe_errors: Returns the OpenAPI response objects of errors, by status.
    """

    tag: str
    summary: str
    responses: dict[int, dict[str, Any]]
    description: str = ""
    parameters: list[dict[str, Any]] = []
    body: dict[str, Any] = {}
    body_required: bool = True
    optional_credentials: bool = False
    errors: ErrorTypes = ()
    describe_errors: Callable[[ErrorTypes], dict[str, Any]] = error_responses.responses


def param(name: str, description: str, schema: dict[str, Any], location: str = "query") -> dict[str, Any]:
    """Return an optional parameter."""
    return {"name": name, "in": location, "description": description, "schema": schema}


def forwarded_headers(dockfile: Dockfile) -> list[dict[str, Any]]:
    """Return parameters for the headers that the agent gets; OpenAPI ignores one for `Authorization`."""
    text = {"type": "string"}
    return [
        param(name, "The agent gets this header.", text, "header")
        for name in dockfile.agent.forward_headers
        if name.lower() != "authorization"
    ]


IDEMPOTENCY_KEY = param(
    IDEMPOTENCY_HEADER,
    "Sent again with the same body, the request is not carried out again, but answered as before.",
    {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "header",
)
REPLAYED = {REPLAYED_HEADER: "`true` if an earlier request with the key was carried out."}


def on_disconnect(dockfile: Dockfile) -> dict[str, Any]:
    """Return the parameter with which callers say what becomes of their run when they leave."""
    default = dockfile.streaming.connection.on_disconnect
    choices = {"type": "string", "enum": ["cancel", "continue"], "default": default}
    return param("on_disconnect", "What happens to the run when the caller disconnects.", choices)


def integer(low: int, high: int, default: int | None = None) -> dict[str, Any]:
    """Return the schema of an integer."""
    limits: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high}
    return limits if default is None else limits | {"default": default}


def response(
    description: str, content: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return a response object.

    Args:
        description: When the response is sent, and what it contains.
        content: Media type objects, by media type.
        headers: Descriptions of headers, by name.
    """
    described: dict[str, Any] = {"description": description}
    if content:
        described["content"] = content
    if headers:
        text = {"type": "string"}
        described["headers"] = {
            name: {"description": words, "schema": text} for name, words in headers.items()
        }
    return described


def json_response(
    example: msgspec.Struct, description: str, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return a JSON response whose body is a struct of the example's type."""
    media = {"schema": ref(type(example).__name__), "example": msgspec.to_builtins(example)}
    return response(description, {JSON: media}, headers)


def input_content(dockfile: Dockfile) -> dict[str, Any]:
    """Return the content of a request body that is the agent's input."""
    return {JSON: {"schema": input_schema(dockfile.io_schema)}}


def stream_content(dockfile: Dockfile) -> dict[str, Any]:
    """Return the content of a response that is an event stream (WHATWG HTML, 9.2).

    The schema is that of one event, which tools expect: OpenAPI 3.1 defines no schema for streams, and 3.2
    calls such a schema `itemSchema`. It is a string, too, as which generated clients get the whole stream.
    """
    contents = [ref(name) for name in ("Event", "Gap", "Notice", "Heartbeat")]
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": {"anyOf": contents}}
    fields = {
        "id": {"type": "string", "description": "The event's `sequence`; absent in control frames."},
        "event": {"type": "string", "description": "The type of the event or control frame."},
        "data": data,
    }
    item = {"title": "Message", "type": "object", "properties": fields, "required": ["event", "data"]}
    line = {"anyOf": [ref("Event"), ref("Control")]}
    return {
        sse.MEDIA_TYPE: {"schema": {"anyOf": [TEXT["schema"], item]}, "example": examples.frames(dockfile)},
        NDJSON: {"schema": line},
    }
