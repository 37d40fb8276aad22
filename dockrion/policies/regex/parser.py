"""A parser for the part of `re`'s syntax that can be matched in linear time, and its syntax tree.

Python's own parser validates each pattern first, so that this one only has to take apart what is valid.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

MAX_DEPTH = 50  # groups within groups

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
_UNSUPPORTED = {
    "(?=": _LOOKAROUND.format("ahead, (?=…),"),
    "(?!": _LOOKAROUND.format("ahead, (?!…),"),
    "(?<=": _LOOKAROUND.format("behind, (?<=…),"),
    "(?<!": _LOOKAROUND.format("behind, (?<!…),"),
    "(?>": "an atomic group is not supported: write (?:…), which is never slow here",
    "(?(": "a condition is not supported: write both cases, (?:…|…)",
    "(?P=": _BACKREFERENCE,
}


class UnsupportedPattern(ValueError):
    """The pattern is malformed or not supported; the message says what to write instead."""


class Assertion(Enum):
    """A condition on a position in the text, which consumes no character."""

    TEXT_START = auto()
    LINE_START = auto()
    TEXT_END = auto()
    TEXT_END_OR_LAST_NEWLINE = auto()
    LINE_END = auto()
    WORD_BOUNDARY = auto()
    NOT_WORD_BOUNDARY = auto()
    ASCII_WORD_BOUNDARY = auto()
    NOT_ASCII_WORD_BOUNDARY = auto()


@dataclass(frozen=True)
class Char:
    """One character.

    Attributes:
        source: An expression in the syntax of `re` for the characters it may be.
        flags: The flags of `re` that apply to the expression.
    """

    source: str
    flags: int


@dataclass(frozen=True)
class Sequence:
    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Choice:
    """Alternatives, the first that leads to a match preferred."""

    options: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    """A repeated body: as many times as possible or, if lazy, as few."""

    body: "Node"
    least: int
    most: int | None
    lazy: bool


Node = Assertion | Char | Sequence | Choice | Repeat
EMPTY = Sequence(())


def can_be_empty(node: Node) -> bool:
    """Tell whether a match may consume no character."""
    match node:
        case Assertion():
            return True
        case Char():
            return False
        case Sequence(parts):
            return all(map(can_be_empty, parts))
        case Choice(options):
            return any(map(can_be_empty, options))
        case Repeat(body, least):
            return not least or can_be_empty(body)


def is_always_empty(node: Node) -> bool:
    """Tell whether every match consumes no character."""
    match node:
        case Assertion():
            return True
        case Char():
            return False
        case Sequence(parts) | Choice(parts):
            return all(map(is_always_empty, parts))
        case Repeat(body):
            return is_always_empty(body)


def parse(source: str) -> Node:
    """Return the syntax tree of a pattern.

    Raises:
        UnsupportedPattern: `re` rejects the pattern, or it cannot be matched in linear time, or it
            matches the empty text.
    """
    try:
        flags = re.compile(source).flags
    except re.error as error:
        raise UnsupportedPattern(f"not a regular expression: {error}") from None
    except OverflowError as error:
        raise UnsupportedPattern(str(error)) from None
    except RecursionError:
        raise UnsupportedPattern(_too_deep()) from None
    tree = _Parser(source).choice(flags, 0)
    if can_be_empty(tree):
        raise UnsupportedPattern("it matches the empty text, which cannot be masked: use + instead of *")
    return tree


class _Parser:
    """A recursive-descent parser for a pattern that `re` accepts."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._pos = 0

    def choice(self, flags: int, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise UnsupportedPattern(_too_deep())
        options = [self._sequence(flags, depth)]
        while self._source.startswith("|", self._pos):
            self._pos += 1
            options.append(self._sequence(flags, depth))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self, flags: int, depth: int) -> Node:
        parts: list[Node] = []
        while True:
            self._accept(_VERBOSE_GAP if flags & re.VERBOSE else _GAP)
            if self._pos == len(self._source) or self._source[self._pos] in "|)":
                parts = [part for part in parts if part != EMPTY]
                return parts[0] if len(parts) == 1 else Sequence(tuple(parts))
            if repeat := self._accept(_REPEAT):
                parts.append(_repeated(parts.pop(), repeat))
            else:
                parts.append(self._atom(flags, depth))

    def _atom(self, flags: int, depth: int) -> Node:
        char = self._source[self._pos]
        if char == "(":
            return self._group(flags, depth)
        if char == "\\":
            return self._escape(flags)
        if char_class := self._accept(_CLASS):
            return _char(char_class[0], flags)
        self._pos += 1
        if char == "^":
            return Assertion.LINE_START if flags & re.MULTILINE else Assertion.TEXT_START
        if char == "$":
            return Assertion.LINE_END if flags & re.MULTILINE else Assertion.TEXT_END_OR_LAST_NEWLINE
        return _char("." if char == "." else re.escape(char), flags)

    def _group(self, flags: int, depth: int) -> Node:
        for opening, reason in _UNSUPPORTED.items():
            if self._source.startswith(opening, self._pos):
                raise UnsupportedPattern(reason)
        opened = self._accept(_GROUP)
        if opened is None:
            raise UnsupportedPattern(f"this group is not supported: {self._source[self._pos :][:20]}")
        if opened["end"] == ")":
            return EMPTY  # flags of the whole pattern: `re` has already reported them
        inner = self.choice(_with_flags(flags, opened["on"] or "", opened["off"] or ""), depth + 1)
        self._pos += 1
        return inner

    def _escape(self, flags: int) -> Node:
        token = self._accept(_ESCAPE)
        if token is None:
            raise UnsupportedPattern(f"this escape is not supported: {self._source[self._pos :][:20]}")
        escape = token[0]
        ascii_words = flags & re.ASCII
        match escape:
            case r"\A":
                return Assertion.TEXT_START
            case r"\Z" | r"\z":
                return Assertion.TEXT_END
            case r"\b":
                return Assertion.ASCII_WORD_BOUNDARY if ascii_words else Assertion.WORD_BOUNDARY
            case r"\B":
                return Assertion.NOT_ASCII_WORD_BOUNDARY if ascii_words else Assertion.NOT_WORD_BOUNDARY
        if len(escape) == 2 and escape[1] in "123456789":  # noqa: PLR2004  the backslash and one digit
            raise UnsupportedPattern(_BACKREFERENCE)
        return _char(escape, flags)

    def _accept(self, token: re.Pattern[str]) -> re.Match[str] | None:
        match = token.match(self._source, self._pos)
        if match:
            self._pos = match.end()
        return match


def _char(source: str, flags: int) -> Char:
    return Char(source, int(flags & _CHAR_FLAGS))


def _with_flags(flags: int, on: str, off: str) -> int:
    if "u" in on:
        flags &= ~re.ASCII
    for letter in on:
        flags |= _FLAGS[letter]
    for letter in off:
        flags &= ~_FLAGS[letter]
    return int(flags)


def _repeated(body: Node, repeat: re.Match[str]) -> Node:
    sign, low, comma, high, mode = repeat.groups()
    if mode == "+":
        raise UnsupportedPattern(f"a possessive repeat is not supported: write {repeat[0][:-1]} alone")
    if sign:
        least, most = _SIGNS[sign]
    else:
        least = int(low or 0)
        most = least if not comma else int(high) if high else None
    return Repeat(body, least, most, lazy=mode == "?") if most != 0 and body != EMPTY else EMPTY


def _too_deep() -> str:
    return f"groups are nested too deeply: at most {MAX_DEPTH} within each other"
