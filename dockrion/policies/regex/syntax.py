"""A regular expression as a tree."""

from dataclasses import dataclass
from enum import Enum, auto


class Edge(Enum):
    """A place in the text that is no character."""

    TEXT_START = auto()
    LINE_START = auto()
    TEXT_END = auto()
    TEXT_END_OR_LAST_NEWLINE = auto()
    LINE_END = auto()
    WORD = auto()
    NO_WORD = auto()
    ASCII_WORD = auto()
    NO_ASCII_WORD = auto()


@dataclass(frozen=True)
class Char:
    """One character.

    Attributes:
        source: The expression, in the syntax of `re`, of the characters it may be.
        flags: Those of `re` that the expression stands under.
    """

    source: str
    flags: int


@dataclass(frozen=True)
class Sequence:
    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Choice:
    """One of several, the first that leads to a match."""

    options: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    """A body over and over: as often as possible, or as rarely where it is lazy."""

    body: "Node"
    least: int
    most: int | None
    lazy: bool


Node = Edge | Char | Sequence | Choice | Repeat
EMPTY = Sequence(())


def can_be_empty(node: Node) -> bool:
    """Tell whether a match may have no character."""
    match node:
        case Edge():
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
    """Tell whether no match has a character."""
    match node:
        case Edge():
            return True
        case Char():
            return False
        case Sequence(parts) | Choice(parts):
            return all(map(is_always_empty, parts))
        case Repeat(body):
            return is_always_empty(body)
