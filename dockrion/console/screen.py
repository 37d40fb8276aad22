"""Writes to a terminal or a file: lines, the text of several sources at once, a progress bar, a prompt."""

import re
import shutil
import unicodedata
from typing import NamedTuple, TextIO

CLEAR_LINE = "\r\x1b[K"
TEXT = "\n\t\u2028\u2029"
_FAINT, _PLAIN = "\x1b[2m", "\x1b[0m"
_MAX_HELD_LENGTH = 60  # characters
_MAX_HELD_SOURCES = 20
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_WITHOUT_COLUMNS = ("Mn", "Me", "Cf")  # combining characters and joiners
_WIDE = ("W", "F")
# Control characters, lone surrogates, line separators, and the Bidi_Control property (UAX #9): these, and no
# others, make a terminal act, fail to be encoded, or show text in another order than that in which it was
# written. What `str.isprintable` calls unprintable includes spaces, and the joiners and tags of emoji.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def printable(text: str, allowed: str = "") -> str:
    """Replace what a terminal would interpret in a text that others have sent.

    Args:
        text: The text.
        allowed: Characters that are kept though they are not printable.
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in allowed else _REPLACEMENT, text)


def fit(text: str, columns: int) -> str:
    """Return as much of a text, from its start, as a terminal shows in a number of columns."""
    width = 0
    for index, character in enumerate(text):
        width += _columns(character)
        if width > columns:
            return text[:index]
    return text


def _columns(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.category(character) in _WITHOUT_COLUMNS:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1


class Passage(NamedTuple):
    """A text that arrives piece by piece.

    Attributes:
        source: Whose text it is, empty if unknown.
        message_id: The message that it belongs to, if known.
        mark: What stands before each of its lines.
        faint: Whether a terminal shows it faintly.
    """

    source: str = ""
    message_id: str | None = None
    mark: str = ""
    faint: bool = False


class Screen:
    """Writes so that each source's text can be read, though several write at once.

    The text of one source is written as it arrives. What other sources write meanwhile is held back until
    there is a line of it, or something that is not text follows it.

    Args:
        out: For the text and the lines.
        err: For remarks and the prompt.
    """

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._terminal = out.isatty()
        self._passage = Passage()  # the latest that was written
        self._within_line = False
        self._bar = False  # the cursor is in the line of a progress bar
        self._held: dict[str, tuple[Passage, str]] = {}
        self._prompt = ""
        self._prompt_shown = False

    @property
    def can_prompt(self) -> bool:
        """Whether a prompt would be seen."""
        return self._err.isatty()

    def write(self, passage: Passage, text: str) -> None:
        """Write the next piece of a text."""
        text = printable(text, TEXT)
        if self._is_free(passage.source):
            self._release(passage.source)
            self._write(passage, text)
        else:
            self._hold(passage, text)
        self._finish()

    def line(self, text: str, source: str = "", mark: str = "") -> None:
        """Write a line.

        Args:
            text: The line.
            source: Whose it is: the text that this source has written before is written first.
            mark: What stands before it.
        """
        self._release(source)
        self._end_line()
        self._put(printable(f"{mark}{text}\n", TEXT))
        self._finish()

    def remark(self, text: str) -> None:
        """Write a line to `err`."""
        self._end_line()
        self._hide_prompt()
        self._out.flush()
        self._err.write(printable(f"{text}\n", TEXT))
        self._finish()

    def bar(self, share: float, cells: str, text: str) -> None:
        """Show a progress bar on a terminal, and a line elsewhere.

        Args:
            share: What is done, from 0 to 1; 1 ends the bar.
            cells: The bar.
            text: What stands after it.
        """
        if not self._terminal or self._prompt:
            self.line(text)
            return
        self._release("")
        self._end_line()
        self._put(fit(f"{cells} {printable(text)}", shutil.get_terminal_size().columns - 1))
        self._bar = share < 1.0
        if not self._bar:
            self._put("\n")
        self._finish()

    def release(self) -> None:
        """Write what is held back of all sources."""
        for source in tuple(self._held):
            self._release(source)
        self._finish()

    def end_text(self) -> None:
        """Write what is held back, and begin a new line for whatever else writes to the terminal."""
        self.release()
        self._end_line()
        self._finish()

    def prompt(self, text: str) -> None:
        """Show a prompt below all else, until `end_prompt`."""
        self.release()
        self._end_line()
        self._prompt = printable(text)
        self._finish()

    def end_prompt(self, *, entered: bool) -> None:
        """Remove the prompt.

        Args:
            entered: Whether the cursor has left its line already, because the user pressed Enter.
        """
        if not entered:
            self._hide_prompt()
        self._prompt = ""
        self._prompt_shown = False
        self._finish()

    def _is_free(self, source: str) -> bool:
        return not self._prompt and (not self._within_line or self._passage.source == source)

    def _hold(self, passage: Passage, text: str) -> None:
        held, before = self._held.get(passage.source, (passage, ""))
        if held != passage:
            self._release(passage.source)
            before = ""
        text = before + text
        self._held[passage.source] = passage, text
        if len(text) >= _MAX_HELD_LENGTH or "\n" in text:
            self._release(passage.source)
        elif len(self._held) > _MAX_HELD_SOURCES:
            self.release()

    def _release(self, source: str) -> None:
        if source in self._held:
            self._write(*self._held.pop(source))

    def _write(self, passage: Passage, text: str) -> None:
        self._clear_bar()
        if passage != self._passage:
            self._end_line()
            self._passage = passage
        begin, end = (_FAINT, _PLAIN) if passage.faint and self._terminal else ("", "")
        for index, line in enumerate(text.split("\n")):
            if index:
                self._put("\n")
                self._within_line = False
            if line:
                mark = "" if self._within_line else printable(passage.mark)
                self._put(f"{begin}{mark}{line}{end}")
                self._within_line = True
        if self._prompt:
            self._end_line()

    def _end_line(self) -> None:
        self._clear_bar()
        if self._within_line:
            self._put("\n")
            self._within_line = False

    def _clear_bar(self) -> None:
        if self._bar:
            self._put(CLEAR_LINE)
            self._bar = False

    def _put(self, text: str) -> None:
        self._hide_prompt()
        self._out.write(text)

    def _hide_prompt(self) -> None:
        if self._prompt_shown:
            self._err.write(CLEAR_LINE)
            self._err.flush()
            self._prompt_shown = False

    def _finish(self) -> None:
        self._out.flush()
        if self._prompt and not self._prompt_shown:
            self._err.write(self._prompt)
            self._prompt_shown = True
        self._err.flush()
