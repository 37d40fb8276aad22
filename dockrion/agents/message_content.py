"""What a message of LangChain contains, as fields of events."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.messages.ai import UsageMetadata

from dockrion.agents.tool_calls import Event, given

Show = Callable[[Any], Any]  # see `RunSession.show`
_ROLES = {"human": "user", "ai": "assistant"}
_FINISH_REASONS = ("finish_reason", "stop_reason", "done_reason")  # OpenAI's, Anthropic's, Ollama's key
_MODEL_NAMES = ("model_name", "model")
_TOOL_CALLS = {"tool_call", "tool_call_chunk", "invalid_tool_call"}
_SERVER_TOOL_CALLS = {"server_tool_call", "server_tool_call_chunk"}
_SERVER_TOOL_RESULT = "server_tool_result"
_IN_OTHER_EVENTS = {"reasoning", _SERVER_TOOL_RESULT} | _TOOL_CALLS | _SERVER_TOOL_CALLS
_TEXT_FIELDS = {"type", "text", "index"}
_TOKENS = ("input_tokens", "output_tokens", "total_tokens")


def is_plain(message: AIMessage) -> bool:
    """Return whether a message or a chunk has no content but text, in at most one block."""
    content = message.content
    if message.additional_kwargs or isinstance(content, str):
        return not message.additional_kwargs
    return len(content) <= 1 and all(
        isinstance(block, dict) and block.get("type") == "text" and block.keys() <= _TEXT_FIELDS
        for block in content
    )


def finish_reason(message: AIMessage) -> str | None:
    """Return why a message ends, if it tells."""
    metadata = message.response_metadata
    return next((str(metadata[name]) for name in _FINISH_REASONS if metadata.get(name)), None)


def model_name(message: AIMessage) -> str | None:
    """Return the name of the model that produced a message, if it tells."""
    metadata = message.response_metadata
    return next((str(metadata[name]) for name in _MODEL_NAMES if metadata.get(name)), None)


def reasoning_texts(message: AIMessage) -> Iterator[str]:
    """Yield the texts of the model's reasoning in a message or a chunk."""
    for block in _blocks(message):
        if block["type"] == "reasoning" and (text := block.get("reasoning")):
            yield str(text)


class MessageParts:
    """The chunks of one message, or the message. Pieces of a text become one chunk, which saves much work."""

    def __init__(self) -> None:
        self._parts: list[AIMessage] = []
        self._text: list[str] = []  # after the parts
        self._block: Any = None  # the index of the text's block, if it has one

    @property
    def has_only_text(self) -> bool:
        return not self._parts

    @property
    def is_empty(self) -> bool:
        return not (self._parts or self._text)

    def add(self, message: AIMessage) -> None:
        self._end_text()
        self._parts.append(message)

    def add_text(self, message: AIMessage) -> None:
        """Add a message for which `is_plain` is true."""
        if text := str(message.text):
            content = message.content
            block: Any = None if isinstance(content, str) else content[0]
            index = block and block.get("index")
            if index != self._block:
                self._end_text()
                self._block = index
            self._text.append(text)

    def join(self, message_id: str | None) -> AIMessage:
        """Return the whole message.

        Args:
            message_id: Its id; chunks may have various.
        """
        self._end_text()
        first, *others = self._parts
        if not isinstance(first, AIMessageChunk):
            return first
        whole: Any = message_chunk_to_message(first + others if others else first)
        whole.id = message_id
        return whole  # type: ignore[no-any-return]

    def _end_text(self) -> None:
        if self._text:
            text = "".join(self._text)
            block = {"type": "text", "text": text, "index": self._block}
            self._parts.append(AIMessageChunk(content=text if self._block is None else [block]))
            self._text = []


def server_tool_events(message: AIMessage, source: str | None, show: Show) -> Iterator[Event]:
    """Yield the events of the tools that the model's provider has called by itself."""
    if is_plain(message):
        return
    for block in _blocks(message):
        if block["type"] in _SERVER_TOOL_CALLS:
            yield {
                "type": "tool_call",
                "tool_call_id": str(block.get("id")),
                "name": str(block.get("name")),
                "arguments": show(block.get("args")),
                **given(message_id=message.id, source=source),
            }
        elif block["type"] == _SERVER_TOOL_RESULT:
            yield {
                "type": "tool_result",
                "tool_call_id": str(block.get("tool_call_id")),
                "result": show(block.get("output")),
                "is_error": block.get("status") == "error",
                **given(source=source),
            }


def message_event(message: BaseMessage, source: str | None, show: Show) -> Event:
    """Return the event for a whole message."""
    content = message.content
    role = getattr(message, "role", None) or _ROLES.get(message.type, message.type)
    return {
        "type": "message",
        "role": str(role),
        "content": content if isinstance(content, str) else _shown_blocks(_in_no_other_event(message), show),
        **given(message_id=message.id, name=message.name, source=source),
    }


def has_more_than_text(message: BaseMessage) -> bool:
    """Return whether a message has content that neither its tokens nor other events contain."""
    if isinstance(message.content, str):
        return False
    return any(block["type"] != "text" or block.get("annotations") for block in _in_no_other_event(message))


def has_content(message: BaseMessage) -> bool:
    """Return whether a message has text or other content that is in no event but its own."""
    return bool(message.content if isinstance(message.content, str) else _in_no_other_event(message))


def usage_event(usage: UsageMetadata, model: str | None, source: str | None) -> Event:
    """Return the event for the tokens that one message took."""
    fields: Mapping[str, Any] = usage
    counts = {name: max(fields.get(name) or 0, 0) for name in _TOKENS}
    details = {name: value for name, value in fields.items() if name not in _TOKENS and value}
    return {"type": "usage", **counts, **given(model=model, details=details or None, source=source)}


def _in_no_other_event(message: BaseMessage) -> list[Mapping[str, Any]]:
    return [block for block in _blocks(message) if block["type"] not in _IN_OTHER_EVENTS]


def _shown_blocks(blocks: list[Mapping[str, Any]], show: Show) -> Any:
    shown = show(blocks)
    return shown if isinstance(shown, str) else blocks


def _blocks(message: BaseMessage) -> list[Any]:
    try:
        return list(message.content_blocks)
    except Exception:  # what LangChain cannot translate must not end the run
        return []
