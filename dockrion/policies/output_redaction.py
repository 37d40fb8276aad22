"""Redaction and truncation of what an agent sends to its callers.

It masks the matches of configured patterns and truncates texts that are too long, in every event and
in the output, or ends the run with a violation. It protects against leaks in a known form, such as a
key or a card number, also when they are split over tokens. It does not recognize secrets in a form
that no pattern describes (encoded, translated, spelled out), and it does not affect the agent's own
logs or its requests to other services.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from dockrion.events import CUSTOM_PREFIX
from dockrion.json_encoding import NOT_ENCODABLE, NotJSON
from dockrion.policies.patterns import Masker, Patterns

_MATCHED = "the agent's output matches policies.safety.redact_patterns"
_TOO_LONG = "the agent's output is longer than policies.safety.max_output_chars"


class OutputPolicy:
    """The limits on agents' output, compiled once for all runs.

    Args:
        redact_patterns: Regular expressions whose matches are masked.
        max_output_chars: The length, in characters, to which texts are truncated; None for no limit.
        halt_on_violation: Whether a match or a text that is too long ends the run.

    Raises:
        BadPattern: A pattern cannot be used.
    """

    def __init__(
        self,
        redact_patterns: Sequence[str],
        *,
        max_output_chars: int | None = None,
        halt_on_violation: bool = False,
    ) -> None:
        self.patterns = Patterns(redact_patterns)
        self.max_output_chars = max_output_chars
        self.halt_on_violation = halt_on_violation

    def new_filter(self) -> "RunTextFilter":
        """Return a filter for the texts of one run."""
        return RunTextFilter(self)


class RunTextFilter:
    """Filters the texts of one run.

    All tokens together are one text; every other string is a text by itself. An event's type and an
    error's code are identifiers and remain as they are.

    Args:
        policy: The policy to apply.

    Attributes:
        violation: Why the run has to end, or None.
        truncated: Whether a text was truncated.
    """

    def __init__(self, policy: OutputPolicy) -> None:
        self.violation: str | None = None
        self.truncated = False
        self._policy = policy
        self._tokens = Masker(policy.patterns)
        self._token_chars = 0
        self._tokens_ended = False

    def mask_fields(self, event_type: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Return an event's fields with every string masked. Thread-safe.

        Raises:
            NotJSON: A field contains malformed JSON, or is nested too deeply.
        """
        try:
            if event_type.startswith(CUSTOM_PREFIX):  # the agent chooses its field names, so mask them, too
                return dict(self.mask(fields))
            return {name: self.mask(value) for name, value in fields.items()}
        except (RecursionError, ValueError):
            raise NotJSON("the event", NOT_ENCODABLE) from None

    def filter_token(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        """Return a token event with what can be released of the text so far; None if that is nothing.

        Called for one token at a time. Tokens after `end_tokens` are dropped.
        """
        if self._tokens_ended:
            return None
        content = self._tokens.feed(fields["content"])
        self._check_match(matched=self._tokens.matched)
        content = self._limit_tokens(content)
        if fields["content"] and not content and fields["finish_reason"] is None:
            return None
        return fields | {"content": content, "finish_reason": self.mask(fields["finish_reason"])}

    def end_tokens(self) -> str:
        """Return the text that was held back; there are no more tokens."""
        if self._tokens_ended:
            return ""
        self._tokens_ended = True
        held = self._tokens.end()
        self._check_match(matched=self._tokens.matched)
        return self._limit_tokens(held)

    def filter_output(self, value: Any) -> Any:
        """Return an output with every string masked and truncated. Called after `end_tokens`.

        Raises:
            ValueError: The value contains malformed JSON.
            RecursionError: It is nested too deeply.
        """
        return self._truncate_all(self.mask(value))

    def mask(self, value: Any) -> Any:
        """Return a value with every string in it masked, keys included. Thread-safe.

        Args:
            value: A JSON value, which may contain `msgspec.Raw`.

        Raises:
            ValueError: The value contains malformed JSON.
            RecursionError: It is nested too deeply.
        """
        match value:
            case str():
                masked, matched = self._policy.patterns.mask(value)
                self._check_match(matched=matched)
                return masked
            case msgspec.Raw():
                return msgspec.Raw(msgspec.json.encode(self.mask(msgspec.json.decode(value))))
            # `map`, since a comprehension takes another stack frame and so reaches half as deep.
            case dict():
                return dict(zip(map(self.mask, value), map(self.mask, value.values()), strict=True))
            case list() | tuple():
                return list(map(self.mask, value))
        return value

    def _limit_tokens(self, text: str) -> str:
        limit = self._policy.max_output_chars
        if limit is None:
            return text
        left = limit - self._token_chars
        self._token_chars += len(text)
        return self._truncate(text, max(left, 0))

    def _truncate_all(self, value: Any) -> Any:
        limit = self._policy.max_output_chars
        match value:
            case str() if limit is not None:
                return self._truncate(value, limit)
            case dict():
                return dict(zip(value, map(self._truncate_all, value.values()), strict=True))
            case list():
                return list(map(self._truncate_all, value))
        return value

    def _truncate(self, text: str, limit: int) -> str:
        if len(text) <= limit:
            return text
        self.truncated = True
        if self._policy.halt_on_violation:
            self.violation = self.violation or _TOO_LONG
        return text[:limit]

    def _check_match(self, *, matched: bool) -> None:
        if matched and self._policy.halt_on_violation:
            self.violation = self.violation or _MATCHED
