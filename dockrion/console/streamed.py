"""Recognizes messages that repeat the tokens before them."""

from collections.abc import Hashable
from typing import Any, TypeVar

from dockrion.client import Message, Token

_MAX_MESSAGES = 1_000
_MAX_SOURCES = 20
_MAX_TOKENS = 10_000
_MAX_TEXT_LENGTH = 100_000  # characters
K = TypeVar("K", bound=Hashable)


class Streamed:
    """The tokens that were shown: a message repeats those with its id, or the latest of its source."""

    def __init__(self) -> None:
        self._messages: dict[str, None] = {}
        self._texts: dict[str, list[str]] = {}  # the tokens of each source

    def add(self, token: Token) -> None:
        """Add a token."""
        if token.message_id and token.message_id not in self._messages:
            _add(self._messages, token.message_id, None, _MAX_MESSAGES)
        source = token.source or ""
        tokens = self._texts.get(source)
        if tokens is None:
            tokens = []
            _add(self._texts, source, tokens, _MAX_SOURCES)
        tokens.append(token.content)
        if len(tokens) > _MAX_TOKENS:
            tokens[:] = ["".join(tokens)[-_MAX_TEXT_LENGTH:]]

    def repeats(self, message: Message, text: str) -> bool:
        """Return whether a message repeats tokens.

        Args:
            message: The message.
            text: Its text.
        """
        latest = "".join(self._texts.pop(message.source or "", ()))
        return message.message_id in self._messages or (bool(text) and latest.endswith(text))


def _add(latest: dict[K, Any], key: K, value: Any, limit: int) -> None:
    """Add a value, and forget the oldest one over the limit."""
    latest[key] = value
    if len(latest) > limit:
        del latest[next(iter(latest))]
