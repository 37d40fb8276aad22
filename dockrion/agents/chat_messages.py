"""Translation of chat models' messages to token events."""

from collections.abc import Iterator
from typing import Any

import msgspec
from langchain_core.messages import AIMessage, AIMessageChunk

_FINISH_REASONS = ("finish_reason", "stop_reason", "done_reason")  # OpenAI's, Anthropic's, Ollama's key
_DEFAULT_FINISH_REASON = "stop"


class _MessageState(msgspec.Struct):
    """What has been seen of a message so far."""

    has_text: bool = False
    calls_tools: bool = False
    finished: bool = False


class TokenTranslator:
    """Translates messages, whole or in chunks, to token events; tool calls make none."""

    def __init__(self) -> None:
        self._messages: dict[str | None, _MessageState] = {}

    def translate(self, message: Any, key: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the token event of a message or of a chunk, if there is one.

        Args:
            message: The message or the chunk.
            key: What the chunks of one message have in common; by default the message's id.
        """
        if not isinstance(message, AIMessage):
            return
        text = str(message.text)
        key = key or message.id
        state = self._messages.setdefault(key, _MessageState())
        state.calls_tools = state.calls_tools or bool(message.tool_calls) or _has_call_chunks(message)
        last = not isinstance(message, AIMessageChunk) or message.chunk_position == "last"
        reason = _finish_reason(message) or (_DEFAULT_FINISH_REASON if last else None)
        if state.finished or not (state.has_text or text or not state.calls_tools):
            reason = None
        if text or reason is not None:
            state.has_text = state.has_text or bool(text)
            state.finished = state.finished or reason is not None
            yield {"type": "token", "content": text, "finish_reason": reason}
        if last:
            del self._messages[key]


def _has_call_chunks(message: AIMessage) -> bool:
    return isinstance(message, AIMessageChunk) and bool(message.tool_call_chunks)


def _finish_reason(message: AIMessage) -> str | None:
    metadata = message.response_metadata
    return next((str(metadata[name]) for name in _FINISH_REASONS if metadata.get(name)), None)
