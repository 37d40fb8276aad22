"""Servers of the Agent2Agent protocol (`agent.protocol: a2a`), by its binding to JSON-RPC."""

from typing import Any

from dockrion.agents.responses import ResponseReader
from dockrion.agents.servers.a2a_messages import first_request
from dockrion.agents.servers.a2a_reader import A2aReader
from dockrion.agents.servers.server_errors import failure_of
from dockrion.dockfile import Dockfile
from dockrion.runs.agent import Call
from dockrion.runs.outcome import Failed
from dockrion.wire import sse

PROTOCOL_VERSION = "1.0"
_MESSAGES = {"type": "array", "items": {"type": "object"}}


class A2aServer:
    """Gives the server a task, and reads what becomes of it.

    The first request is one of version 1.0; a server that does not know its method gets one of version 0.3.

    Args:
        dockfile: Names the payload's field that is a question.
    """

    accept = f"{sse.MEDIA_TYPE}, application/json"
    pushes = False

    def __init__(self, dockfile: Dockfile) -> None:
        self._field = dockfile.agent.chat_spec.field
        properties: dict[str, Any] = {"messages": _MESSAGES, "contextId": {"type": "string"}}
        if self._field is not None:
            properties[self._field] = {"type": "string", "description": "What the user says."}
        self.input_schema: dict[str, Any] | None = {"type": "object", "properties": properties}

    def body(self, call: Call, run_id: str) -> bytes:  # noqa: ARG002
        return first_request(call.payload, self._field)

    def headers(self, call: Call, run_id: str) -> dict[str, str | None]:  # noqa: ARG002
        return {"A2A-Version": PROTOCOL_VERSION}

    def reader_for(self, content_type: str) -> ResponseReader:
        return A2aReader(content_type)

    def failure(self, status: int, body: str) -> Failed:
        return failure_of(status, body)
