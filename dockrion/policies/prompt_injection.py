"""Finding the well-known phrasings of prompt injection in what callers send.

It catches who copies them, nothing more: any rewording passes.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

from dockrion.json_schema import Violation, json_path
from dockrion.policies.phrasings import PHRASINGS

_MOST_FOUND = 20
_MAX_PATH = 300
_SEPARATOR = "\0"
_SPACES = "\t\n\v\f\r"
_CONTROLS = (*range(0x01, 0x09), *range(0x0E, 0x20), 0x7F)  # but for the separator
_ASCII: dict[int, str | None] = {
    **{code: " " if chr(code) in _SPACES else chr(code).lower() for code in range(128)},
    **dict.fromkeys(_CONTROLS),
}
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")
# Where there are characters that stand for ASCII, or for nothing; not the large scripts between.
_BLOCKS = (
    *((0x80, 0x3400), (0xA640, 0xAC00), (0xF900, 0x10000)),
    *((0x10780, 0x107C0), (0x1BC00, 0x1F200), (0x1FBF0, 0x1FC00), (0xE0000, 0xE1000)),
)
# C1 controls, and Default_Ignorable_Code_Point of DerivedCoreProperties.txt: what may stand
# between the letters of a word without being seen.
_UNSEEN = re.compile(
    "[\x80-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_QUOTES = {"‘": "'", "’": "'", "“": '"', "”": '"'}  # noqa: RUF001  they are meant


def found(value: Any) -> list[Violation]:
    """Return the first of the phrasings that are in any string of a JSON value, keys included.

    Args:
        value: The decoded value, however deep.
    """
    strings = [text for _, _, text in _strings(value)]
    text = _SEPARATOR.join(strings)
    if text.count(_SEPARATOR) >= max(len(strings), 1):
        text = _SEPARATOR.join(each.replace(_SEPARATOR, "") for each in strings)
    hits = islice(_hits(normalized(text)), _MOST_FOUND)
    return [_violation(value, index, name) for index, name in sorted(set(hits))]


def normalized(text: str) -> str:
    """Return text in the one form in which phrasings are looked for.

    Compatible characters (Unicode NFKC), upper case, quotes and white space become plain ASCII;
    what cannot be seen is left out, and what has no such form becomes question marks.
    """
    if not text.isascii():
        text = _BEYOND_ASCII.sub(lambda run: _in_ascii(run[0]), text)
    text = text.translate(_ASCII)
    while "  " in text:  # each time half as long
        text = text.replace("  ", " ")
    return text


def _in_ascii(text: str) -> str:
    return text.translate(_beyond_ascii()).encode("ascii", "replace").decode()


@cache
def _beyond_ascii() -> dict[int, str]:
    """Return the characters that become ASCII, or nothing."""
    known = {}
    for first, end in _BLOCKS:
        for char in map(chr, range(first, end)):
            plain = _plain(char)
            if plain.isascii():
                known[ord(char)] = plain
    return known


def _plain(char: str) -> str:
    if _UNSEEN.match(char):
        return ""
    if char.isspace():
        return " "
    return _QUOTES.get(char) or unicodedata.normalize("NFKC", char).casefold()


def _by_gate() -> dict[str, list[tuple[re.Pattern[str], str]]]:
    """Return the expressions, each under the shortest opening that it begins with.

    Each opening has an expression of its own, which then begins with plain text: that is fast to
    look for.
    """
    expressions = sorted(
        (opening, phrasing.rest, phrasing.name) for phrasing in PHRASINGS for opening in phrasing.openings
    )
    gates: dict[str, list[tuple[re.Pattern[str], str]]] = {}
    gate = expressions[0][0]
    for opening, rest, name in expressions:
        if not opening.startswith(gate):
            gate = opening
        gates.setdefault(gate, []).append((re.compile(re.escape(opening) + rest), name))
    return gates


_EXPRESSIONS = _by_gate()
_GATES = tuple(_EXPRESSIONS)


def _hits(text: str) -> Iterator[tuple[int, str]]:
    """Yield which string of a joined text has which phrasing."""
    for gate in [gate for gate in _GATES if gate in text]:
        for expression, name in _EXPRESSIONS[gate]:
            for match in expression.finditer(text):
                start = match.start()
                if start == 0 or not text[start - 1].isalnum():
                    yield text.count(_SEPARATOR, 0, start), name


def _violation(value: Any, index: int, name: str) -> Violation:
    inside, step, _ = next(islice(_strings(value), index, None))
    steps: list[str | int] = []
    while step is not None:
        steps.append(step)
        inside, step = inside or (None, None)
    path = json_path(steps[::-1])[:_MAX_PATH]  # keys are the caller's, too, and may be megabytes
    return Violation(path, f"{name!r} is a phrasing that is refused here; reword it")


_Place = tuple[Any, str | int]  # the place of what it is in, None for the root, and the step from there


def _strings(value: Any) -> Iterator[tuple[_Place | None, str | int | None, str]]:
    """Yield every string of a JSON value, after the place of what it is in and the step from there."""
    if isinstance(value, str):
        yield None, None, value
    opened: list[tuple[_Place | None, Iterator[tuple[str | int, Any]]]] = [(None, _items(value))]
    while opened:
        place, items = opened[-1]
        for step, item in items:
            if isinstance(step, str):
                yield place, step, step
            if isinstance(item, str):
                yield place, step, item
            elif isinstance(item, dict | list):
                opened.append(((place, step), _items(item)))
                break
        else:
            opened.pop()


def _items(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value) if isinstance(value, list) else iter(())
