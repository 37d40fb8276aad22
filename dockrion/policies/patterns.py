"""Masking of the matches of regular expressions in streamed text: linear time, bounded memory.

This module is the only entrance to the engine in `regex`. It exists because `re` has two limits: its
backtracking can take exponential time on hostile text, and it cannot tell, while a text is still
arriving, which part may yet become a match. No maintained library offers both.

How it works:

- *One automaton.* All patterns are compiled together (`regex.parser`, `regex.program`) and run in
  lockstep (`regex.automaton`). Each character costs at most time in proportion to the size of the
  patterns, and as a rule one dictionary look-up.
- *Candidates.* A candidate is a position at which a match has started that the text so far neither
  completes nor rules out. Several may be open at once. They are ordered: as in `re`, the leftmost
  match wins, and of several that start at one position the one that `re` would prefer. A match is
  only recorded at first, since an open candidate before it, or at its start, may still replace it.
- *Holding back.* Text before the first open candidate is decided and released at once. The rest is
  held back until that candidate either matches or fails. If it has matched and only the length of
  the match is open, then its mask is released and its text is dropped, so that nothing is held.
- *The bound.* One candidate holds back at most `MAX_HELD` undecided characters. When it reaches that
  bound, its text is masked as if it had matched, and every open candidate continues as a part of
  that match. The bound depends on positions in the text alone, so that the result is the same
  however the text is split, and it hides everything that an unbounded match would have hidden.

The property tests hold it to this: but for the bound the result equals `re.sub`, for every way to split
the text; and whatever no continuation of the text can change is released immediately.
"""

import sys
import warnings
from collections import deque
from collections.abc import Sequence

from dockrion.policies.regex.automaton import END, LAST_NEWLINE, Automaton, Transition
from dockrion.policies.regex.parser import UnsupportedPattern, parse
from dockrion.policies.regex.program import Builder, Program

MASK = "[REDACTED]"
MAX_HELD = 4096  # characters
_NEVER = sys.maxsize


class BadPattern(ValueError):
    """A pattern that cannot be used.

    Args:
        index: Its index in the list.
        message: The reason, and what to write instead.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(f"pattern {index + 1}: {message}")
        self.index = index
        self.message = message


class Patterns:
    """Regular expressions, compiled once for all texts and threads.

    Syntax and meaning are those of Python's `re`, without what cannot be matched in linear time
    (backreferences, lookaround) and without matches of the empty text.

    Args:
        sources: The patterns; where several match at one position, the first is preferred.

    Raises:
        BadPattern: A pattern is malformed or not supported.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # patterns that `re` merely warns about are accepted
            self.automaton = Automaton(_compile(sources))

    def mask(self, text: str) -> tuple[str, bool]:
        """Return a text with every match replaced by MASK, and whether there was one."""
        masker = Masker(self)
        return masker.feed(text) + masker.end(), masker.matched


def _compile(sources: Sequence[str]) -> Program:
    builder = Builder()
    for index, source in enumerate(sources):
        try:
            builder.add(parse(source))
        except UnsupportedPattern as error:
            raise BadPattern(index, str(error)) from None
    return builder.program()


class Masker:
    """Masks the matches in one text that arrives in pieces.

    Args:
        patterns: The patterns.

    Attributes:
        matched: Whether anything has been masked so far.
    """

    def __init__(self, patterns: Patterns) -> None:
        self.matched = False
        self._automaton = patterns.automaton
        self._state = self._automaton.start
        self._text = ""  # what is held back, and what has just arrived
        self._at = 0  # how much of `_text` the automaton has read
        # All other positions count from the start of the whole text.
        self._base = 0  # the position of `_text`
        self._released = 0  # the end of what has been released, masked or not
        self._starts: list[int] = []  # the open candidates, ascending
        # The recorded matches: those that hold if no open candidate replaces them.
        self._matches: deque[tuple[int, int]] = deque()
        self._first_matched = False  # whether the first open candidate has matched; it may still grow
        self._masked = -1  # the start of the last match whose mask has been released
        self._limit = _NEVER  # the position at which the first candidate reaches the bound
        self._output: list[str] = []

    def feed(self, text: str) -> str:
        """Process the next piece of the text; return what can be released."""
        self._text += text
        end = len(self._text)
        if self._automaton.distinguishes_last_newline and self._text.endswith("\n"):
            self._read(end - 1)
            if self._step("\n") != self._step(LAST_NEWLINE):
                return self._release()  # read the newline when it is known whether it is the last
        self._read(end)
        return self._release()

    def end(self) -> str:
        """Return what was held back; the text is complete."""
        if self._at < len(self._text):
            self._advance(self._step(LAST_NEWLINE))
        self._advance(self._step(END))
        return self._release()

    def _read(self, end: int) -> None:
        text = self._text
        while True:
            at, state = self._at, self._state
            stop = min(end, self._limit - self._base)
            while at < stop and (following := state.fast.get(text[at])) is not None:
                state = following
                at += 1
            self._at, self._state = at, state
            if at < stop:
                step = self._step(text[at])
                if state.threads or step.still_open or step.match_after is not None:
                    self._advance(step)
                else:
                    self._skip(end)
            elif at == self._limit - self._base:
                self._mask_at_limit()
            else:
                return

    def _step(self, char: str) -> Transition:
        return self._state.transitions.get(char) or self._automaton.step(self._state, char)

    def _skip(self, end: int) -> None:
        """Skip a character that starts no match, and all that follow before one that can."""
        found = self._automaton.first.search(self._text, self._at + 1, end)
        self._at = found.start() if found else end
        self._state = self._step(self._text[self._at - 1]).target

    def _advance(self, step: Transition) -> None:
        """Apply the transition of one character."""
        at, starts = self._base + self._at, self._starts
        if step.match_before is not None:
            self._record(starts[step.match_before], at)
        if step.still_open or step.match_after is not None:
            starts = [*starts, at]
            if step.match_after is not None:
                self._record(starts[step.match_after], at + 1)
            self._starts = [starts[candidate] for candidate in step.still_open]
        else:
            self._starts = []
        self._at += 1
        self._state = step.target
        self._decide()

    def _mask_at_limit(self) -> None:
        """Treat the first candidate as a match up to here, and the others as continuations of it."""
        first = self._starts[0]
        self._record(first, self._base + self._at)
        self._starts = [first] * len(self._starts)
        self._decide()

    def _record(self, start: int, end: int) -> None:
        """Record a match; it replaces those that start at the same position or later."""
        while self._matches and self._matches[-1][0] >= start:
            self._matches.pop()
        self._matches.append((start, end))

    def _decide(self) -> None:
        """Mask the matches that no open candidate can replace, and update the limit of the first one."""
        matches, first = self._matches, self._first_undecided()
        while matches and matches[0][0] < first:
            self._mask(*matches.popleft())
        self._first_matched = bool(matches) and matches[0][0] == first
        if self._starts:
            self._limit = (matches[0][1] if self._first_matched else first) + MAX_HELD
        else:
            self._limit = _NEVER

    def _first_undecided(self) -> int:
        """Return the position of the first open candidate, or the current one if there is none."""
        return self._starts[0] if self._starts else self._base + self._at

    def _mask(self, start: int, end: int) -> None:
        if start != self._masked:
            self._output += self._text[self._released - self._base : start - self._base], MASK
            self._masked = start
            self.matched = True
        self._released = end

    def _release(self) -> str:
        first = self._first_undecided()
        if self._first_matched:
            self._mask(*self._matches[0])
        elif self._released < first:
            self._output.append(self._text[self._released - self._base : first - self._base])
            self._released = first
        output = "".join(self._output)
        self._output.clear()
        self._text = self._text[self._released - self._base :]
        self._at -= self._released - self._base
        self._base = self._released
        return output
