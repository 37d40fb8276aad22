"""The text of chat models, as tokens."""

from collections.abc import Iterator
from typing import Any

import msgspec
from langchain_core.messages import AIMessage, AIMessageChunk

_REASONS = ("finish_reason", "stop_reason", "done_reason")  # OpenAI's, Anthropic's, Ollama's name for it
_STOP = "stop"


class _Message(msgspec.Struct):
    """What was said of a message so far."""

    said: bool = False
    calls_tools: bool = False
    finished: bool = False


class Tokens:
    """Turns messages, in pieces or whole, into token events. Calls of tools are none."""

    def __init__(self) -> None:
        self._messages: dict[str | None, _Message] = {}

    def of(self, message: Any, key: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the token of a piece of a message, or of a whole one, if it makes one.

        Args:
            message: The piece, or the message.
            key: What its pieces have in common; by default the message's id.
        """
        if not isinstance(message, AIMessage):
            return
        text = str(message.text)
        key = key or message.id
        state = self._messages.setdefault(key, _Message())
        state.calls_tools = state.calls_tools or bool(message.tool_calls) or _has_call_chunks(message)
        last = not isinstance(message, AIMessageChunk) or message.chunk_position == "last"
        reason = _reason(message) or (_STOP if last else None)
        if state.finished or not (state.said or text or not state.calls_tools):
            reason = None
        if text or reason is not None:
            state.said = state.said or bool(text)
            state.finished = state.finished or reason is not None
            yield {"type": "token", "content": text, "finish_reason": reason}
        if last:
            del self._messages[key]


def _has_call_chunks(message: AIMessage) -> bool:
    return isinstance(message, AIMessageChunk) and bool(message.tool_call_chunks)


def _reason(message: AIMessage) -> str | None:
    metadata = message.response_metadata
    return next((str(metadata[name]) for name in _REASONS if metadata.get(name)), None)
