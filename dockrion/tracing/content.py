"""The content of runs in spans: payloads, outputs, the arguments and results of tools. Only if asked for."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from dockrion import json_encoding
from dockrion.redaction import Redactor

MAX_BYTES = 64 * 1024  # of an attribute
_MAX_MASKED = 256 * 1024  # bytes; masking more would hold the event loop
Mask = Callable[[Any], Any]


class ContentMasks(NamedTuple):
    """Mask what is not to be shown besides secrets.

    Attributes:
        payload: Of a payload.
        output: Of all that the agent says.
    """

    payload: Mask
    output: Mask


def shown(value: Any, redactor: Redactor, mask: Mask) -> str:
    """Return a value as masked JSON, text as it is; what is too large or has no JSON form by its type.

    Args:
        value: Any value.
        redactor: Masks secrets.
        mask: Masks what else is not to be shown.
    """
    try:
        encoded = json_encoding.encode(value)
        if len(encoded) > _MAX_MASKED:
            return f"<{len(encoded)} bytes of JSON>"
        decoded = msgspec.json.decode(encoded)
        decoded = redactor.mask_value(mask(decoded))
        text = decoded if isinstance(decoded, str) else msgspec.json.encode(decoded).decode()
    except Exception:  # the value's own conversion may raise anything
        return f"<{type(value).__name__}>"
    return text[:MAX_BYTES]


def messages(role: str, text: str) -> str:
    """Return a text as the messages of a conversation, in the form of the semantic conventions."""
    message: dict[str, Any] = {"role": role, "parts": [{"type": "text", "content": text}]}
    if role == "assistant":
        message["finish_reason"] = "stop"
    return msgspec.json.encode([message]).decode()
