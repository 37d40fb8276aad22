"""Servers of AG-UI (`agent.protocol: ag-ui`)."""

from typing import Any

import msgspec

from dockrion.agents.responses import ProtocolError, ResponseReader
from dockrion.agents.servers.ag_ui_reader import AgUiReader
from dockrion.agents.servers.message_parts import media_of
from dockrion.agents.servers.server_errors import failure_of
from dockrion.dockfile import Dockfile
from dockrion.errors import InvalidRequest
from dockrion.runs.agent import Call
from dockrion.runs.outcome import Failed
from dockrion.wire import sse

PROTOCOL_VERSION = "1.0"
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_PROPERTIES: dict[str, Any] = {
    "messages": _OBJECTS,
    "threadId": {"type": "string"},
    "state": {},
    "tools": _OBJECTS,
    "context": _OBJECTS,
    "forwardedProps": {},
}
_KINDS = {"image_url": "image", "input_audio": "audio"}  # of parts of messages
_NAMES = {"tool_calls": "toolCalls", "tool_call_id": "toolCallId"}  # of fields of messages


class AgUiServer:
    """Sends a `RunAgentInput`, and reads the events of the run.

    Args:
        dockfile: Names the payload's field that is a question.
    """

    accept = sse.MEDIA_TYPE
    pushes = False

    def __init__(self, dockfile: Dockfile) -> None:
        self._field = dockfile.agent.chat_spec.field
        question: dict[str, Any] = {} if self._field is None else {self._field: {"type": "string"}}
        self.input_schema: dict[str, Any] | None = {"type": "object", "properties": _PROPERTIES | question}

    def body(self, call: Call, run_id: str) -> bytes:
        payload: Any = call.payload
        fields = payload if isinstance(payload, dict) else {self._field: payload}
        thread_id, tools = fields.get("threadId"), fields.get("tools")
        return msgspec.json.encode(
            {
                "threadId": thread_id if isinstance(thread_id, str) else run_id,
                "runId": run_id,
                "protocolVersion": PROTOCOL_VERSION,
                "state": fields.get("state", {}),
                "messages": self._messages(fields),
                "tools": [_tool(tool) for tool in tools] if isinstance(tools, list) else [],
                "context": fields.get("context", []),
                "forwardedProps": fields.get("forwardedProps", {}),
            }
        )

    def headers(self, call: Call, run_id: str) -> dict[str, str | None]:  # noqa: ARG002
        return {}

    def reader_for(self, content_type: str) -> ResponseReader:
        if content_type == sse.MEDIA_TYPE:
            return AgUiReader()
        raise ProtocolError(f"the agent's server sent {content_type!r:.100}, not {sse.MEDIA_TYPE}")

    def failure(self, status: int, body: str) -> Failed:
        return failure_of(status, body)

    def _messages(self, fields: dict[Any, Any]) -> list[dict[str, Any]]:
        messages = fields.get("messages", [])
        question = fields.get(self._field)
        if isinstance(question, str) and not messages:
            messages = [{"role": "user", "content": question}]
        if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
            raise InvalidRequest("messages: expected a list of messages, each an object")
        return [_message(message, index) for index, message in enumerate(messages)]


def _message(message: dict[str, Any], index: int) -> dict[str, Any]:
    """Return a message of OpenAI's Chat Completions API as one of AG-UI; one of AG-UI stays as it is."""
    written = {_NAMES.get(name, name): value for name, value in message.items()}
    content = message.get("content")
    if isinstance(content, list):
        written["content"] = [_part(part, f"messages[{index}].content") for part in content]
    return {"id": f"{index}", **written}


def _part(part: Any, path: str) -> Any:
    """Return a part of a message of OpenAI's Chat Completions API as one of AG-UI; one of AG-UI stays."""
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in (*_KINDS, "file"):
        return part
    media = media_of(part)
    if media is None or media.kind not in _KINDS:
        raise InvalidRequest(
            f"{path}: a part of the type {kind} cannot be sent to a server of AG-UI; send text, image_url or "
            "input_audio"
        )
    source = {"type": "url", "value": media.url}
    if media.data is not None:
        source = {"type": "data", "value": media.data, "mimeType": media.media_type}
    return {"type": _KINDS[media.kind], "source": source}


def _tool(tool: Any) -> Any:
    """Return a tool of OpenAI's Chat Completions API as one of AG-UI; one of AG-UI stays as it is."""
    function = tool.get("function") if isinstance(tool, dict) else None
    return {"description": "", **function} if isinstance(function, dict) else tool
