"""The output of a response so far, as it is remembered between two events."""

import msgspec

from dockrion.protocols.growing_text import Chain, GrowingText


class Text(msgspec.Struct, frozen=True):
    """A message or reasoning that is being written.

    Attributes:
        index: Its position in the output.
        is_reasoning: Whether it is reasoning.
        delta: The frame of a piece, see `delta_frame`.
        text: What is written so far.
    """

    index: int
    is_reasoning: bool
    delta: bytes
    text: GrowingText = GrowingText()

    @property
    def prefix(self) -> bytes:
        """What the ids of such items begin with."""
        return b"rs" if self.is_reasoning else b"msg"


class ToolRequest(msgspec.Struct, frozen=True):
    """What a model wants of a tool.

    Attributes:
        name: The tool, as JSON.
        arguments: JSON of a string that is the arguments' JSON.
    """

    name: bytes
    arguments: bytes


class Call(ToolRequest, frozen=True):
    """A call whose result is not known yet.

    Attributes:
        index: Its position in the output.
    """

    index: int


class Items(msgspec.Struct, frozen=True):
    """The output so far.

    Attributes:
        begun: How many items have begun.
        texts: The open messages and reasoning, by what they belong to.
        calls: The open calls, by their ids.
        client_calls: The last calls of tools that the client has; it executes those that have no result.
        done: The position and the JSON of each item that is complete.
        replied: Whether a message is among these.
    """

    begun: int = 0
    texts: dict[str, Text] = {}
    calls: tuple[tuple[str, Call], ...] = ()
    client_calls: tuple[tuple[str, ToolRequest], ...] = ()
    done: Chain = ()
    replied: bool = False

    def with_text(self, key: str, text: Text) -> "Items":
        """Return the output with another text under a key that is open."""
        texts = {**self.texts, key: text}
        return Items(self.begun, texts, self.calls, self.client_calls, self.done, self.replied)
