"""The media types of bodies, and what is in them."""

from typing import Any

from dockrion.dockfile import Dockfile
from dockrion.openapi import examples
from dockrion.openapi.schemas import inlined, ref

JSON = "application/json"
NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
TEXT: dict[str, Any] = {"schema": {"type": "string"}}


def agent_input(dockfile: Dockfile, path: str) -> dict[str, Any]:
    """Return the media types of what is posted to a path for the agent."""
    place = path.replace("/", "~1")
    pointer = f"#/paths/{place}/post/requestBody/content/application~1json/schema"
    return {JSON: {"schema": inlined(dockfile.io_schema.input, pointer)}}


def stream(dockfile: Dockfile) -> dict[str, Any]:
    """Return the media types of a stream of events (WHATWG HTML, 9.2).

    The schema is that of one event, as tools expect it: OpenAPI 3.1 says nothing of streams, and
    3.2 calls such a schema `itemSchema`.
    """
    contents = [ref(name) for name in ("Event", "Gap", "Notice", "Heartbeat")]
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": {"anyOf": contents}}
    fields = {
        "id": {"type": "string", "description": "The event's `sequence`; control frames have none."},
        "event": {"type": "string", "description": "The event's `type`, or a control frame's."},
        "data": data,
    }
    item = {"type": "object", "properties": fields, "required": ["event", "data"]}
    lines = {"anyOf": [ref("Event"), ref("Control")]}  # of one line, as above
    return {
        EVENT_STREAM: {"schema": item, "example": examples.frames(dockfile)},
        NDJSON: {"schema": lines},
    }
