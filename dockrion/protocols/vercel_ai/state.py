"""What the encoder remembers between two events."""

import msgspec

from dockrion.protocols import State
from dockrion.protocols.reply import ShownMessages


class Part(msgspec.Struct, frozen=True):
    """A text or reasoning of the message that has started and not ended.

    Attributes:
        kind: `text` or `reasoning`.
        part_id: The sequence of the event that started it.
        message_id: The id of the model's message, None if it has none.
        source: Where it comes from, None if that is unknown.
    """

    kind: bytes
    part_id: int
    message_id: str | None
    source: str | None


def open_part(parts: tuple[Part, ...], kind: bytes, message_id: str | None, source: str | None) -> int | None:
    """Return the id of the part that a piece goes on with, None if there is none."""
    for part in parts:
        if part.message_id == message_id and part.source == source and part.kind == kind:
            return part.part_id
    return None


class UsageTotals(msgspec.Struct, frozen=True):
    """The tokens of all requests to models so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0


class MessageState(State, frozen=True, kw_only=True):
    """What has been written of the message.

    Attributes:
        started: Whether it has started.
        parts: What has not ended, at most one part of each message of a model and source.
        calls: JSON of the ids of tool calls without a result.
        returned: Whether a tool has returned in this step, so that what follows is the next one.
        shown: Which messages of models are in the message.
        replied: Whether the message has a reply, so that the output is none.
        finish_reason: Why the last model has stopped, None if that is unknown.
        usage: The sums of what the models have reported.
    """

    started: bool = False
    parts: tuple[Part, ...] = ()
    calls: tuple[bytes, ...] = ()
    returned: bool = False
    shown: ShownMessages = ShownMessages()
    replied: bool = False
    finish_reason: str | None = None
    usage: UsageTotals = UsageTotals()
