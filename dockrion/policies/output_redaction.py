"""`policies.safety` on what agents say: texts are masked and cut, or the run is ended."""

from typing import Any

import msgspec

from dockrion.dockfile.safety_structs import SafetySpec
from dockrion.errors import InvalidOutput, PolicyBroken
from dockrion.events import CUSTOM_PREFIX
from dockrion.json_encoding import NotJSON, encode
from dockrion.policies.patterns import Masking, Patterns
from dockrion.runs.outcome import (
    Cancelled,
    Completed,
    Failed,
    Outcome,
)

_MATCHED = "the agent said what policies.safety.redact_patterns hides"
_UNREADABLE = "it holds what is no JSON, or is nested too deeply"
_TOO_LONG = "the agent said more than policies.safety.max_output_chars"


class Safety:
    """What the Dockfile says of texts, compiled once for all runs.

    Args:
        spec: The section.

    Raises:
        BadPattern: A pattern cannot be used.
    """

    def __init__(self, spec: SafetySpec) -> None:
        self.patterns = Patterns(spec.redact_patterns)
        self.most_characters = spec.max_output_chars
        self.halts = spec.halt_on_violation

    def texts(self) -> "Texts":
        """Return what the texts of one more run go through."""
        return Texts(self)


class Texts:
    """The texts of one run.

    Tokens are one text, in the order in which they are given; every other string is one of its own.
    An event's type and an error's code are no texts but names, whose form is fixed.

    Args:
        safety: What holds for them.

    Attributes:
        violation: Why the run has to end, None as long as it may go on.
    """

    def __init__(self, safety: Safety) -> None:
        self.violation: str | None = None
        self._safety = safety
        self._masking = Masking(safety.patterns)
        self._said = 0
        self._over = False
        self._cut = False

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
            raise NotJSON("the event", _UNREADABLE) from None

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

    def outcome(self, result: Outcome) -> Outcome:
        """Return how the run ends: masked, cut, or as a violation. After `rest`."""
        try:
            result = self._changed(result)
        except (RecursionError, ValueError):
            result = Failed(f"the output cannot be JSON: {_UNREADABLE}", InvalidOutput.code)
        return self.verdict(result)

    def verdict(self, result: Outcome) -> Outcome:
        """Return how the run ends, a violation included if there was one."""
        if self.violation is not None and not isinstance(result, Cancelled):
            return Failed(self.violation, PolicyBroken.code)
        return result

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
                masked, matched = self._safety.patterns.mask(value)
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

    def _changed(self, result: Outcome) -> Outcome:
        match result:
            case Completed():
                output = self._cut_short(self.value(msgspec.json.decode(result.output)))
                metadata = self.value(msgspec.json.decode(encode(result.metadata)))
                if self._cut:
                    metadata |= {"truncated": True}
                return msgspec.structs.replace(result, output=msgspec.json.encode(output), metadata=metadata)
            case Failed():
                return msgspec.structs.replace(
                    result, error=self.value(result.error), details=self.value(result.details)
                )
            case Cancelled():
                return msgspec.structs.replace(result, reason=self.value(result.reason))

    def _next(self, text: str) -> str:
        text = self._masking.feed(text)
        self._note_matched(matched=self._masking.matched)
        return self._up_to_the_most(text)

    def _up_to_the_most(self, text: str) -> str:
        most = self._safety.most_characters
        if most is None:
            return text
        left = most - self._said
        self._said += len(text)
        return self._cut_at(text, max(left, 0))

    def _cut_short(self, value: Any) -> Any:
        most = self._safety.most_characters
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
        self._cut = True
        if self._safety.halts:
            self.violation = self.violation or _TOO_LONG
        return text[:most]

    def _note_matched(self, *, matched: bool) -> None:
        if matched and self._safety.halts:
            self.violation = self.violation or _MATCHED
