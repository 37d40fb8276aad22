"""A lazily built automaton that runs a program's threads in lockstep over a text.

The threads are those of a Pike VM (R. Cox, "Regular Expression Matching: the Virtual Machine
Approach", 2009), in the order in which `re` would try them. Sets of threads are the states of a
deterministic automaton, whose transitions are computed when a text first needs them and then cached.
At every character a new search starts with the lowest priority; where a match ends, a new search
starts and threads of lower priority are dropped. So one pass finds all matches, whatever the pattern.
"""

import re
import threading
from collections.abc import Iterable
from typing import NamedTuple

from dockrion.policies.regex.parser import Assertion
from dockrion.policies.regex.program import Assert, Consume, EndLoop, EnterLoop, Match, Program, Split

END = ""  # the pseudo-character after the last
LAST_NEWLINE = "\n$"  # the pseudo-character for a newline at the very end
CACHE_LIMIT = 100_000  # cached threads and transitions

# Facts about a character on which assertions depend, as bits.
_NO_CHAR, _NEWLINE, _LAST_NEWLINE, _WORD, _ASCII_WORD = 1, 2, 4, 8, 16
_WORD_CHAR = re.compile(r"\w")
_FACTS = {
    Assertion.TEXT_START: _NO_CHAR,
    Assertion.LINE_START: _NO_CHAR | _NEWLINE,
    Assertion.TEXT_END: _NO_CHAR,
    Assertion.TEXT_END_OR_LAST_NEWLINE: _NO_CHAR | _LAST_NEWLINE,
    Assertion.LINE_END: _NO_CHAR | _NEWLINE,
    Assertion.WORD_BOUNDARY: _WORD,
    Assertion.NOT_WORD_BOUNDARY: _WORD,
    Assertion.ASCII_WORD_BOUNDARY: _ASCII_WORD,
    Assertion.NOT_ASCII_WORD_BOUNDARY: _ASCII_WORD,
}
_STARTS = {Assertion.TEXT_START, Assertion.LINE_START}
_ENDS = {Assertion.TEXT_END, Assertion.TEXT_END_OR_LAST_NEWLINE, Assertion.LINE_END}
_BOUNDARIES = {Assertion.WORD_BOUNDARY, Assertion.ASCII_WORD_BOUNDARY}
_FLAG_LETTERS = {"a": re.ASCII, "i": re.IGNORECASE, "s": re.DOTALL}
_NEVER = "(?!)"
_NO_LOOPS: frozenset[int] = frozenset()


class Thread(NamedTuple):
    """One way in which the text so far may be the start of a match.

    Attributes:
        pc: The instruction at which it waits for the next character (program counter).
        empty_loops: The loops whose current iteration has consumed no character yet.
        candidate: The number of the candidate it belongs to, in the order of the text.
    """

    pc: int
    empty_loops: frozenset[int]
    candidate: int


class State:
    """What is known after some text.

    Attributes:
        threads: The threads, in order of preference.
        last_facts: The facts about the last character.
        candidates: The number of open candidates.
        fast: The next state for characters that neither start, end nor drop a candidate.
        transitions: The transitions for all characters seen so far.
    """

    __slots__ = ("candidates", "fast", "last_facts", "threads", "transitions")

    def __init__(self, threads: tuple[Thread, ...], last_facts: int) -> None:
        self.threads = threads
        self.last_facts = last_facts
        self.candidates = threads[-1].candidate + 1 if threads else 0
        self.fast: dict[str, State] = {}
        self.transitions: dict[str, Transition] = {}


class Transition(NamedTuple):
    """The effect of one character. A new candidate, with the next free number, starts at it.

    Attributes:
        target: The state after it.
        still_open: The candidates that stay open, by their numbers before it.
        match_before: The candidate that turns out to be a match ending before this character, if any.
        match_after: The candidate that is a match ending with this character, if any.
    """

    target: State
    still_open: tuple[int, ...]
    match_before: int | None
    match_after: int | None


class Automaton:
    """The states of a program, created when they are first reached. Thread-safe.

    Args:
        program: Has no empty matches.

    Attributes:
        start: The state before the text.
        distinguishes_last_newline: Whether a newline at the end of the text may differ from others.
        first: An expression of `re` for any character that can start a match.
    """

    def __init__(self, program: Program) -> None:
        assertions = program.assertions
        self._program = program
        self._lock = threading.Lock()
        self._states: dict[tuple[tuple[Thread, ...], int], State] = {}
        self._size = 0
        self._last_facts_mask = _union(assertions - _ENDS)
        self.distinguishes_last_newline = Assertion.TEXT_END_OR_LAST_NEWLINE in assertions
        self.first = _first_char(program)
        self.start = self._state((), _NO_CHAR & self._last_facts_mask)

    def step(self, state: State, char: str) -> Transition:
        """Return the transition for a character, END or LAST_NEWLINE, and cache it."""
        with self._lock:
            if self._size > CACHE_LIMIT:
                self._clear_cache()
            # A text may still be at a state that was evicted: it is cached again, unless it has a copy.
            state = self._states.setdefault((state.threads, state.last_facts), state)
            transition = state.transitions.get(char)
            if transition is None:
                transition = self._compute(state, char)
                self._size += 1 + len(transition.still_open)
                state.transitions[char] = transition
                if _is_fast(state, transition):
                    state.fast[char] = transition.target
            return transition

    def _clear_cache(self) -> None:
        for state in self._states.values():
            state.fast.clear()
            state.transitions.clear()
        self._states.clear()
        self._size = 0

    def _state(self, threads: tuple[Thread, ...], last_facts: int) -> State:
        state = self._states.get((threads, last_facts))
        if state is None:
            state = self._states[threads, last_facts] = State(threads, last_facts)
            self._size += 1 + len(threads)
        return state

    def _compute(self, state: State, char: str) -> Transition:
        facts, new_candidate = _facts(char), state.candidates
        before = _Closure(self._program, state.last_facts, facts)
        match_before = before.follow(state.threads)
        before.follow([Thread(self._program.entry, _NO_LOOPS, new_candidate)])
        after = _Closure(self._program, facts, None)
        match_after = after.follow(self._consume(before.threads, char))
        still_open = tuple(dict.fromkeys(thread.candidate for thread in after.threads))
        target = self._state(_renumbered(after.threads, still_open), facts & self._last_facts_mask)
        return Transition(target, still_open, match_before, match_after)

    def _consume(self, threads: Iterable[Thread], char: str) -> Iterable[Thread]:
        """Yield the threads that accept a character, advanced past it."""
        code, accepted = self._program.code, {}
        for thread in threads:
            consume = code[thread.pc]
            assert isinstance(consume, Consume)  # noqa: S101  for mypy: with known facts, only these wait
            if consume.chars not in accepted:
                accepted[consume.chars] = char != END and char[0] in consume.chars
            if accepted[consume.chars]:
                yield Thread(consume.then, _NO_LOOPS, thread.candidate)


class _Closure:
    """Advances threads to the instructions at which they wait for a character, in order of preference.

    Args:
        program: The program.
        last_facts: The facts about the last character.
        next_facts: The facts about the next one; None if it is not known yet, in which case threads
            wait also at assertions that depend on it.

    Attributes:
        threads: The waiting threads; of several in the same position only the preferred one.
    """

    def __init__(self, program: Program, last_facts: int, next_facts: int | None) -> None:
        self.threads: list[Thread] = []
        self._code = program.code
        self._last_facts = last_facts
        self._next_facts = next_facts
        self._waiting: set[int] = set()
        self._seen: set[tuple[int, frozenset[int]]] = set()

    def follow(self, threads: Iterable[Thread]) -> int | None:
        """Advance threads up to the first that is a match; return that one's candidate, if any."""
        code, waiting, seen = self._code, self._waiting, self._seen
        for thread in threads:
            stack = [(thread.pc, thread.empty_loops)]
            while stack:
                pc, loops = position = stack.pop()
                instruction = code[pc]
                if isinstance(instruction, Consume):
                    if pc not in waiting:
                        waiting.add(pc)
                        self._add(thread, pc, _NO_LOOPS)
                    continue
                if position in seen:
                    continue
                seen.add(position)
                match instruction:
                    case Split(branches):
                        stack += ((branch, loops) for branch in reversed(branches))
                    case Assert(assertion, then):
                        if self._next_facts is None and assertion not in _STARTS:
                            self._add(thread, pc, loops)
                        elif self._holds(assertion):
                            stack.append((then, loops))
                    case EnterLoop(loop, then):
                        stack.append((then, loops | {loop}))
                    case EndLoop(loop, then, if_empty):
                        stack.append((if_empty if loop in loops else then, loops - {loop}))
                    case Match():
                        return thread.candidate
        return None

    def _add(self, thread: Thread, pc: int, empty_loops: frozenset[int]) -> None:
        if thread.pc != pc or thread.empty_loops != empty_loops:
            thread = Thread(pc, empty_loops, thread.candidate)
        self.threads.append(thread)

    def _holds(self, assertion: Assertion) -> bool:
        relevant = _FACTS[assertion]
        last, following = self._last_facts & relevant, (self._next_facts or 0) & relevant
        if assertion in _STARTS:
            return bool(last)
        if assertion in _ENDS:
            return bool(following)
        return (last != following) == (assertion in _BOUNDARIES)


def _facts(char: str) -> int:
    """Return the facts about a character or a pseudo-character."""
    if char == END:
        return _NO_CHAR
    if char == LAST_NEWLINE:
        return _NEWLINE | _LAST_NEWLINE
    if char == "\n":
        return _NEWLINE
    if _WORD_CHAR.match(char):
        return _WORD | (_ASCII_WORD if char.isascii() else 0)
    return 0


def _union(assertions: Iterable[Assertion]) -> int:
    facts = 0
    for assertion in assertions:
        facts |= _FACTS[assertion]
    return facts


def _renumbered(threads: list[Thread], still_open: tuple[int, ...]) -> tuple[Thread, ...]:
    """Return threads whose candidates are numbered without gaps."""
    if still_open == tuple(range(len(still_open))):
        return tuple(threads)
    numbers = {candidate: number for number, candidate in enumerate(still_open)}
    return tuple(Thread(pc, loops, numbers[candidate]) for pc, loops, candidate in threads)


def _is_fast(state: State, transition: Transition) -> bool:
    """Tell whether a transition changes no candidate; without any, `Automaton.first` is faster still."""
    return (
        transition.match_before is None
        and transition.match_after is None
        and len(transition.still_open) == state.candidates > 0
        and transition.still_open[-1] < state.candidates
    )


def _first_char(program: Program) -> re.Pattern[str]:
    """Return an expression for any character that a match can start with."""
    by_flags: dict[int, list[str]] = {}
    for char in program.first_chars():
        by_flags.setdefault(char.flags, []).append(char.source)
    scopes = [f"(?{_letters(flags)}:{'|'.join(sources)})" for flags, sources in by_flags.items()]
    return re.compile("|".join(scopes) or _NEVER)


def _letters(flags: int) -> str:
    return "".join(letter for letter, flag in _FLAG_LETTERS.items() if flags & flag)
