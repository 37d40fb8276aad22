"""Colours, and what others may not do to a terminal."""

import os
import re
from collections.abc import Mapping
from typing import TextIO

from dockrion.console.screen import printable

DIM, BOLD, RED, GREEN, YELLOW, CYAN = "2", "1", "31", "32", "33", "36"
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")  # SGR sequences (ECMA-48, 8.3.117)


def shows_colours(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream is a terminal that is to show colours (https://no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, style: str, *, colours: bool) -> str:
    """Return text in a style, if colours are shown."""
    return f"\x1b[{style}m{text}\x1b[0m" if colours and style and text else text


def without_colours(text: str) -> str:
    """Return text without its own colours: agents print for a terminal that is theirs."""
    return _COLOURS.sub("", text)


def neutralized(text: str) -> str:
    """Return text of several lines in which nothing is left that a terminal would interpret."""
    return printable(text, "\n\t")
