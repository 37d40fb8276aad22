"""What an agent's reply is: its tokens, `message` events that do not repeat them, else its output."""

import json
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from dockrion.protocols.conversation import text_of

_INDEX = re.compile("-?[0-9]{1,9}")
ASSISTANT_ROLES = ("assistant", "ai", "model")
_TEXT_FIELDS = ("text", "answer", "output", "content")  # as the page of the service shows outputs
MAX_OPEN_CALLS = 256  # tool calls without a result; the oldest is forgotten for one more
_REMEMBERED = 64  # messages and sources: a `message` event follows its tokens soon
T = TypeVar("T")
_Count = Annotated[int, Meta(ge=0, le=2**53)]  # no sum of these is too large for JSON
StopReason = Literal["stop", "length", "content_filter"]
_STOP_REASONS: dict[str | None, StopReason] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
INCOMPLETE = "a part of the reply is no longer stored"
_encode = msgspec.json.Encoder().encode


class TokenCounts(msgspec.Struct, frozen=True, gc=False):
    """Tokens of requests to models."""

    input_tokens: _Count = 0
    output_tokens: _Count = 0
    total_tokens: _Count = 0


class RunMetadata(msgspec.Struct, frozen=True, gc=False):
    """What the service adds to the metadata of a `complete` event.

    Attributes:
        usage: The tokens that each model took, as far as the agent has reported them.
        truncated: Whether a policy has cut the text.
    """

    usage: dict[str, TokenCounts] = {}
    truncated: bool = False

    @property
    def totals(self) -> TokenCounts | None:
        """The tokens that all models took, None if that is unknown."""
        if not self.usage:
            return None
        counts = zip(*map(msgspec.structs.astuple, self.usage.values()), strict=True)
        return TokenCounts(*map(sum, counts))

    def stop_reason(self, finish_reason: str | None) -> StopReason:
        """Return why the reply ends.

        Args:
            finish_reason: Why the model ended its last message, None if that is unknown.
        """
        return "length" if self.truncated else _STOP_REASONS.get(finish_reason, "stop")


class ShownMessages(msgspec.Struct, frozen=True):
    """Which messages a reply shows, so that it does not repeat in a `message` event what was tokens before.

    Ids and sources are empty if there is none. A `message` event is shown already if its id is. If it or the
    tokens have no id, it repeats what its source has emitted since the last such event or tool call.

    Attributes:
        ids: The ids of the messages, the last ones.
        streamed: The source and the message id of tokens that may still be repeated.
    """

    ids: tuple[str, ...] = ()
    streamed: tuple[tuple[str, str], ...] = ()

    def include(self, message_id: str, source: str) -> bool:
        """Return whether the text of a `message` event is shown already."""
        if message_id in self.ids:
            return True
        return any(by == source and not (message_id and named) for by, named in self.streamed)

    def continued_by(self, message_id: str, source: str) -> bool:
        """Return whether a token goes on with a message that is shown."""
        return message_id in self.ids if message_id else (source, "") in self.streamed

    def after_token(self, message_id: str, source: str) -> "ShownMessages":
        """Return what is shown after a token."""
        if (source, message_id) in self.streamed:
            return self
        return ShownMessages(self._ids_with(message_id), _appended(self.streamed, (source, message_id)))

    def after_message(self, message_id: str, source: str) -> "ShownMessages":
        """Return what is shown after a `message` event."""
        left = tuple(
            (by, named)
            for by, named in self.streamed
            if (not message_id or named != message_id) and (by != source or (message_id and named))
        )
        return ShownMessages(self._ids_with(message_id), left)

    def after_tool_call(self, source: str) -> "ShownMessages":
        """Return what is shown after a tool call: what its source says next is another message."""
        if not self.streamed:
            return self
        return ShownMessages(self.ids, tuple(each for each in self.streamed if each[0] != source))

    def _ids_with(self, message_id: str) -> tuple[str, ...]:
        return self.ids if not message_id or message_id in self.ids else _appended(self.ids, message_id)


def _appended(values: tuple[T, ...], value: T) -> tuple[T, ...]:
    return (*values[-_REMEMBERED + 1 :], value)


_decode_metadata = msgspec.json.Decoder(RunMetadata).decode


def message_text(content: bytes) -> bytes:
    """Return the text in a message's content; both are JSON."""
    return content if content.startswith(b'"') else _encode(text_of(from_json(content)))


def output_text(output: bytes, path: str | None) -> bytes:
    """Return the text of an output; both are JSON.

    Args:
        output: The agent's output.
        path: `agent.chat.output`: names of fields and indexes of lists, separated by dots; None to look for
            the text: the output itself, its last message, or a field that usually has it.
    """
    value = from_json(output)
    found = _at(value, path.split(".")) if path is not None else _found(value)
    if found is None:
        found = value if isinstance(value, str) else output.decode()
    return _encode(found if isinstance(found, str) else _encode(found).decode())


def cancelled_message(reason: str | None) -> str:
    """Return what clients read of a cancelled run.

    Args:
        reason: Why, None if that is unknown.
    """
    return f"the run was cancelled: {reason}" if reason else "the run was cancelled"


def metadata_of(data: bytes) -> RunMetadata:
    """Return the metadata of a `complete` event, empty if it is the agent's own."""
    try:
        return _decode_metadata(data)
    except msgspec.DecodeError:
        return RunMetadata()


def from_json(value: bytes) -> Any:
    """Return the value of JSON that an agent has emitted."""
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:  # a number beyond those of msgspec
        return json.loads(bytes(value))


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
