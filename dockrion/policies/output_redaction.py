"""Redaction and truncation of what an agent sends to its callers.

It masks the matches of configured patterns and truncates texts that are too long, in every event and
in the output, or ends the run with a violation. It protects against leaks in a known form, such as a
key or a card number, also when they are split over tokens. It does not recognize secrets in a form
that no pattern describes (encoded, translated, spelled out), and it does not affect the agent's own
logs or its requests to other services.
"""

from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property
from typing import Any, Literal

import msgspec

from dockrion.events import CUSTOM_PREFIX
from dockrion.json_encoding import NOT_ENCODABLE, NotJSON
from dockrion.policies.patterns import Masker, Patterns

STREAMED = ("token", "reasoning")  # types whose texts arrive in pieces
_LIMITED = {
    "message": "content",
    "tool_call": "arguments",
    "tool_result": "result",
    "input_requested": "prompt",
}
MAX_STREAMS = 100  # texts of one run that may be open at once
Fields = dict[str, Any]
_StreamKey = tuple[str, str | None, str | None]  # event type, message id, source
_MATCHED = "the agent's output matches policies.safety.redact_patterns"
_TOO_LONG = "the agent's output is longer than policies.safety.max_output_chars"


class OutputPolicy:
    """The limits on agents' output, compiled once for all runs.

    Args:
        redact_patterns: Regular expressions whose matches are masked.
        max_output_chars: The length, in characters, to which texts are truncated; None for no limit.
        halt_on_violation: Whether a match or a text that is too long ends the run.
        on_hit: Called for each text that is masked, and once for each run with texts that are truncated; from
            any thread.

    Raises:
        BadPattern: A pattern cannot be used.
    """

    def __init__(
        self,
        redact_patterns: Sequence[str],
        *,
        max_output_chars: int | None = None,
        halt_on_violation: bool = False,
        on_hit: Callable[[Literal["redaction", "truncation"]], object] = lambda _kind: None,
    ) -> None:
        self.patterns = Patterns(redact_patterns)
        self.max_output_chars = max_output_chars
        self.halt_on_violation = halt_on_violation
        self.on_hit = on_hit

    @cached_property
    def uncounted(self) -> "OutputPolicy":
        """The same rules without `on_hit`, for copies of texts that are counted themselves."""
        policy = copy(self)
        policy.on_hit = lambda _kind: None
        return policy

    def new_filter(self) -> "RunTextFilter":
        """Return a filter for the texts of one run."""
        return RunTextFilter(self)


class RunTextFilter:
    """Filters the texts of one run.

    The tokens of one message and source together are one text, as is its reasoning; those without a message
    and a source are one text, too, and so are the content blocks of a list, which clients are shown as one.
    Every other string is a text by itself. An event's type and an error's code are identifiers and remain as
    they are.

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
        self._streams: dict[_StreamKey, Masker] = {}  # the least recently used one first
        self._chars = dict.fromkeys(STREAMED, 0)
        self._ended = False

    def mask_fields(self, event_type: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Return an event's fields with every string masked, and what the agent says truncated. Thread-safe.

        Raises:
            NotJSON: A field contains malformed JSON, or is nested too deeply.
        """
        try:
            if event_type.startswith(CUSTOM_PREFIX):  # the agent chooses its field names, so mask them, too
                return dict(self.mask(fields))
            limited = _LIMITED.get(event_type)
            return {
                name: self._truncate_all(self.mask(value)) if name == limited else self.mask(value)
                for name, value in fields.items()
            }
        except (RecursionError, ValueError):
            raise NotJSON("the event", NOT_ENCODABLE) from None

    def filter_streamed(self, event_type: str, fields: Fields) -> list[Fields]:
        """Return the fields of the events to emit for a piece of a streamed text.

        They have what can be released of the piece's own text so far, if that is anything; and before it the
        rest of another text, if that ends because too many are open.

        Called for one piece at a time. Pieces after `end_streams` are dropped.

        Args:
            event_type: One of `STREAMED`.
            fields: The event's fields.
        """
        if self._ended:
            return []
        key = event_type, fields.get("message_id"), fields.get("source")
        released = []
        masker = self._streams.pop(key, None)
        if masker is None:
            masker = Masker(self._policy.patterns)
            if len(self._streams) >= MAX_STREAMS:
                oldest = next(iter(self._streams))
                released = self._end_stream(oldest, self._streams.pop(oldest))
        self._streams[key] = masker
        before = masker.matched
        content = masker.feed(fields["content"])
        self._check_match(matched=masker.matched and not before)
        content = self._limit(event_type, content)
        if content or not fields["content"] or fields.get("finish_reason") is not None:
            others = {name: self.mask(value) for name, value in fields.items() if name != "content"}
            released.append(fields | others | {"content": content})
        return released

    def end_streams(self) -> list[tuple[str, Fields]]:
        """End all streamed texts; return the events, as (type, fields), for what was held back of them."""
        streams, self._streams, self._ended = self._streams, {}, True
        return [
            (key[0], fields) for key, masker in streams.items() for fields in self._end_stream(key, masker)
        ]

    def filter_output(self, value: Any) -> Any:
        """Return an output with every string masked and truncated. Called after `end_streams`.

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
                return list(map(self.mask, self._mask_across_blocks(value)))
        return value

    def _mask_across_blocks(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return the values of a list, with matches masked that are split over texts of content blocks."""
        blocks = [index for index, value in enumerate(values) if _is_text_block(value)]
        if len(blocks) <= 1:
            return values
        masker = Masker(self._policy.patterns)
        texts = [masker.feed(values[index]["text"]) for index in blocks]
        texts[-1] += masker.end()
        if not masker.matched:
            return values
        self._check_match(matched=True)
        masked = {index: {**values[index], "text": text} for index, text in zip(blocks, texts, strict=True)}
        return [masked.get(index, value) for index, value in enumerate(values)]

    def _end_stream(self, key: _StreamKey, masker: Masker) -> list[Fields]:
        """Return the fields of the event for the text that one stream holds back, if there is any."""
        event_type, message_id, source = key
        before = masker.matched
        held = masker.end()
        self._check_match(matched=masker.matched and not before)
        held = self._limit(event_type, held)
        if not held:
            return []
        fields: Fields = {"content": held} | ({"finish_reason": None} if event_type == "token" else {})
        origin = {"message_id": message_id, "source": source}
        return [fields | {name: self.mask(value) for name, value in origin.items() if value is not None}]

    def _limit(self, event_type: str, text: str) -> str:
        limit = self._policy.max_output_chars
        if limit is None:
            return text
        left = limit - self._chars[event_type]
        self._chars[event_type] += len(text)
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
            case msgspec.Raw() if limit is not None:
                return msgspec.Raw(msgspec.json.encode(self._truncate_all(msgspec.json.decode(value))))
        return value

    def _truncate(self, text: str, limit: int) -> str:
        if len(text) <= limit:
            return text
        if not self.truncated:
            self.truncated = True
            self._policy.on_hit("truncation")
        if self._policy.halt_on_violation:
            self.violation = self.violation or _TOO_LONG
        return text[:limit]

    def _check_match(self, *, matched: bool) -> None:
        if not matched:
            return
        self._policy.on_hit("redaction")
        if self._policy.halt_on_violation:
            self.violation = self.violation or _MATCHED


def _is_text_block(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("text"), str)
