"""From the syntax of Python's `re` to a tree, for what can be matched in linear time."""

import re

from dockrion.policies.regex.syntax import EMPTY, Char, Choice, Edge, Node, Repeat, Sequence, can_be_empty

DEEPEST = 50  # groups within groups

_CHAR_FLAGS = re.IGNORECASE | re.DOTALL | re.ASCII
_FLAGS = {
    "a": re.ASCII,
    "i": re.IGNORECASE,
    "m": re.MULTILINE,
    "s": re.DOTALL,
    "u": re.UNICODE,
    "x": re.VERBOSE,
}
_COMMENT = r"\(\?#(?:\\.|[^)\\])*\)"
_GAP = re.compile(rf"(?:{_COMMENT})*", re.DOTALL)
_VERBOSE_GAP = re.compile(rf"(?:{_COMMENT}|[ \t\n\r\v\f]|#(?:\\.|[^\n\\])*)*", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]+\}|0[0-7]{0,2}|[1-3][0-7]{2}|.)", re.DOTALL
)
_GROUP = re.compile(r"\((?:\?(?:P<[^>]+>|(?P<on>[aimsux]*)(?:-(?P<off>[imsx]+))?(?P<end>[:)])))?")
_REPEAT = re.compile(r"(?:([*+?])|\{(?!\})([0-9]*)(?:(,)([0-9]*))?\})([?+]?)")
_SIGNS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}

_BACKREFERENCE = "a backreference takes too long to match: spell out what may be repeated, or leave it out"
_LOOKAROUND = "looking {} takes too long to match: use \\b, ^ or \\Z, or match more than is needed"
_REFUSED = {
    "(?=": _LOOKAROUND.format("ahead, (?=…),"),
    "(?!": _LOOKAROUND.format("ahead, (?!…),"),
    "(?<=": _LOOKAROUND.format("behind, (?<=…),"),
    "(?<!": _LOOKAROUND.format("behind, (?<!…),"),
    "(?>": "an atomic group is not supported: write (?:…), which is never slow here",
    "(?(": "a condition is not supported: write both cases, (?:…|…)",
    "(?P=": _BACKREFERENCE,
}


class Unsupported(ValueError):
    """A pattern that is wrong or cannot be taken; the message says what to write instead."""


def parse(source: str) -> Node:
    """Return the tree of a pattern.

    Raises:
        Unsupported: It is no pattern of `re`, or not one that can be matched in linear time, or
            it matches where there is nothing to match.
    """
    try:
        flags = re.compile(source).flags
    except re.error as error:
        raise Unsupported(f"not a regular expression: {error}") from None
    except OverflowError as error:
        raise Unsupported(str(error)) from None
    except RecursionError:
        raise Unsupported(_too_deep()) from None
    tree = _Parser(source).choice(flags, 0)
    if can_be_empty(tree):
        raise Unsupported("it matches the empty text, so there is nothing to mask: use + in place of *")
    return tree


class _Parser:
    """Takes apart a pattern that `re` has found to be right."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def choice(self, flags: int, depth: int) -> Node:
        if depth > DEEPEST:
            raise Unsupported(_too_deep())
        options = [self._sequence(flags, depth)]
        while self._source.startswith("|", self._at):
            self._at += 1
            options.append(self._sequence(flags, depth))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self, flags: int, depth: int) -> Node:
        parts: list[Node] = []
        while True:
            self._take(_VERBOSE_GAP if flags & re.VERBOSE else _GAP)
            if self._at == len(self._source) or self._source[self._at] in "|)":
                parts = [part for part in parts if part != EMPTY]
                return parts[0] if len(parts) == 1 else Sequence(tuple(parts))
            if repeat := self._take(_REPEAT):
                parts.append(_repeated(parts.pop(), repeat))
            else:
                parts.append(self._atom(flags, depth))

    def _atom(self, flags: int, depth: int) -> Node:
        char = self._source[self._at]
        if char == "(":
            return self._group(flags, depth)
        if char == "\\":
            return self._escape(flags)
        if found := self._take(_CLASS):
            return _char(found[0], flags)
        self._at += 1
        if char == "^":
            return Edge.LINE_START if flags & re.MULTILINE else Edge.TEXT_START
        if char == "$":
            return Edge.LINE_END if flags & re.MULTILINE else Edge.TEXT_END_OR_LAST_NEWLINE
        return _char("." if char == "." else re.escape(char), flags)

    def _group(self, flags: int, depth: int) -> Node:
        for opening, reason in _REFUSED.items():
            if self._source.startswith(opening, self._at):
                raise Unsupported(reason)
        opened = self._take(_GROUP)
        if opened is None:
            raise Unsupported(f"this group is not supported: {self._source[self._at :][:20]}")
        if opened["end"] == ")":
            return EMPTY  # flags of the whole pattern, which `re` has reported
        inner = self.choice(_changed(flags, opened["on"] or "", opened["off"] or ""), depth + 1)
        self._at += 1
        return inner

    def _escape(self, flags: int) -> Node:
        found = self._take(_ESCAPE)
        if found is None:
            raise Unsupported(f"this escape is not supported: {self._source[self._at :][:20]}")
        escape = found[0]
        words_are_ascii = flags & re.ASCII
        match escape:
            case r"\A":
                return Edge.TEXT_START
            case r"\Z" | r"\z":
                return Edge.TEXT_END
            case r"\b":
                return Edge.ASCII_WORD if words_are_ascii else Edge.WORD
            case r"\B":
                return Edge.NO_ASCII_WORD if words_are_ascii else Edge.NO_WORD
        if len(escape) == 2 and escape[1] in "123456789":  # noqa: PLR2004  the backslash and one digit
            raise Unsupported(_BACKREFERENCE)
        return _char(escape, flags)

    def _take(self, token: re.Pattern[str]) -> re.Match[str] | None:
        found = token.match(self._source, self._at)
        if found:
            self._at = found.end()
        return found


def _char(source: str, flags: int) -> Char:
    return Char(source, int(flags & _CHAR_FLAGS))


def _changed(flags: int, on: str, off: str) -> int:
    if "u" in on:
        flags &= ~re.ASCII
    for letter in on:
        flags |= _FLAGS[letter]
    for letter in off:
        flags &= ~_FLAGS[letter]
    return int(flags)


def _repeated(body: Node, repeat: re.Match[str]) -> Node:
    sign, low, comma, high, manner = repeat.groups()
    if manner == "+":
        raise Unsupported(f"a possessive repeat is not supported: write {repeat[0][:-1]} alone")
    if sign:
        least, most = _SIGNS[sign]
    else:
        least = int(low or 0)
        most = least if not comma else int(high) if high else None
    return Repeat(body, least, most, lazy=manner == "?") if most != 0 and body != EMPTY else EMPTY


def _too_deep() -> str:
    return f"groups are nested too deeply: at most {DEEPEST} within each other"
