"""Servers with an OpenAI-compatible Chat Completions API (`agent.protocol: openai`)."""

from functools import partial
from typing import Any

import msgspec

from dockrion.agents.responses import ProtocolError, ResponseReader, WholeReader
from dockrion.agents.servers.openai_readers import StreamReader, read_completion
from dockrion.agents.servers.server_errors import failure_of
from dockrion.dockfile import Dockfile
from dockrion.errors import InvalidRequest
from dockrion.runs.agent import Call
from dockrion.runs.outcome import Failed
from dockrion.wire import sse

_JSON = "application/json"
_MESSAGES: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object", "properties": {"role": {"type": "string"}}, "required": ["role"]},
    "description": "The messages of the conversation.",
}
_TOOL_FIELDS: dict[str, Any] = {  # what concerns the tools of whoever asks
    "tools": {"type": "array", "items": {"type": "object"}},
    "tool_choice": {"type": ["string", "object"]},
    "parallel_tool_calls": {"type": "boolean"},
}
# What callers may decide besides, if `io_schema.input` has properties of these names.
_SETTINGS = frozenset(
    {
        *("frequency_penalty", "logit_bias", "max_completion_tokens", "max_tokens", "metadata", "modalities"),
        *("presence_penalty", "reasoning_effort", "response_format", "seed", "stop", "temperature", "top_p"),
        *("user", "verbosity"),
    }
)


class ChatCompletions:
    """Asks for a streamed chat completion, and reads the chunks or the completion that it gets.

    Args:
        dockfile: Names the model, and the payload's field that is a question.
    """

    accept = f"{sse.MEDIA_TYPE}, {_JSON}"
    pushes = False

    def __init__(self, dockfile: Dockfile) -> None:
        self._model = dockfile.agent.model or ""
        self._field = dockfile.agent.chat_spec.field
        self.input_schema: dict[str, Any] | None = _schema(self._field)
        settings = _SETTINGS.intersection((dockfile.io_schema.input or {}).get("properties") or ())
        self._passed = settings | _TOOL_FIELDS.keys()

    def body(self, call: Call, run_id: str) -> bytes:  # noqa: ARG002
        payload = call.payload
        fields = payload if isinstance(payload, dict) else {}
        passed = {name: value for name, value in fields.items() if name in self._passed}
        return msgspec.json.encode(
            {
                **passed,
                "model": self._model,
                "messages": self._messages(payload),
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        )

    def headers(self, call: Call, run_id: str) -> dict[str, str | None]:  # noqa: ARG002
        return {}

    def reader_for(self, content_type: str) -> ResponseReader:
        if content_type == sse.MEDIA_TYPE:
            return StreamReader(self._model)
        if content_type == _JSON:
            return WholeReader(partial(read_completion, model=self._model))
        raise ProtocolError(f"the agent's server sent {content_type!r:.100}, not {sse.MEDIA_TYPE} or {_JSON}")

    def failure(self, status: int, body: str) -> Failed:
        return failure_of(status, body)

    def _messages(self, payload: Any) -> list[Any]:
        if isinstance(payload, dict):
            messages = payload.get("messages")
            if isinstance(messages, list) and messages and all(isinstance(each, dict) for each in messages):
                return messages
            question = None if self._field is None else payload.get(self._field)
        else:
            question = payload
        if not isinstance(question, str):
            wanted = "`messages`" if self._field is None else f"`messages`, or text in `{self._field}`"
            raise InvalidRequest(f"this agent is a chat model: send {wanted}")
        return [{"role": "user", "content": question}]


def _schema(field: str | None) -> dict[str, Any]:
    """Return the schema of payloads, for a Dockfile that has none.

    Args:
        field: `agent.chat.field`.
    """
    properties = {"messages": _MESSAGES, **_TOOL_FIELDS}
    if field is None:
        return {"type": "object", "properties": properties, "required": ["messages"]}
    properties[field] = {"type": "string", "description": "What the user says."}
    return {
        "type": "object",
        "properties": properties,
        "anyOf": [{"required": ["messages"]}, {"required": [field]}],
    }
