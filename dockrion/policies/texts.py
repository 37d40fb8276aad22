"""`policies.safety` on what agents say: texts are masked and cut, or the run is ended."""

from typing import Any

import msgspec

from dockrion.dockfile.safety_structs import SafetySpec
from dockrion.errors import InvalidOutput, PolicyBroken
from dockrion.jsonable import NotJSON
from dockrion.outcome import Cancelled, Completed, Failed, Outcome
from dockrion.policies.patterns import Masking, Patterns

_MATCHED = "the agent said what policies.safety.redact_patterns hides"
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
        self._cut = False

    def fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return an event's fields, masked. From any thread.

        Raises:
            NotJSON: A field is nested too deeply.
        """
        try:
            return {name: self._masked(value) for name, value in fields.items()}
        except RecursionError:
            raise NotJSON("the event", "it is nested too deeply") from None

    def token(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        """Return what can be said of a token now, None for nothing. One at a time."""
        said = self._next(fields["content"])
        if fields["content"] and not said and fields["finish_reason"] is None:
            return None
        return fields | {"content": said, "finish_reason": self._masked(fields["finish_reason"])}

    def rest(self) -> str:
        """Return what was held back of the tokens, which are over."""
        held = self._masking.end()
        self._note_matched(matched=self._masking.matched)
        return self._up_to_the_most(held)

    def outcome(self, result: Outcome) -> Outcome:
        """Return how the run ends: masked, cut, or as a violation. After `rest`."""
        try:
            result = self._changed(result)
        except RecursionError:
            return Failed("the output is nested too deeply", InvalidOutput.code)
        if self.violation is not None and not isinstance(result, Cancelled):
            return Failed(self.violation, PolicyBroken.code)
        return result

    def _changed(self, result: Outcome) -> Outcome:
        match result:
            case Completed():
                output = self._cut_short(self._masked(msgspec.json.decode(result.output)))
                metadata = self._masked(result.metadata)
                if self._cut:
                    metadata |= {"truncated": True}
                return msgspec.structs.replace(result, output=msgspec.json.encode(output), metadata=metadata)
            case Failed():
                return msgspec.structs.replace(
                    result, error=self._masked(result.error), details=self._masked(result.details)
                )
            case Cancelled():
                return msgspec.structs.replace(result, reason=self._masked(result.reason))

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

    def _masked(self, value: Any) -> Any:
        match value:
            case str():
                masked, matched = self._safety.patterns.mask(value)
                self._note_matched(matched=matched)
                return masked
            case msgspec.Raw():
                return msgspec.Raw(msgspec.json.encode(self._masked(msgspec.json.decode(value))))
            case dict():
                return {self._masked(name): self._masked(item) for name, item in value.items()}
            case list() | tuple():
                return [self._masked(item) for item in value]
        return value

    def _cut_short(self, value: Any) -> Any:
        most = self._safety.most_characters
        match value:
            case str() if most is not None:
                return self._cut_at(value, most)
            case dict():
                return {name: self._cut_short(item) for name, item in value.items()}
            case list():
                return [self._cut_short(item) for item in value]
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
