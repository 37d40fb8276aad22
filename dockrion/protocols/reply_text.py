"""The text of a reply, collected from a run's events for clients that get it as a whole."""

from collections.abc import Sequence

import msgspec

from dockrion.protocols.growing_text import PARAGRAPH, GrowingText
from dockrion.protocols.reply import ASSISTANT_ROLES, ShownMessages, message_text
from dockrion.protocols.token_runs import EMPTY_TEXT, Origin


class _Message(msgspec.Struct):
    role: str
    content: msgspec.Raw
    message_id: str = ""
    source: str = ""


_decode_message = msgspec.json.Decoder(_Message).decode


class ReplyText(msgspec.Struct, frozen=True):
    """What an agent has said so far. Messages are separated by an empty line.

    Attributes:
        text: Its text.
        messages: Which messages it has.
    """

    text: GrowingText = GrowingText()
    messages: ShownMessages = ShownMessages()

    @property
    def json(self) -> bytes | None:
        """The text as JSON, None if the agent has said nothing."""
        return None if self.text.is_empty else self.text.json()

    def continued_by(self, origin: Origin) -> bool:
        """Return whether tokens go on with a message that it has."""
        return self.messages.continued_by(origin.message_id or "", origin.source or "")

    def after_tokens(self, contents: Sequence[bytes], origin: Origin) -> "ReplyText":
        """Return the text after consecutive tokens with the same origin."""
        contents = [content for content in contents if content != EMPTY_TEXT]
        if not contents:
            return self
        if self.continued_by(origin):
            return self.with_pieces(contents)
        messages = self.messages.after_token(origin.message_id or "", origin.source or "")
        return ReplyText(self._begun(), messages).with_pieces(contents)

    def with_pieces(self, contents: Sequence[bytes]) -> "ReplyText":
        """Return the text with pieces of the message that it ends with; each is the JSON of a string."""
        return ReplyText(self.text.with_pieces(contents), self.messages)

    def after_message(self, data: bytes) -> "ReplyText":
        """Return the text after a `message` event, given as JSON."""
        message = _decode_message(data)
        if message.role not in ASSISTANT_ROLES:
            return self
        messages = self.messages.after_message(message.message_id, message.source)
        text = message_text(bytes(message.content))
        if self.messages.include(message.message_id, message.source):
            return ReplyText(self.text, messages)
        return self if text == EMPTY_TEXT else ReplyText(self._begun(), messages).with_pieces([text])

    def after_tool_call(self, source: str) -> "ReplyText":
        """Return the text after a tool call: what its source says next is another message."""
        return ReplyText(self.text, self.messages.after_tool_call(source))

    def _begun(self) -> GrowingText:
        """Return the text before the first piece of another message."""
        return self.text if self.text.is_empty else self.text.with_pieces([PARAGRAPH])
