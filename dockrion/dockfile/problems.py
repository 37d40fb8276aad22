"""What is wrong with a Dockfile, said with the place it stands."""

import json
import re
from collections.abc import Iterable

import msgspec

from dockrion.errors import StartError

# Where a value stands: mapping keys and list indices, from the root.
Keys = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"""[^\s.:"'\[\]]+""")


class Problem(msgspec.Struct, frozen=True):
    """One error or warning.

    Args:
        file: The file as the user named it.
        line: From 1; 0 when the problem is the file itself.
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
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(filter(None, (place, self.path, self.message)))


class DockfileError(StartError):
    """The Dockfile, or a file beside it, is wrong.

    Args:
        problems: Everything that is wrong, in the order of the file.
        warnings: What is odd, too: a misspelt field may be why another is missing.
    """

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = list(problems)
        self.warnings = list(warnings)
        super().__init__("\n".join(map(str, self.problems)))


def dotted(keys: Keys) -> str:
    """Return keys as a reader writes them: `secrets.required[0].name`."""
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        elif _PLAIN_KEY.fullmatch(key) and key.isprintable():
            text += f".{key}" if text else key
        else:
            text += f"[{json.dumps(key)}]"
    return text


def one_line(text: str) -> str:
    """Return text with whatever would break a line, or a terminal, escaped."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def cut(text: str, limit: int = 60) -> str:
    """Return text short enough to be read inside a message."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
