"""What the encoder remembers of the events before."""

from collections.abc import Sequence
from typing import Any

import msgspec

from dockrion.protocols import State
from dockrion.protocols.ag_ui.events import MessageKind
from dockrion.protocols.reply import ShownMessages

_MAX_COUNT = 2**53 - 1  # of tokens: AG-UI's limit, the largest exact integer of JavaScript
_MAX_MODELS = 100
_OTHER = "other"


class OpenMessage(msgspec.Struct, frozen=True):
    """A message that is being streamed.

    Attributes:
        kind: Which AG-UI events it consists of.
        id: Its id in AG-UI.
        message_id: The agent's id, None if it has given none.
        source: Who speaks.
        delta: The format of the frames that continue it, see `events.delta_format`.
    """

    kind: MessageKind
    id: str
    message_id: str | None
    source: str | None
    delta: bytes


def open_message(
    messages: Sequence[OpenMessage], kind: MessageKind, message_id: str | None, source: str | None
) -> OpenMessage | None:
    """Return the open message that a piece of text belongs to, None if there is none."""
    for message in messages:
        same = message.message_id == message_id and (message_id is not None or message.source == source)
        if same and message.kind == kind:
            return message
    return None


class ModelUsage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The tokens that a model took: a `TokenUsage` of AG-UI."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None


class RunState(State, frozen=True, kw_only=True):
    """What the encoder remembers.

    Attributes:
        active: Whether an AG-UI run has started and not finished.
        attempt: How often the agent was started.
        open: The messages that are open, oldest first.
        messages: Which messages of the agent were written.
        known: The last tool calls and results that were written, see `Writer`.
        has_text: Whether the agent has said anything in this AG-UI run.
        pending: The tool calls of this AG-UI run that have no result; the client answers them.
        usage: The tokens that this AG-UI run took, by model.
    """

    active: bool = False
    attempt: int = 1
    open: tuple[OpenMessage, ...] = ()
    messages: ShownMessages = ShownMessages()
    known: tuple[str, ...] = ()
    has_text: bool = False
    pending: tuple[str, ...] = ()
    usage: tuple[ModelUsage, ...] = ()


def add_usage(sums: tuple[ModelUsage, ...], used: ModelUsage) -> tuple[ModelUsage, ...]:
    """Return sums with the tokens of one more request to a model."""
    models = {each.model: each for each in sums}
    model = used.model if used.model in models or len(models) < _MAX_MODELS else _OTHER
    before = models.get(model, ModelUsage())
    models[model] = ModelUsage(
        model,
        _sum(before.input_tokens, used.input_tokens),
        _sum(before.output_tokens, used.output_tokens),
        _sum(before.total_tokens, used.total_tokens),
    )
    return tuple(models.values())


def usage_field(sums: tuple[ModelUsage, ...]) -> dict[str, Any]:
    """Return the field `usage` of an event that ends a run; nothing if nothing was counted."""
    entries = [_countable(each) for each in sums]
    counted = [each for each in entries if each.keys() - {"model"}]
    return {"usage": counted} if counted else {}


def _countable(used: ModelUsage) -> dict[str, Any]:
    fields = msgspec.to_builtins(used)
    return {name: value for name, value in fields.items() if name == "model" or value <= _MAX_COUNT}


def _sum(first: int | None, second: int | None) -> int | None:
    return second if first is None else first + (second or 0)
