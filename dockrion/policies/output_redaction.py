"""What agents say, masked and cut, or a violation that ends the run."""

from collections.abc import Sequence
from typing import Any

import msgspec

from dockrion.events import CUSTOM_PREFIX
from dockrion.json_encoding import NOT_ENCODABLE, NotJSON
from dockrion.policies.patterns import Masking, Patterns

_MATCHED = "the agent said what policies.safety.redact_patterns hides"
_TOO_LONG = "the agent said more than policies.safety.max_output_chars"


class OutputPolicy:
    """What agents may say, compiled once for all runs.

    Args:
        redact_patterns: Regular expressions whose matches are masked.
        max_output_chars: The length, in characters, at which texts are cut; None for no limit.
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
        """Return the filter for the texts of one more run."""
        return RunTextFilter(self)


class RunTextFilter:
    """Filters the texts of one run.

    Tokens are one text, in the order in which they are given; every other string is one of its own.
    An event's type and an error's code are no texts but names, whose form is fixed.

    Args:
        policy: What holds for them.

    Attributes:
        violation: Why the run has to end, None as long as it may go on.
        truncated: Whether a text of the output was cut.
    """

    def __init__(self, policy: OutputPolicy) -> None:
        self.violation: str | None = None
        self._policy = policy
        self._masking = Masking(policy.patterns)
        self._said = 0
        self._over = False
        self.truncated = False

    def fields(self, event_type: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Return an event's fields, masked. From any thread.

        Raises:
            NotJSON: A field is no JSON after all, or nested too deeply.
        """
        try:
            if event_type.startswith(CUSTOM_PREFIX):  # whose names are the agent's own
                return dict(self.value(fields))
            return {name: self.value(value) for name, value in fields.items()}
        except (RecursionError, ValueError):
            raise NotJSON("the event", NOT_ENCODABLE) from None

    def token(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        """Return what can be said of a token now, None for nothing. One at a time; none after `rest`."""
        if self._over:
            return None
        said = self._next(fields["content"])
        if fields["content"] and not said and fields["finish_reason"] is None:
            return None
        return fields | {"content": said, "finish_reason": self.value(fields["finish_reason"])}

    def rest(self) -> str:
        """Return what was held back of the tokens, which are over."""
        if self._over:
            return ""
        self._over = True
        held = self._masking.end()
        self._note_matched(matched=self._masking.matched)
        return self._up_to_the_most(held)

    def output(self, value: Any) -> Any:
        """Return an output masked, its texts cut. After `rest`.

        Raises:
            ValueError: JSON in it cannot be read.
            RecursionError: It is nested too deeply.
        """
        return self._cut_short(self.value(value))

    def value(self, value: Any) -> Any:
        """Return a value with every string in it masked, keys included. From any thread.

        Args:
            value: Of what JSON knows, and `msgspec.Raw`.

        Raises:
            ValueError: JSON in it cannot be read.
            RecursionError: It is nested too deeply.
        """
        match value:
            case str():
                masked, matched = self._policy.patterns.mask(value)
                self._note_matched(matched=matched)
                return masked
            case msgspec.Raw():
                return msgspec.Raw(msgspec.json.encode(self.value(msgspec.json.decode(value))))
            # Maps: comprehensions would take a frame more, and reach half as deep.
            case dict():
                return dict(zip(map(self.value, value), map(self.value, value.values()), strict=True))
            case list() | tuple():
                return list(map(self.value, value))
        return value

    def _next(self, text: str) -> str:
        text = self._masking.feed(text)
        self._note_matched(matched=self._masking.matched)
        return self._up_to_the_most(text)

    def _up_to_the_most(self, text: str) -> str:
        most = self._policy.max_output_chars
        if most is None:
            return text
        left = most - self._said
        self._said += len(text)
        return self._cut_at(text, max(left, 0))

    def _cut_short(self, value: Any) -> Any:
        most = self._policy.max_output_chars
        match value:
            case str() if most is not None:
                return self._cut_at(value, most)
            case dict():
                return dict(zip(value, map(self._cut_short, value.values()), strict=True))
            case list():
                return list(map(self._cut_short, value))
        return value

    def _cut_at(self, text: str, most: int) -> str:
        if len(text) <= most:
            return text
        self.truncated = True
        if self._policy.halt_on_violation:
            self.violation = self.violation or _TOO_LONG
        return text[:most]

    def _note_matched(self, *, matched: bool) -> None:
        if matched and self._policy.halt_on_violation:
            self.violation = self.violation or _MATCHED
