"""Shows the events of a run: its text, tool calls, steps, questions, and the output at the end."""

from collections.abc import Mapping
from typing import Any

import msgspec

from dockrion.client import (
    Cancelled,
    Checkpoint,
    Complete,
    Custom,
    Error,
    Event,
    Gap,
    InputReceived,
    InputRequested,
    Message,
    Progress,
    Reasoning,
    Started,
    Step,
    Token,
    ToolCall,
    ToolResult,
    Usage,
)
from dockrion.console.answers import expected
from dockrion.console.screen import Passage, Screen
from dockrion.console.streamed import Streamed

_BAR_CELLS = 20
_MAX_VALUE_LENGTH = 300
_MAX_OPEN_CALLS = 1_000
_REASONING = "~ "
_PREVIOUS_ENDS = {
    "worker_lost": ", since the process that ran it is gone",
    "shutdown": ", since the process that ran it was shut down",
}


class Display:
    """Shows events one by one.

    Args:
        screen: Where they are written.
        output: Where the run's output is written, by default to the screen.
    """

    def __init__(self, screen: Screen, output: Screen | None = None) -> None:
        self._screen = screen
        self._output = output or screen
        self._streamed = Streamed()
        self._calls = 0
        self._open_calls: dict[str, tuple[int, str]] = {}  # their numbers and names, by tool_call_id

    def show(self, event: Event | Gap) -> None:
        """Show an event."""
        match event:
            case Started(attempt=int(attempt), previous=previous):
                self._begin_again(attempt, _PREVIOUS_ENDS.get(str(previous), ""))
            case Token(content=content):
                self._streamed.add(event)
                self._screen.write(_passage(event), content)
            case Reasoning(content=content):
                self._screen.write(_passage(event, _REASONING, faint=True), content)
            case Message():
                self._message(event)
            case ToolCall():
                self._tool_call(event)
            case ToolResult():
                self._tool_result(event)
            case Usage(model=model):
                counts = _counts(msgspec.structs.asdict(event))
                self._line(f"* usage of {model or 'a model'}: {counts}", event)
            case Progress():
                self._progress(event)
            case Step(node_name=name, duration_ms=duration):
                self._line(f"* {name}{_duration(duration)}", event)
            case Checkpoint(name=name, data=data):
                self._screen.line(f"* checkpoint {name}: {_short(data)}")
            case Custom(name=name, data=data):
                self._screen.line(f"* {name}: {_short(data)}")
            case InputRequested():
                self._question(event)
            case InputReceived():
                self._answer(event)
            case Gap():
                self._gap(event)
            case Complete() | Error() | Cancelled():
                self._screen.end_text()
                self._outcome(event)

    def _begin_again(self, attempt: int, reason: str) -> None:
        self._streamed = Streamed()
        self._open_calls.clear()
        self._screen.end_text()
        self._screen.line(f"! begun again{reason}: attempt {attempt}")

    def _message(self, message: Message) -> None:
        text = _text_of(message.content)
        if not text or self._streamed.repeats(message, text):
            return
        mark = _mark(message)
        if message.name and not mark:
            mark = f"[{message.name}] "
        if message.role != "assistant":
            mark += f"{message.role}: "
        self._screen.line(text, message.source or "", mark)

    def _tool_call(self, call: ToolCall) -> None:
        self._calls += 1
        if len(self._open_calls) < _MAX_OPEN_CALLS:
            self._open_calls[call.tool_call_id] = self._calls, call.name
        arguments = "" if call.arguments in ({}, None) else f" {_short(call.arguments)}"
        self._line(f"> {call.name} #{self._calls}{arguments}", call)

    def _tool_result(self, result: ToolResult) -> None:
        number, called = self._open_calls.pop(result.tool_call_id, (None, "tool"))
        name = (result.name or called) + ("" if number is None else f" #{number}")
        failed = " failed" if result.is_error else ""
        self._line(f"< {name}{failed}{_duration(result.duration_ms)}: {_short(result.result)}", result)

    def _progress(self, event: Progress) -> None:
        share = min(max(event.progress, 0.0), 1.0)
        full = round(share * _BAR_CELLS)
        text = event.step + (f": {event.message}" if event.message else "")
        self._screen.bar(share, f"[{'#' * full}{'.' * (_BAR_CELLS - full)}]", f"{share:4.0%} {text}")

    def _question(self, question: InputRequested) -> None:
        self._screen.release()
        until = "" if question.expires_at is None else f"; until {question.expires_at.astimezone():%X}"
        self._screen.remark(f"? {question.prompt}\n  ({expected(question.schema)}{until})")

    def _answer(self, answer: InputReceived) -> None:
        value = "" if answer.value is msgspec.UNSET else f": {_short(answer.value)}"
        by = f" by {answer.source}" if answer.source else ""
        self._screen.line(f"* answered{by}{value}")

    def _gap(self, gap: Gap) -> None:
        first, available = gap.requested, gap.first_available
        if available < first:
            text = f"! this run has no event {first - 1}; another run had its id. From its beginning:"
        else:
            text = f"! events {first} to {available - 1} are no longer stored"
        self._screen.line(text)

    def _outcome(self, event: Complete | Error | Cancelled) -> None:
        match event:
            case Complete(output=output, metadata=metadata):
                self._total(metadata.get("usage"))
                self._output.line(msgspec.json.format(msgspec.json.encode(output)).decode())
            case Error(code=code, error=error):
                self._screen.remark(f"failed: {error} ({code})")
            case Cancelled(reason=reason):
                self._screen.remark(f"cancelled: {reason}" if reason else "cancelled")

    def _total(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        for model, sums in usage.items():
            if isinstance(sums, dict):
                self._screen.line(f"* total usage of {model}: {_counts(sums)}")

    def _line(self, text: str, event: ToolCall | ToolResult | Usage | Step) -> None:
        self._screen.line(text, event.source or "", _mark(event))


def _mark(event: Token | Reasoning | Message | ToolCall | ToolResult | Usage | Step) -> str:
    return f"[{event.source}] " if event.source else ""


def _passage(event: Token | Reasoning, mark: str = "", *, faint: bool = False) -> Passage:
    return Passage(event.source or "", event.message_id or None, _mark(event) + mark, faint)


def _text_of(content: str | list[dict[str, Any]]) -> str:
    """Return a message's text, and its other blocks as JSON."""
    if isinstance(content, str):
        return content
    texts = [block["text"] if isinstance(block.get("text"), str) else _short(block) for block in content]
    return "\n".join(texts)


def _counts(usage: Mapping[str, Any]) -> str:
    counts = {name: usage.get(f"{name}_tokens") for name in ("input", "output", "total")}
    return ", ".join(f"{n:,} {name}" for name, n in counts.items() if isinstance(n, int)) or "unknown"


def _duration(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f" ({milliseconds:,.0f} ms)"


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and not value:
        return "-"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}…"
