"""The parts of an assistant's reply, and what is remembered of it between two events."""

from typing import Literal

import msgspec

from dockrion.protocols import State
from dockrion.protocols.reply import ShownMessages

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Pieces(msgspec.Struct, frozen=True, gc=False):
    """Consecutive pieces of one field of the assistant's message.

    Attributes:
        field: The field.
        values: The pieces as JSON: strings, or for `tool_calls` objects without their `index`.
    """

    field: Literal["content", "reasoning_content", "refusal", "tool_calls"]
    values: list[bytes]


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The tokens that a run took, as the API has them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The end of a reply; without usage if the agent has reported none."""

    reason: FinishReason
    usage: Usage | None = None


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The end of a run without a reply."""

    code: str
    message: str


Part = Pieces | Finished | Failed


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A call of a tool that the client executes, unless the agent does; its arguments are JSON."""

    id: str
    name: str
    arguments: str


class ReplyState(State, frozen=True, kw_only=True):
    """What is known of a reply before an event.

    Attributes:
        begun: Whether any event was seen.
        incomplete: Whether a part of it is no longer stored, so that only the agent's output is shown.
        tool_calls: How many tool calls were shown.
        shown: Whether any text was shown.
        replied: Whether text of the agent was shown.
        paragraph: Whether the next text begins a paragraph whatever message it belongs to.
        messages: Which messages of the agent were shown.
        calls: The calls of the client's tools without a result.
        finish_reason: Why the model ended its last message, None if that is unknown.
    """

    begun: bool = False
    incomplete: bool = False
    tool_calls: int = 0
    shown: bool = False
    replied: bool = False
    paragraph: bool = False
    messages: ShownMessages = ShownMessages()
    calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None


class ReplyOptions(msgspec.Struct, frozen=True):
    """What the request and the Dockfile say about the reply.

    Attributes:
        output: `agent.chat.output`.
        show_tools: Whether the agent's tool calls are shown.
        client_tools: The names of the tools that the client executes.
    """

    output: str | None = None
    show_tools: bool = False
    client_tools: frozenset[str] = frozenset()
