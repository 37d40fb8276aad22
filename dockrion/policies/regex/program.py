"""A compiler from syntax trees to instructions of a nondeterministic automaton.

The construction is Thompson's ("Regular Expression Search Algorithm", CACM 11(6), 1968), with the
branches of each split in the order in which `re` tries them.
"""

import re
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from dockrion.policies.regex.parser import (
    Assertion,
    Char,
    Choice,
    Node,
    Repeat,
    Sequence,
    UnsupportedPattern,
    can_be_empty,
    is_always_empty,
)

MAX_PATTERN_SIZE = 2_000  # instructions, counting each branch of a split
MAX_PROGRAM_SIZE = 10_000


class CharSet:
    """The characters that a `Char` accepts."""

    __slots__ = ("_match", "char")

    def __init__(self, char: Char) -> None:
        self.char = char
        self._match = re.compile(char.source, char.flags).match

    def __contains__(self, char: str) -> bool:
        return self._match(char) is not None


@dataclass(frozen=True, slots=True)
class Consume:
    """Continue behind the next character if it is one of these."""

    chars: CharSet
    then: int


@dataclass(frozen=True, slots=True)
class Split:
    """Continue at each of these; the earlier ones are preferred."""

    branches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Assert:
    """Continue if the assertion holds here."""

    assertion: Assertion
    then: int


@dataclass(frozen=True, slots=True)
class EnterLoop:
    """Start an iteration of a loop whose body can match the empty text."""

    loop: int
    then: int


@dataclass(frozen=True, slots=True)
class EndLoop:
    """End such an iteration: if it consumed nothing, leave the loop, as `re` does."""

    loop: int
    then: int
    if_empty: int


@dataclass(frozen=True, slots=True)
class Match:
    """A match ends here."""


Instruction = Consume | Split | Assert | EnterLoop | EndLoop | Match


@dataclass(frozen=True)
class Program:
    """Instructions, and the index of the first."""

    code: SequenceOf[Instruction]
    entry: int

    @property
    def assertions(self) -> set[Assertion]:
        """The assertions that it contains."""
        return {instruction.assertion for instruction in self.code if isinstance(instruction, Assert)}

    def first_chars(self) -> set[Char]:
        """Return the characters that a match can start with."""
        first, seen, todo = set(), set(), [self.entry]
        while todo:
            if (at := todo.pop()) in seen:
                continue
            seen.add(at)
            match self.code[at]:
                case Consume(chars):
                    first.add(chars.char)
                case Split(branches):
                    todo += branches
                case Assert(_, then) | EnterLoop(_, then):
                    todo.append(then)
                case EndLoop(_, then, if_empty):
                    todo += then, if_empty
        return first


class Builder:
    """Compiles several trees to one program, which prefers the earlier ones."""

    def __init__(self) -> None:
        self._code: list[Instruction] = [Match()]
        self._entries: list[int] = []
        self._char_sets: dict[Char, CharSet] = {}
        self._size = 0
        self._limit = 0

    def add(self, tree: Node) -> None:
        """Compile one more tree.

        Raises:
            UnsupportedPattern: Its code, or that of all trees together, would be too large.
        """
        self._limit = min(self._size + MAX_PATTERN_SIZE, MAX_PROGRAM_SIZE)
        self._entries.append(self._node(tree, then=0))

    def program(self) -> Program:
        """Return the program for all trees."""
        self._code.append(Split(tuple(self._entries)))
        return Program(self._code, len(self._code) - 1)

    def _emit(self, instruction: Instruction) -> int:
        self._size += len(instruction.branches) if isinstance(instruction, Split) else 1
        if self._size > self._limit:
            raise UnsupportedPattern(
                f"too large: repeat counts are expanded, and a pattern may have {MAX_PATTERN_SIZE:,} steps, "
                f"all together {MAX_PROGRAM_SIZE:,}: use smaller counts, or + instead of {{…}}"
            )
        self._code.append(instruction)
        return len(self._code) - 1

    def _node(self, node: Node, then: int) -> int:
        match node:
            case Char():
                if node not in self._char_sets:
                    self._char_sets[node] = CharSet(node)
                return self._emit(Consume(self._char_sets[node], then))
            case Assertion():
                return self._emit(Assert(node, then))
            case Sequence(parts):
                for part in reversed(parts):
                    then = self._node(part, then)
                return then
            case Choice(options):
                return self._emit(Split(tuple(self._node(option, then) for option in options)))
            case Repeat():
                return self._repeat(node, then)

    def _repeat(self, node: Repeat, then: int) -> int:
        least, most = node.least, node.most
        if is_always_empty(node.body):  # more iterations change nothing
            least, most = min(least, 1), 1 if most is None else min(most, 1)
        if most is None:
            entry = self._emit(Split((then, then)))  # replaced below, once the address of the body is known
            iteration = self._iteration(node.body, again=entry, end=then)
            self._code[entry] = _split(node, iteration, then)
            if least:
                least, entry = least - 1, iteration
        else:
            entry = then
            for _ in range(most - least):
                iteration = self._iteration(node.body, again=entry, end=then)
                entry = self._emit(_split(node, iteration, then))
        for _ in range(least):
            entry = self._node(node.body, entry)
        return entry

    def _iteration(self, body: Node, *, again: int, end: int) -> int:
        """Compile one optional iteration of a loop; return its address."""
        if not can_be_empty(body):
            return self._node(body, again)
        loop = self._emit(EndLoop(len(self._code), again, end))
        return self._emit(EnterLoop(loop, self._node(body, loop)))


def _split(node: Repeat, iteration: int, end: int) -> Split:
    return Split((end, iteration) if node.lazy else (iteration, end))
