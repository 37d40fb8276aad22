"""Errors and warnings about a Dockfile, each with its position, and helpers that word them."""

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from dockrion.errors import StartError
from dockrion.redaction import Redactor

# Mapping keys and list indices that lead from the root of a document to a value.
KeyPath = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"""[^\s.:"'\[\]]+""")


class Problem(msgspec.Struct, frozen=True):
    """One error or warning.

    Attributes:
        file: The file as the user named it.
        line: From 1; 0 when the problem concerns the file as a whole.
        column: From 1; 0 as above.
        path: The field, such as `streaming.events.allowed`; may be empty.
        message: What is wrong, on one line.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        location = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(filter(None, (location, self.path, self.message)))


class DockfileError(StartError):
    """The Dockfile, or an environment file, is invalid.

    Args:
        problems: Every error, in the order of the file.
        warnings: The warnings, too: a misspelt field may explain why another is missing.
    """

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = list(problems)
        self.warnings = list(warnings)
        super().__init__("\n".join(map(str, self.problems)))


def dotted(keys: KeyPath) -> str:
    """Return a key path in the notation of messages: `secrets.required[0].name`."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        elif _PLAIN_KEY.fullmatch(key) and key.isprintable():
            text += f".{key}" if text else key
        else:
            text += f"[{json.dumps(key)}]"
    return text


def format_value(value: Any, redactor: Redactor) -> str:
    """Return a value for an error message: as JSON, secrets masked, on one short line."""
    # Masked before it is truncated: the beginning of a secret is not recognized.
    text = redactor.mask(json.dumps(redactor.mask_value(value), ensure_ascii=False, default=str))
    return truncate(one_line(text))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean …?` if a known name resembles the name, else the empty string."""
    by_lower = {each.lower(): each for each in known}
    from difflib import get_close_matches  # noqa: PLC0415  memory: most Dockfiles have no such error

    close = get_close_matches(name.lower(), by_lower, n=1)
    return f", did you mean {by_lower[close[0]]}?" if close else ""


def one_line(text: str) -> str:
    """Escape the characters that would break a line or control a terminal."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def truncate(text: str, limit: int = 60) -> str:
    """Cut text that is too long for a message, and mark the cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
