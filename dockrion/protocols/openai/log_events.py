"""What the encoders read of the log's events. Texts stay JSON, as they are in the frames."""

import msgspec
from msgspec import UnsetType

_encode = msgspec.json.Encoder().encode
NULL = b"null"


def key_of(message_id: str | UnsetType | None, source: str | UnsetType | None) -> str:
    """Return what the text of a message belongs to: the message, or if it has no id, who speaks."""
    return f"id {message_id}" if message_id else f"by {source or ''}"


class OfMessage(msgspec.Struct, gc=False):
    message_id: str = ""
    source: str = ""

    @property
    def key(self) -> str:
        return key_of(self.message_id, self.source)


class Reasoning(OfMessage, gc=False, kw_only=True):
    content: msgspec.Raw


class Message(OfMessage, gc=False, kw_only=True):
    role: str
    content: msgspec.Raw


class Question(msgspec.Struct, gc=False):
    prompt: msgspec.Raw


class ToolCall(OfMessage, gc=False, kw_only=True):
    tool_call_id: str
    name: str
    arguments: msgspec.Raw = msgspec.Raw(NULL)

    @property
    def arguments_text(self) -> bytes:
        """JSON of a string that is the arguments' JSON; text that a model wrote stays as it is."""
        return b'"{}"' if bytes(self.arguments) == NULL else quoted(self.arguments)


class ToolResult(msgspec.Struct, gc=False):
    tool_call_id: str
    result: msgspec.Raw = msgspec.Raw(NULL)
    is_error: bool = False


class UsageReport(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    details: msgspec.Raw = msgspec.Raw(NULL)


class Complete(msgspec.Struct, gc=False):
    output: msgspec.Raw
    metadata: msgspec.Raw


class Error(msgspec.Struct, gc=False):
    error: str
    code: str


class Cancelled(msgspec.Struct, gc=False):
    reason: str | None = None


decode_reasoning = msgspec.json.Decoder(Reasoning).decode
decode_message = msgspec.json.Decoder(Message).decode
decode_question = msgspec.json.Decoder(Question).decode
decode_tool_call = msgspec.json.Decoder(ToolCall).decode
decode_tool_result = msgspec.json.Decoder(ToolResult).decode
decode_usage = msgspec.json.Decoder(UsageReport).decode
decode_complete = msgspec.json.Decoder(Complete).decode
decode_error = msgspec.json.Decoder(Error).decode
decode_cancelled = msgspec.json.Decoder(Cancelled).decode


def quoted(value: msgspec.Raw) -> bytes:
    """Return JSON as text, itself as JSON; a string is its own text."""
    json = bytes(value)
    return json if json.startswith(b'"') else _encode(json.decode())
