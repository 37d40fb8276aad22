"""The input of a run as its record keeps it: the request's body, and an excerpt for listings.

The body is kept as it was sent, and masked when it is shown. Once a secret answer is in it, only a masked one
is kept. The excerpt is masked before it is cut: in a text that is cut, the start of a secret is not found.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from dockrion.redaction import MASK, Redactor
from dockrion.runs.write_only import WriteOnly, write_only

if TYPE_CHECKING:
    from dockrion.policies.output_redaction import OutputPolicy

MAX_INPUT_BYTES = 256 * 1024  # larger inputs are not kept
EXCERPT_LENGTH = 120  # characters
_EXAMINED = 8 * EXCERPT_LENGTH  # characters of a text that may begin with white space
_encoder = msgspec.json.Encoder()


class InputMask:
    """Masks what is not to be shown of inputs, besides secrets.

    Args:
        hidden: Masks what the schema declares as write-only, None if that is nothing.
        policy: Masks what outputs may not contain either, None if they may contain anything.
    """

    def __init__(self, hidden: WriteOnly | None, policy: "OutputPolicy | None") -> None:
        self._hidden = hidden
        self._policy = policy

    def uncounted(self) -> "InputMask":
        """Return the same, see `OutputPolicy.uncounted`."""
        return InputMask(self._hidden, None if self._policy is None else self._policy.uncounted)

    def mask(self, value: Any) -> Any:
        """Return an input masked.

        Raises:
            RecursionError: It is nested too deeply.
        """
        if self._hidden is not None:
            value = self._hidden.mask(value)
        return value if self._policy is None else self._policy.new_filter().mask(value)


def input_mask(schema: dict[str, Any] | None, policy: "OutputPolicy | None") -> InputMask | None:
    """Return what masks the inputs of a schema, None if there is nothing to mask but secrets."""
    hidden = write_only(schema)
    return None if hidden is None and policy is None else InputMask(hidden, policy)


class StoredInput(msgspec.Struct, frozen=True):
    """What is kept of a run's input.

    Attributes:
        body: The request's body, JSON.
        excerpt: Its first words, masked.
        mask: Masks what else is not to be shown, None if that is nothing.
    """

    body: bytes
    excerpt: str
    mask: InputMask | None = None


def stored_input(
    value: Any, body: bytes, redactor: Redactor, mask: InputMask | None = None
) -> StoredInput | None:
    """Return what is kept of an input, None if it is too large, or could not be masked.

    Args:
        value: The input, decoded.
        body: The same as JSON.
        redactor: Masks secrets in the excerpt.
        mask: Masks what else is not to be shown, None if that is nothing.
    """
    if len(body) > MAX_INPUT_BYTES:
        return None
    shown = body
    if mask is not None:
        try:
            value = mask.mask(value)
        except RecursionError:
            return None
        shown = _encoder.encode(value)
    return StoredInput(body, excerpt(value, shown, redactor), mask)


def excerpt(value: Any, body: bytes, redactor: Redactor) -> str:
    """Return one line of an input: the last user message, else the first text of an object, else JSON.

    Args:
        value: The input, decoded.
        body: The same as JSON.
        redactor: Masks secrets.
    """
    examined = _EXAMINED + redactor.longest
    text = _text(value) or body[: 4 * (examined + 1)].decode(errors="ignore")
    masked = redactor.mask(text[:examined])
    if len(text) > examined and redactor.longest:
        masked = masked[: -redactor.longest]  # which may end within a secret
    line = " ".join(masked.split())
    return line if len(line) <= EXCERPT_LENGTH else line[: EXCERPT_LENGTH - 1] + "…"


def masked_input(body: bytes, redactor: Redactor, mask: InputMask | None = None) -> Any:
    """Return an input with everything masked that is not to be shown, as a value to be encoded as JSON."""
    if not redactor.longest and mask is None:
        return msgspec.Raw(body)
    try:
        value = msgspec.json.decode(body)
        return redactor.mask_value(value if mask is None else mask.mask(value))
    except RecursionError:
        return None


def replaced_input(stored: StoredInput, redactor: Redactor) -> StoredInput:
    """Return a stored input with everything masked that is not to be shown; the same if there is nothing.

    Args:
        stored: The input.
        redactor: Masks secrets.
    """
    masked = masked_input(stored.body, redactor, stored.mask)
    if isinstance(masked, msgspec.Raw) or masked == msgspec.json.decode(stored.body):
        return stored
    body = _encoder.encode(masked)
    return StoredInput(body, excerpt(masked, body, redactor), stored.mask)


def _text(value: Any) -> str:
    """Return the text that says most about an input, empty if there is none."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return ""
    messages = value.get("messages")
    if isinstance(messages, list) and (said := _last_user_message(messages)):
        return said
    texts = (each for each in value.values() if isinstance(each, str))
    return next((each for each in texts if each != MASK and not each.isspace()), "")


def _last_user_message(messages: list[Any]) -> str:
    for message in reversed(messages):
        match message:  # in the forms that LangChain accepts
            case {"role": "user" | "human", "content": said} | {"type": "user" | "human", "content": said}:
                return _content(said)
            case ["user" | "human", said]:
                return _content(said)
    return ""


def _content(content: Any) -> str:
    """Return a message's text, which may be in parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return " ".join(text for text in texts if isinstance(text, str))
