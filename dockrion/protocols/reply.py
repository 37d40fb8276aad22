"""How an agent's output becomes the text of a reply, for agents that have emitted none."""

import re
from typing import Any

import msgspec

from dockrion.protocols.conversation import text_of

_INDEX = re.compile("-?[0-9]{1,9}")
ASSISTANT_ROLES = ("assistant", "ai", "model")
_TEXT_FIELDS = ("text", "answer", "output", "content")  # as the page of the service shows outputs


def reply_text(output: Any, path: str | None) -> str:
    """Return the text of an output.

    Args:
        output: The agent's output, decoded JSON.
        path: `agent.chat.output`: names of fields and indexes of lists, separated by dots; None to look for
            the text: the output itself, its last message, or a field that usually has it.
    """
    value = _at(output, path.split(".")) if path is not None else _found(output)
    if value is None:
        value = output
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _at(value: Any, names: list[str]) -> Any:
    for name in names:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and _INDEX.fullmatch(name) and _has(value, int(name)):
            value = value[int(name)]
        else:
            return None
    return text_of(value) or value if isinstance(value, list) else value


def _has(items: list[Any], index: int) -> bool:
    return -len(items) <= index < len(items)


def _found(output: Any) -> str | None:
    if not isinstance(output, dict):
        return None
    messages = output.get("messages")
    if isinstance(messages, list) and messages and all(map(_is_message, messages)):
        last = messages[-1]
        return text_of(last["content"]) if _role(last) in ASSISTANT_ROLES else None
    return next((output[name] for name in _TEXT_FIELDS if isinstance(output.get(name), str)), None)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and "content" in value and ("role" in value or "type" in value)


def _role(message: dict[str, Any]) -> Any:
    """Return who says a message; LangChain's messages have a type."""
    return message.get("role") or message.get("type")
