"""What a Chat Completions API sends: chunks and completions.

Fields that no event has are ignored. Servers differ in what they leave out, so nothing is required.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dockrion.agents.responses import ProtocolError

_Count = Annotated[int, Meta(ge=0, le=2**53)]


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Message(msgspec.Struct):
    """A message, or the next piece of one."""

    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # as vLLM, OpenRouter and others call it
    tool_calls: list[ToolCall] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            texts = (part.get("text") for part in self.content)
            return "".join(text for text in texts if isinstance(text, str))
        return self.content or ""


class Choice(msgspec.Struct):
    index: int | None = None
    delta: Message | None = None
    message: Message | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    total_tokens: _Count | None = None
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None

    def fields(self, model: str | None) -> dict[str, Any]:
        """Return the fields of a `usage` event."""
        details = {
            "input_token_details": self.prompt_tokens_details,
            "output_token_details": self.completion_tokens_details,
        }
        return {
            "model": model,
            "input_tokens": self.prompt_tokens,
            "output_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
            "details": {name: value for name, value in details.items() if value} or None,
        }


class Chunk(msgspec.Struct):
    """A chunk of a stream, or a whole completion."""

    model: str | None = None
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None


_decode_chunk = msgspec.json.Decoder(Chunk).decode


def chunk_of(data: bytearray | str, what: str) -> Chunk:
    """Return a chunk, or a completion.

    Args:
        data: Its JSON.
        what: Its name for the message of an error.

    Raises:
        ProtocolError: It is malformed.
    """
    try:
        return _decode_chunk(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"{what} of the agent's server is malformed: {error}") from error
