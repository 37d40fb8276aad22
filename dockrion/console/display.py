"""Shows the events of a run: its text, progress bars, steps, and the output at the end."""

import shutil
from collections.abc import Mapping
from typing import Any, TextIO

import msgspec

from dockrion.client import Cancelled, Checkpoint, Complete, Custom, Error, Event, Gap, Progress, Step, Token

CLEAR_LINE = "\r\x1b[K"
_BAR_CELLS = 20
_MAX_VALUE_LENGTH = 300
_TEXT = "\n\t"


def printable(text: str, allowed: str = "") -> str:
    """Replace what a terminal would interpret in a text that others have sent.

    Args:
        text: The text.
        allowed: Characters that are kept though they are not printable.
    """
    return "".join(
        each if each.isprintable() or each in allowed else "\N{REPLACEMENT CHARACTER}" for each in text
    )


class Display:
    """Shows events one by one.

    Args:
        out: For the text, the steps and the output.
        err: For failures and other remarks on the run.
    """

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._terminal = out.isatty()
        self._within_line = False
        self._bar = False  # the cursor is in the line of a progress bar

    def show(self, event: Event | Gap) -> None:
        """Show an event."""
        match event:
            case Token(content=content):
                self._text(printable(content, _TEXT))
            case Progress():
                self._progress(event)
            case Step(node_name=name, duration_ms=None):
                self._line(f"* {name}")
            case Step(node_name=name, duration_ms=duration):
                self._line(f"* {name} ({duration:,.0f} ms)")
            case Checkpoint(name=name, data=data):
                self._line(f"* checkpoint {name}: {_short(data)}")
            case Custom(name=name, data=data):
                self._line(f"* {name}: {_short(data)}")
            case Gap(requested=first, first_available=available) if available < first:
                self._line(
                    f"! this run has no event {first - 1}; another run had its id. From its beginning:"
                )
            case Gap(requested=first, first_available=available):
                self._line(f"! events {first} to {available - 1} are no longer stored")
            case Complete(output=output):
                self._line(msgspec.json.format(msgspec.json.encode(output)).decode())
            case Error(code=code, error=error):
                self.show_status(f"failed: {error} ({code})")
            case Cancelled(reason=reason):
                self.show_status(f"cancelled: {reason}" if reason else "cancelled")
            case _:
                return
        self._out.flush()

    def show_status(self, text: str) -> None:
        """Show a remark on a line of its own, separate from the agent's output."""
        self._end_line()
        self._out.flush()
        self._err.write(f"{printable(text, _TEXT)}\n")
        self._err.flush()

    def _text(self, text: str) -> None:
        self._clear_bar()
        self._out.write(text)
        if text:
            self._within_line = not text.endswith("\n")

    def _line(self, text: str) -> None:
        self._end_line()
        self._out.write(f"{printable(text, _TEXT)}\n")

    def _progress(self, event: Progress) -> None:
        share = min(max(event.progress, 0.0), 1.0)
        text = printable(event.step + (f": {event.message}" if event.message else ""))
        if not self._terminal:
            self._line(f"{share:4.0%} {text}")
            return
        self._end_line()
        full = round(share * _BAR_CELLS)
        line = f"[{'#' * full}{'.' * (_BAR_CELLS - full)}] {share:4.0%} {text}"
        self._out.write(line[: shutil.get_terminal_size().columns - 1])
        self._bar = share < 1.0
        if not self._bar:
            self._out.write("\n")

    def _end_line(self) -> None:
        self._clear_bar()
        if self._within_line:
            self._out.write("\n")
            self._within_line = False

    def _clear_bar(self) -> None:
        if self._bar:
            self._out.write(CLEAR_LINE)
            self._bar = False


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and not value:
        return "-"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}…"
