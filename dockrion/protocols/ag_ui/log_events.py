"""What the encoder reads of the log's events. Values that are only passed on stay JSON."""

import msgspec

from dockrion import events
from dockrion.protocols.ag_ui.state import ModelUsage

NULL = msgspec.Raw(b"null")


class Message(msgspec.Struct):
    role: str
    content: msgspec.Raw
    message_id: str | None = None
    name: str | None = None
    source: str | None = None


class Reasoning(msgspec.Struct):
    content: msgspec.Raw
    message_id: str | None = None
    source: str | None = None


class ToolCall(msgspec.Struct):
    tool_call_id: str
    name: str
    arguments: msgspec.Raw = NULL
    message_id: str | None = None
    source: str | None = None

    @property
    def arguments_text(self) -> str:
        """The arguments as JSON text; text that the model wrote stays as it is, valid JSON or not."""
        return "{}" if self.arguments == NULL else json_text(self.arguments)


class ToolResult(msgspec.Struct):
    tool_call_id: str
    result: msgspec.Raw = NULL
    is_error: bool = False

    @property
    def text(self) -> str:
        """The result as text."""
        return "" if self.result == NULL else json_text(self.result)


class Usage(msgspec.Struct):
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None

    @property
    def counts(self) -> ModelUsage:
        return ModelUsage(self.model, self.input_tokens, self.output_tokens, self.total_tokens)


class InputRequested(msgspec.Struct):
    request_id: str
    prompt: str = ""
    schema: msgspec.Raw = NULL
    expires_at: str | None = None


class Started(msgspec.Struct):
    attempt: int = 1


class Step(msgspec.Struct):
    node_name: str


class _MessageOfOutput(msgspec.Struct):
    id: str | None = None


class _Conversation(msgspec.Struct):
    """The output of a graph."""

    messages: list[_MessageOfOutput]


class Complete(msgspec.Struct):
    output: msgspec.Raw

    @property
    def message_id(self) -> str | None:
        """The id of the message that the output ends with, None if there is none."""
        try:
            messages = msgspec.json.decode(self.output, type=_Conversation).messages
        except msgspec.DecodeError:
            return None
        return messages[-1].id if messages else None


class Error(msgspec.Struct):
    error: str
    code: str
    details: msgspec.Raw = NULL


class Cancelled(msgspec.Struct):
    reason: str | None = None


_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def own_fields(data: bytes) -> msgspec.Raw:
    """Return the fields of an event besides those that every event has."""
    return msgspec.Raw(events.own_fields(data))


def state_of(fields: msgspec.Raw) -> msgspec.Raw | None:
    """Return the state of a graph that an event with these fields shows, None if it is that of a subgraph."""
    names = _fields_decoder.decode(fields)
    if names.keys() == {"data", "source"}:
        return None
    return names["data"] if names.keys() == {"data"} else fields


def json_text(value: msgspec.Raw) -> str:
    """Return a JSON value as text: a string itself, anything else as JSON."""
    return msgspec.json.decode(value, type=str) if _is_text(value) else bytes(value).decode()


def _is_text(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:1]) == b'"'
