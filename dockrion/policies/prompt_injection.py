"""Detection of well-known prompt-injection phrasings in request bodies.

It stops callers who copy a published phrasing ("Ignore all previous instructions"), even if disguised
by look-alike characters, invisible characters or white space. It does not stop injection as such: any
rewording, translation or encoding passes, and so does text that the agent reads elsewhere.
What an agent must never do has to be made impossible for it (see `policies.tools`).
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

from dockrion.json_schema import Violation, json_path
from dockrion.policies.injection_phrasings import PHRASINGS

_MAX_VIOLATIONS = 20
_MAX_PATH = 300
_SEPARATOR = "\0"
_SPACES = "\t\n\v\f\r"
_CONTROLS = (*range(0x01, 0x09), *range(0x0E, 0x20), 0x7F)  # except the separator
_ASCII: dict[int, str | None] = {
    **{code: " " if chr(code) in _SPACES else chr(code).lower() for code in range(128)},
    **dict.fromkeys(_CONTROLS),
}
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")
# Where characters with an ASCII or an empty equivalent are; leaves out the large scripts between.
_BLOCKS = (
    *((0x80, 0x3400), (0xA640, 0xAC00), (0xF900, 0x10000)),
    *((0x10780, 0x107C0), (0x1BC00, 0x1F200), (0x1FBF0, 0x1FC00), (0xE0000, 0xE1000)),
)
# C1 controls, and Default_Ignorable_Code_Point of DerivedCoreProperties.txt (Unicode): they can hide
# between the letters of a word.
_INVISIBLE = re.compile(
    "[\x80-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_QUOTES = {"‘": "'", "’": "'", "“": '"', "”": '"'}  # noqa: RUF001  on purpose


def find_injections(value: Any) -> list[Violation]:
    """Return the first phrasings found in any string of a JSON value, keys included.

    Args:
        value: The decoded value, nested to any depth.
    """
    strings = [text for _, _, text in _strings(value)]
    text = _SEPARATOR.join(strings)
    if text.count(_SEPARATOR) >= max(len(strings), 1):
        text = _SEPARATOR.join(each.replace(_SEPARATOR, "") for each in strings)
    matches = islice(_matches(normalize(text)), _MAX_VIOLATIONS)
    return [_violation(value, index, name) for index, name in sorted(set(matches))]


def normalize(text: str) -> str:
    """Return a text in the canonical form that phrasings are matched against.

    Compatibility characters (Unicode NFKC), upper case, quotes and white space become plain ASCII;
    invisible characters are removed, and characters without an ASCII form become question marks.
    """
    if not text.isascii():
        text = _NON_ASCII.sub(lambda run: _to_ascii(run[0]), text)
    text = text.translate(_ASCII)
    while "  " in text:  # each pass halves the runs
        text = text.replace("  ", " ")
    return text


def _to_ascii(text: str) -> str:
    return text.translate(_ascii_equivalents()).encode("ascii", "replace").decode()


@cache
def _ascii_equivalents() -> dict[int, str]:
    """Return the characters that have an ASCII or an empty equivalent, with it."""
    equivalents = {}
    for first, end in _BLOCKS:
        for char in map(chr, range(first, end)):
            plain = _plain(char)
            if plain.isascii():
                equivalents[ord(char)] = plain
    return equivalents


def _plain(char: str) -> str:
    if _INVISIBLE.match(char):
        return ""
    if char.isspace():
        return " "
    return _QUOTES.get(char) or unicodedata.normalize("NFKC", char).casefold()


def _by_prefix() -> dict[str, list[tuple[re.Pattern[str], str]]]:
    """Return the expressions, grouped by the shortest opening that theirs starts with.

    A substring search for that prefix rules out most groups. Each opening has its own expression,
    since `re` searches fast for one that starts with literal text.
    """
    expressions = sorted(
        (opening, phrasing.rest, phrasing.name) for phrasing in PHRASINGS for opening in phrasing.openings
    )
    groups: dict[str, list[tuple[re.Pattern[str], str]]] = {}
    prefix = expressions[0][0]
    for opening, rest, name in expressions:
        if not opening.startswith(prefix):
            prefix = opening
        groups.setdefault(prefix, []).append((re.compile(re.escape(opening) + rest), name))
    return groups


_EXPRESSIONS = _by_prefix()


def _matches(text: str) -> Iterator[tuple[int, str]]:
    """Yield the index of the string and the name of the phrasing for each match in a joined text."""
    for prefix in [prefix for prefix in _EXPRESSIONS if prefix in text]:
        for expression, name in _EXPRESSIONS[prefix]:
            for match in expression.finditer(text):
                start = match.start()
                if start == 0 or not text[start - 1].isalnum():
                    yield text.count(_SEPARATOR, 0, start), name


def _violation(value: Any, index: int, name: str) -> Violation:
    parent, key, _ = next(islice(_strings(value), index, None))
    keys: list[str | int] = []
    while key is not None:
        keys.append(key)
        parent, key = parent or (None, None)
    path = json_path(keys[::-1])[:_MAX_PATH]  # keys come from the caller and may be megabytes long
    return Violation(path, f"{name!r} is a known prompt-injection phrasing; reword it")


_Path = tuple[Any, str | int]  # a linked list: the path of the parent (None for the root), and a key


def _strings(value: Any) -> Iterator[tuple[_Path | None, str | int | None, str]]:
    """Yield every string of a JSON value, after its parent's path and its key.

    Iterative, since a value may be nested deeper than Python can recurse.
    """
    if isinstance(value, str):
        yield None, None, value
    stack: list[tuple[_Path | None, Iterator[tuple[str | int, Any]]]] = [(None, _items(value))]
    while stack:
        path, items = stack[-1]
        for key, item in items:
            if isinstance(key, str):
                yield path, key, key
            if isinstance(item, str):
                yield path, key, item
            elif isinstance(item, dict | list):
                stack.append(((path, key), _items(item)))
                break
        else:
            stack.pop()


def _items(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value) if isinstance(value, list) else iter(())
