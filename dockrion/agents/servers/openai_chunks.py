"""What a Chat Completions API sends: chunks, completions and errors.

Fields that no event has are ignored. Servers differ in what they leave out, so nothing is required.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dockrion.agents.response_readers import ProtocolError
from dockrion.errors import (
    AgentDisconnected,
    AgentFailed,
    AgentPolicyViolation,
    AgentProtocolError,
    AgentTimedOut,
    InvalidOutput,
)
from dockrion.runs.outcome import Failed

_Count = Annotated[int, Meta(ge=0, le=2**53)]
# Codes of the errors of a service that is itself a Dockrion, and others' codes of the same meaning.
_CODES = {
    kind.code.lower(): kind.code
    for kind in (AgentDisconnected, AgentFailed, AgentProtocolError, AgentTimedOut, InvalidOutput)
} | dict.fromkeys(("content_filter", "content_policy_violation"), AgentPolicyViolation.code)
_MAX_MESSAGE = 1000  # characters of a server's error


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
    index: int = 0
    delta: Message | None = None
    message: Message | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    total_tokens: _Count | None = None
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None

    def fields(self, model: str) -> dict[str, Any]:
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


def chunk_of(data: bytes | str, what: str) -> Chunk:
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


def error_of(error: Any, details: dict[str, Any] | None = None) -> Failed:
    """Return the outcome of a reply that ends with an error.

    Args:
        error: What the server says of it: an object with a `message`, or anything else.
        details: Further information.
    """
    fields = error if isinstance(error, dict) else {"message": error}
    message, code = fields.get("message"), fields.get("code")
    text = message if isinstance(message, str) and message else "the agent's server reports an error"
    known = {
        name: fields[name] for name in ("type", "code", "param") if isinstance(fields.get(name), str | int)
    }
    code = _CODES.get(code, AgentFailed.code) if isinstance(code, str) else AgentFailed.code
    return Failed(text[:_MAX_MESSAGE], code, {**(details or {}), **known} or None)


def failure_of(status: int, body: str) -> Failed:
    """Return the outcome of a request that was not successful.

    Args:
        status: The status of the response.
        body: The beginning of its body.
    """
    message = f"the agent's server responded with status {status}"
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        value = None
    error = value.get("error", value) if isinstance(value, dict) else None
    said = error.get("message") if isinstance(error, dict) else error
    if not isinstance(said, str) or not said:
        return Failed(message, AgentFailed.code, {"status": status, "body": body})
    failed = error_of(error, {"status": status})
    return msgspec.structs.replace(failed, error=f"{message}: {failed.error}")
