"""Translation of models' messages, whole or in chunks, to events."""

from collections.abc import Hashable, Iterator
from typing import Any

import msgspec
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage

from dockrion.agents import message_content
from dockrion.agents.message_content import MessageParts
from dockrion.agents.tool_calls import Event, ToolCallTranslator, given
from dockrion.events import EventFilter
from dockrion.runs.session import RunSession

MESSAGES_SCHEMA: dict[str, Any] = {  # allows whatever else LangChain takes: one message, text, pairs
    "properties": {
        "messages": {
            "description": "The messages of the conversation. They are added to those of the thread, if any.",
            "items": {
                "properties": {
                    "role": {"type": "string", "description": "user, assistant or system"},
                    "content": {"description": "Text, or a list of content blocks"},
                }
            },
        }
    },
}
_DEFAULT_FINISH_REASON = "stop"


class _OpenMessage(msgspec.Struct):
    """What has been seen of a message so far.

    Attributes:
        message_id: The first id seen; providers give some chunks others, or none.
        source: Who says it.
        model: The model's name, if it is known.
        origin: The id and the source as fields of events, where they are known.
        parts: Its chunks, as far as the whole message is needed.
    """

    message_id: str | None
    source: str | None
    model: str | None
    origin: dict[str, str]
    has_text: bool = False
    calls_tools: bool = False
    finished: bool = False
    usage: UsageMetadata | None = None
    parts: MessageParts = msgspec.field(default_factory=MessageParts)


class MessageTranslator:
    """Translates what models say: text and reasoning at once, the rest when the message is whole.

    Args:
        session: The run.
        events_filter: Which events pass. Others may be left out, except `usage`, which is counted.
        tools: Translates the tool calls that messages request.
    """

    def __init__(self, session: RunSession, events_filter: EventFilter, tools: ToolCallTranslator) -> None:
        self._show = session.show
        self._tools = tools
        self._open: dict[Hashable, _OpenMessage] = {}
        self._reasoning = events_filter.allows("reasoning")
        self._messages = events_filter.allows("message")
        self._tokens = events_filter.allows("token")
        self._joins = any(map(events_filter.allows, ("message", "tool_call", "tool_result")))

    def __contains__(self, key: Hashable) -> bool:
        """Return whether a message has begun and not ended."""
        return key in self._open

    def translate(
        self, message: AIMessage, key: Hashable, *, source: str | None = None, model: str | None = None
    ) -> Iterator[Event]:
        """Yield the events for a message or for a chunk.

        Args:
            message: The message or the chunk.
            key: What the chunks of one message have in common.
            source: Who says it.
            model: The model's name, where the message does not tell it.
        """
        state = self._open.get(key)
        if state is None:
            state = self._open[key] = _OpenMessage(
                message.id, source, model, given(message_id=message.id, source=source)
            )
        is_plain = message_content.is_plain(message)
        if self._reasoning and not is_plain:
            for text in message_content.reasoning_texts(message):
                yield {"type": "reasoning", "content": text, **state.origin}
        chunk = message if isinstance(message, AIMessageChunk) else None
        requests = message.tool_calls or (chunk and chunk.tool_call_chunks)
        state.calls_tools = state.calls_tools or bool(requests)
        if self._joins and (chunk is None or requests or not is_plain):
            state.parts.add(message)
        elif self._messages:
            state.parts.add_text(message)
        if message.usage_metadata is not None:
            state.usage = add_usage(state.usage, message.usage_metadata)
        if message.response_metadata:
            state.model = message_content.model_name(message) or state.model
        is_last = chunk is None or chunk.chunk_position == "last"
        yield from self._token(state, message, is_last=is_last)
        if is_last:
            del self._open[key]
            yield from self._end(state)

    def close(self) -> Iterator[Event]:
        """Yield the usage of messages that have no end, since their model was stopped."""
        for state in self._open.values():
            if state.usage is not None:
                yield message_content.usage_event(state.usage, state.model, state.source)
        self._open.clear()

    def _token(self, state: _OpenMessage, message: AIMessage, *, is_last: bool) -> Iterator[Event]:
        text = str(message.text)
        reason = message_content.finish_reason(message) or (_DEFAULT_FINISH_REASON if is_last else None)
        if state.finished or not (state.has_text or text or not state.calls_tools):
            reason = None
        if text or reason is not None:
            state.has_text = state.has_text or bool(text)
            state.finished = state.finished or reason is not None
            yield {"type": "token", "content": text, "finish_reason": reason, **state.origin}

    def _end(self, state: _OpenMessage) -> Iterator[Event]:
        if not (state.parts.is_empty or (state.parts.has_only_text and self._tokens)):
            message = state.parts.join(state.message_id)
            if self._messages and (
                message_content.has_more_than_text(message)
                or (not self._tokens and message_content.has_content(message))
            ):
                yield message_content.message_event(message, state.source, self._show)
            yield from message_content.server_tool_events(message, state.source, self._show)
            yield from self._tools.requested(message, state.source)
        if state.usage is not None:
            yield message_content.usage_event(state.usage, state.model, state.source)
