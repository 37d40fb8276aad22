"""How a conversation becomes the agent's payload: `agent.chat` of the Dockfile."""

from itertools import groupby
from typing import Any

import msgspec

from dockrion.dockfile.agent_structs import ChatSpec
from dockrion.errors import InvalidRequest

# The media types of the content of `input_audio` parts; other sound is a `file` part.
AUDIO_FORMATS = {
    **dict.fromkeys(("audio/wav", "audio/x-wav", "audio/wave"), "wav"),
    **dict.fromkeys(("audio/mpeg", "audio/mp3"), "mp3"),
}


class Conversation(msgspec.Struct, frozen=True):
    """What a client of any protocol asks an agent.

    Attributes:
        messages: The messages so far, oldest first, as OpenAI's Chat Completions API writes them:
            `{role, content, name, tool_calls, tool_call_id}`; of these, only what is there. Content is text,
            or a list of parts (`{type: text, text}`, `{type: image_url, image_url: {url}}`, …).
        fields: The request's other fields, for agents whose `io_schema.input` has them.
        tools: The tools that the client itself executes, for the agent to call.
    """

    messages: list[dict[str, Any]]
    fields: dict[str, Any] = {}
    tools: list[Any] = []


def payload_of(conversation: Conversation, chat: ChatSpec, schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return the payload that an agent gets.

    Args:
        conversation: What the client asks.
        chat: How the Dockfile wants it.
        schema: The JSON Schema of the agent's input, None for any.

    Raises:
        InvalidRequest: There is no message, or no text of a user where the agent wants one.
    """
    if not conversation.messages:
        raise InvalidRequest("the conversation has no messages; send at least one")
    properties = (schema or {}).get("properties", {})
    payload = {name: value for name, value in conversation.fields.items() if name in properties}
    if conversation.tools and _accepts_tools(schema):
        payload["tools"] = conversation.tools
    if chat.field is None:
        messages = [_with_plain_text(message) for message in conversation.messages]
        return payload | {"messages": messages}
    return payload | {chat.field: _last_question(conversation.messages)}


def tool_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """Return an entry of `tool_calls`; the arguments are JSON."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def text_of(content: Any) -> str:
    """Return the text in a message's content: itself, or that of its parts, one after the other."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


def _accepts_tools(schema: dict[str, Any] | None) -> bool:
    if schema is None or "tools" in schema.get("properties", {}):
        return True
    return schema.get("additionalProperties", True) is not False


def _with_plain_text(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose content is one string if it has nothing but text.

    Otherwise texts that follow each other are one part: a phrasing that is blocked is found in it, too.
    """
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts: list[Any] = []
    for is_text, group in groupby(content, _is_text):
        texts = list(group)
        parts += [{"type": "text", "text": text_of(texts)}] if is_text and len(texts) > 1 else texts
    only_text = all(map(_is_text, parts))
    return message | {"content": text_of(parts) if only_text else parts}


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _last_question(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return text_of(message.get("content"))
    raise InvalidRequest("the conversation has no message of a user; send one with the role user")
