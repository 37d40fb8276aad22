"""A tree as instructions of a nondeterministic automaton.

The construction is Thompson's ("Regular Expression Search Algorithm", CACM 11(6), 1968), with the
branches of each fork in the order in which `re` tries them.
"""

import re
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from dockrion.policies.regex.parser import Unsupported
from dockrion.policies.regex.syntax import (
    Char,
    Choice,
    Edge,
    Node,
    Repeat,
    Sequence,
    can_be_empty,
    is_always_empty,
)

LARGEST_PATTERN = 2_000  # instructions, and branches of forks
LARGEST_PROGRAM = 10_000


class CharSet:
    """The characters that one class accepts."""

    __slots__ = ("_match", "char")

    def __init__(self, char: Char) -> None:
        self.char = char
        self._match = re.compile(char.source, char.flags).match

    def __contains__(self, char: str) -> bool:
        return self._match(char) is not None


@dataclass(frozen=True, slots=True)
class Take:
    """Go on with the next character, if it is one of these."""

    chars: CharSet
    then: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Try each of these, the first that leads to a match."""

    branches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Go on where this edge is."""

    edge: Edge
    then: int


@dataclass(frozen=True, slots=True)
class Enter:
    """Begin a turn of a loop that may go round without taking a character."""

    loop: int
    then: int


@dataclass(frozen=True, slots=True)
class Leave:
    """End such a turn: where it took nothing, another would not either, and `re` leaves the loop."""

    loop: int
    then: int
    if_empty: int


@dataclass(frozen=True, slots=True)
class Accept:
    """A match ends here."""


Instruction = Take | Fork | Look | Enter | Leave | Accept


@dataclass(frozen=True)
class Program:
    """Instructions, and where they begin."""

    code: SequenceOf[Instruction]
    entry: int

    @property
    def edges(self) -> set[Edge]:
        """The edges it looks for."""
        return {instruction.edge for instruction in self.code if isinstance(instruction, Look)}

    def first_chars(self) -> set[Char]:
        """Return what a match can begin with."""
        first, seen, todo = set(), set(), [self.entry]
        while todo:
            if (at := todo.pop()) in seen:
                continue
            seen.add(at)
            match self.code[at]:
                case Take(chars):
                    first.add(chars.char)
                case Fork(branches):
                    todo += branches
                case Look(_, then) | Enter(_, then):
                    todo.append(then)
                case Leave(_, then, if_empty):
                    todo += then, if_empty
        return first


class Builder:
    """Makes one program of several trees, of which the first that matches counts."""

    def __init__(self) -> None:
        self._code: list[Instruction] = [Accept()]
        self._entries: list[int] = []
        self._char_sets: dict[Char, CharSet] = {}
        self._size = 0
        self._limit = 0

    def add(self, tree: Node) -> None:
        """Add a tree.

        Raises:
            Unsupported: Its program, or all in sum, would be too large.
        """
        self._limit = min(self._size + LARGEST_PATTERN, LARGEST_PROGRAM)
        self._entries.append(self._node(tree, then=0))

    def program(self) -> Program:
        """Return what was added as a whole."""
        self._code.append(Fork(tuple(self._entries)))
        return Program(self._code, len(self._code) - 1)

    def _emit(self, instruction: Instruction) -> int:
        self._size += len(instruction.branches) if isinstance(instruction, Fork) else 1
        if self._size > self._limit:
            raise Unsupported(
                f"too large: repeat counts are written out, and a pattern may have {LARGEST_PATTERN:,} steps,"
                f" all together {LARGEST_PROGRAM:,}: use smaller counts, or + in place of {{…}}"
            )
        self._code.append(instruction)
        return len(self._code) - 1

    def _node(self, node: Node, then: int) -> int:
        match node:
            case Char():
                if node not in self._char_sets:
                    self._char_sets[node] = CharSet(node)
                return self._emit(Take(self._char_sets[node], then))
            case Edge():
                return self._emit(Look(node, then))
            case Sequence(parts):
                for part in reversed(parts):
                    then = self._node(part, then)
                return then
            case Choice(options):
                return self._emit(Fork(tuple(self._node(option, then) for option in options)))
            case Repeat():
                return self._repeat(node, then)

    def _repeat(self, node: Repeat, then: int) -> int:
        least, most = node.least, node.most
        if is_always_empty(node.body):  # more turns change nothing
            least, most = min(least, 1), 1 if most is None else min(most, 1)
        if most is None:
            entry = self._emit(Fork((then, then)))  # until it is known where a turn begins
            turn = self._turn(node.body, again=entry, end=then)
            self._code[entry] = _fork(node, turn, then)
            if least:
                least, entry = least - 1, turn
        else:
            entry = then
            for _ in range(most - least):
                turn = self._turn(node.body, again=entry, end=then)
                entry = self._emit(_fork(node, turn, then))
        for _ in range(least):
            entry = self._node(node.body, entry)
        return entry

    def _turn(self, body: Node, *, again: int, end: int) -> int:
        """Return where a turn of a loop begins that is not needed."""
        if not can_be_empty(body):
            return self._node(body, again)
        loop = self._emit(Leave(len(self._code), again, end))
        return self._emit(Enter(loop, self._node(body, loop)))


def _fork(node: Repeat, turn: int, end: int) -> Fork:
    return Fork((end, turn) if node.lazy else (turn, end))
