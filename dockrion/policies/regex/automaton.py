"""A program run over a text: all its threads at once, in the order in which `re` would try them.

The threads are those of a Pike VM (R. Cox, "Regular Expression Matching: the Virtual Machine
Approach", 2009), and sets of them become the states of an automaton that is built where the text
leads. Beside them a search begins at every character, behind all others; where a match ends, a
new search begins and what stands behind it is given up. So one pass finds all matches: nothing is
read twice, whatever the pattern.
"""

import re
import threading
from collections.abc import Iterable
from typing import NamedTuple

from dockrion.policies.regex.program import Accept, Enter, Fork, Leave, Look, Program, Take
from dockrion.policies.regex.syntax import Edge

END = ""  # stands for the character after the last
LAST_NEWLINE = "\n$"  # stands for a newline after which nothing comes
CACHE_LIMIT = 100_000  # threads and transitions that are remembered

# What is known of a character, as far as edges depend on it.
_NOTHING, _NEWLINE, _LAST_NEWLINE, _WORD, _ASCII_WORD = 1, 2, 4, 8, 16
_WORD_CHAR = re.compile(r"\w")
_FACTS = {
    Edge.TEXT_START: _NOTHING,
    Edge.LINE_START: _NOTHING | _NEWLINE,
    Edge.TEXT_END: _NOTHING,
    Edge.TEXT_END_OR_LAST_NEWLINE: _NOTHING | _LAST_NEWLINE,
    Edge.LINE_END: _NOTHING | _NEWLINE,
    Edge.WORD: _WORD,
    Edge.NO_WORD: _WORD,
    Edge.ASCII_WORD: _ASCII_WORD,
    Edge.NO_ASCII_WORD: _ASCII_WORD,
}
_STARTS = {Edge.TEXT_START, Edge.LINE_START}
_ENDS = {Edge.TEXT_END, Edge.TEXT_END_OR_LAST_NEWLINE, Edge.LINE_END}
_BOUNDARIES = {Edge.WORD, Edge.ASCII_WORD}
_FLAG_LETTERS = {"a": re.ASCII, "i": re.IGNORECASE, "s": re.DOTALL}
_NEVER = "(?!)"
_NO_LOOPS: frozenset[int] = frozenset()


class Thread(NamedTuple):
    """One way in which the text so far may be the beginning of a match.

    Attributes:
        at: The instruction it waits at, for a character or for what comes after an edge.
        idle: The loops whose turn has not taken a character yet.
        candidate: Its match's beginning, by number: candidates are in the order of the text.
    """

    at: int
    idle: frozenset[int]
    candidate: int


class State:
    """What is known after some text.

    Attributes:
        before: The facts of the last character.
        threads: Those in which a match has begun, the first to be preferred.
        candidates: How many beginnings they have.
        quiet: States after characters that neither begin nor end a candidate.
        steps: What other characters do.
    """

    __slots__ = ("before", "candidates", "quiet", "steps", "threads")

    def __init__(self, threads: tuple[Thread, ...], before: int) -> None:
        self.threads = threads
        self.before = before
        self.candidates = threads[-1].candidate + 1 if threads else 0
        self.quiet: dict[str, State] = {}
        self.steps: dict[str, Step] = {}


class Step(NamedTuple):
    """What one character does. A candidate numbered as many as there are begins with it.

    Attributes:
        target: The state after it.
        kept: The candidates that go on, as numbered before it.
        ended_before: The candidate that turns out to be a match up to this character, if any.
        ended_after: The candidate that is a match with this character, if any.
    """

    target: State
    kept: tuple[int, ...]
    ended_before: int | None
    ended_after: int | None


class Automaton:
    """The states of a program, made when they are first reached. For any number of threads.

    Args:
        program: None of its matches is empty.

    Attributes:
        start: The state before a text.
        sees_last_newline: Whether a text's last newline may differ from others.
        first: Finds a character that may begin a match.
    """

    def __init__(self, program: Program) -> None:
        edges = program.edges
        self._program = program
        self._lock = threading.Lock()
        self._states: dict[tuple[tuple[Thread, ...], int], State] = {}
        self._size = 0
        self._facts_before = _union(edges - _ENDS)
        self.sees_last_newline = Edge.TEXT_END_OR_LAST_NEWLINE in edges
        self.first = _any_of(program)
        self.start = self._state((), _NOTHING & self._facts_before)

    def step(self, state: State, char: str) -> Step:
        """Return what a character does in a state; END and LAST_NEWLINE count as one."""
        with self._lock:
            if self._size > CACHE_LIMIT:
                self._forget()
            # A state that was forgotten while a text was at it comes back, or its new twin answers.
            state = self._states.setdefault((state.threads, state.before), state)
            step = state.steps.get(char)
            if step is None:
                step = self._made(state, char)
                self._size += 1 + len(step.kept)
                state.steps[char] = step
                if _is_quiet(state, step):
                    state.quiet[char] = step.target
            return step

    def _forget(self) -> None:
        for state in self._states.values():
            state.quiet.clear()
            state.steps.clear()
        self._states.clear()
        self._size = 0

    def _state(self, threads: tuple[Thread, ...], before: int) -> State:
        state = self._states.get((threads, before))
        if state is None:
            state = self._states[threads, before] = State(threads, before)
            self._size += 1 + len(threads)
        return state

    def _made(self, state: State, char: str) -> Step:
        ahead, fresh = _facts(char), state.candidates
        waiting = _Closure(self._program, state.before, ahead)
        ended_before = waiting.follow(state.threads)
        waiting.follow([Thread(self._program.entry, _NO_LOOPS, fresh)])
        reached = _Closure(self._program, ahead, None)
        ended_after = reached.follow(self._taken(waiting.threads, char))
        kept = tuple(dict.fromkeys(thread.candidate for thread in reached.threads))
        target = self._state(_renumbered(reached.threads, kept), ahead & self._facts_before)
        return Step(target, kept, ended_before, ended_after)

    def _taken(self, threads: Iterable[Thread], char: str) -> Iterable[Thread]:
        """Yield the threads that a character lets go on."""
        code, accepted = self._program.code, {}
        for thread in threads:
            take = code[thread.at]
            assert isinstance(take, Take)  # noqa: S101  for mypy: nothing else waits when what comes is known
            if take.chars not in accepted:
                accepted[take.chars] = char != END and char[0] in take.chars
            if accepted[take.chars]:
                yield Thread(take.then, _NO_LOOPS, thread.candidate)


class _Closure:
    """Follows threads to where they wait, those to be preferred first.

    Args:
        before: The facts of the character before.
        ahead: Those of the next one; None while it is unknown, so that threads wait for it.

    Attributes:
        threads: Where they wait; of those at the same place, the first.
    """

    def __init__(self, program: Program, before: int, ahead: int | None) -> None:
        self.threads: list[Thread] = []
        self._code = program.code
        self._before = before
        self._ahead = ahead
        self._taking: set[int] = set()
        self._seen: set[tuple[int, frozenset[int]]] = set()

    def follow(self, threads: Iterable[Thread]) -> int | None:
        """Follow these, up to the first that is a match; return its candidate."""
        code, taking, seen = self._code, self._taking, self._seen
        for thread in threads:
            todo = [(thread.at, thread.idle)]
            while todo:
                at, idle = place = todo.pop()
                instruction = code[at]
                if isinstance(instruction, Take):
                    if at not in taking:
                        taking.add(at)
                        self._wait(thread, at, _NO_LOOPS)
                    continue
                if place in seen:
                    continue
                seen.add(place)
                match instruction:
                    case Fork(branches):
                        todo += ((branch, idle) for branch in reversed(branches))
                    case Look(edge, then):
                        if self._ahead is None and edge not in _STARTS:
                            self._wait(thread, at, idle)
                        elif self._is_at(edge):
                            todo.append((then, idle))
                    case Enter(loop, then):
                        todo.append((then, idle | {loop}))
                    case Leave(loop, then, if_empty):
                        todo.append((if_empty if loop in idle else then, idle - {loop}))
                    case Accept():
                        return thread.candidate
        return None

    def _wait(self, thread: Thread, at: int, idle: frozenset[int]) -> None:
        if thread.at != at or thread.idle != idle:
            thread = Thread(at, idle, thread.candidate)
        self.threads.append(thread)

    def _is_at(self, edge: Edge) -> bool:
        before, ahead = self._before & _FACTS[edge], (self._ahead or 0) & _FACTS[edge]
        if edge in _STARTS:
            return bool(before)
        if edge in _ENDS:
            return bool(ahead)
        return (before != ahead) == (edge in _BOUNDARIES)


def _facts(char: str) -> int:
    if char == END:
        return _NOTHING
    if char == LAST_NEWLINE:
        return _NEWLINE | _LAST_NEWLINE
    if char == "\n":
        return _NEWLINE
    if _WORD_CHAR.match(char):
        return _WORD | (_ASCII_WORD if char.isascii() else 0)
    return 0


def _union(edges: Iterable[Edge]) -> int:
    facts = 0
    for edge in edges:
        facts |= _FACTS[edge]
    return facts


def _renumbered(threads: list[Thread], kept: tuple[int, ...]) -> tuple[Thread, ...]:
    """Return threads whose candidates are numbered by their place among those that are kept."""
    if kept == tuple(range(len(kept))):
        return tuple(threads)
    numbers = {candidate: number for number, candidate in enumerate(kept)}
    return tuple(Thread(at, idle, numbers[candidate]) for at, idle, candidate in threads)


def _is_quiet(state: State, step: Step) -> bool:
    """Tell whether a step changes no candidate. Where there is none, a search takes its place."""
    return (
        step.ended_before is None
        and step.ended_after is None
        and len(step.kept) == state.candidates > 0
        and step.kept[-1] < state.candidates
    )


def _any_of(program: Program) -> re.Pattern[str]:
    """Return an expression for any character that a match can begin with."""
    by_flags: dict[int, list[str]] = {}
    for char in program.first_chars():
        by_flags.setdefault(char.flags, []).append(char.source)
    scopes = [f"(?{_letters(flags)}:{'|'.join(sources)})" for flags, sources in by_flags.items()]
    return re.compile("|".join(scopes) or _NEVER)


def _letters(flags: int) -> str:
    return "".join(letter for letter, flag in _FLAG_LETTERS.items() if flags & flag)
