"""What the encoder reads of the log's events. Values that are only passed on stay JSON."""

from typing import Final

import msgspec

_NULL: Final = msgspec.Raw(b"null")


class Reasoning(msgspec.Struct, frozen=True, gc=False):
    content: msgspec.Raw
    message_id: str | None = None
    source: str | None = None


class Message(msgspec.Struct, frozen=True, gc=False):
    role: str
    content: str | list[dict[str, msgspec.Raw]]
    message_id: str | None = None
    source: str | None = None


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    tool_call_id: msgspec.Raw
    name: msgspec.Raw
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    source: str | None = None


class ToolResult(msgspec.Struct, frozen=True, gc=False):
    tool_call_id: msgspec.Raw
    name: msgspec.Raw = _NULL
    result: msgspec.Raw = _NULL
    is_error: bool = False


class Usage(msgspec.Struct, frozen=True, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None


class Started(msgspec.Struct, frozen=True, gc=False):
    attempt: msgspec.Raw = _NULL
    previous: msgspec.Raw = _NULL


class AboutQuestion(msgspec.Struct, frozen=True, gc=False):
    request_id: msgspec.Raw


class End(msgspec.Struct, frozen=True, gc=False):
    """A terminal event: `complete` has an output and metadata, `error` an error, `cancelled` a reason."""

    output: msgspec.Raw = _NULL
    metadata: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL
    reason: msgspec.Raw = _NULL


reasoning_of = msgspec.json.Decoder(Reasoning).decode
message_of = msgspec.json.Decoder(Message).decode
tool_call_of = msgspec.json.Decoder(ToolCall).decode
tool_result_of = msgspec.json.Decoder(ToolResult).decode
usage_of = msgspec.json.Decoder(Usage).decode
started_of = msgspec.json.Decoder(Started).decode
end_of = msgspec.json.Decoder(End).decode
about_question_of = msgspec.json.Decoder(AboutQuestion).decode
