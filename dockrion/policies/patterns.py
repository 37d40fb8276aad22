"""Masking what patterns match, in whole texts and in streams of text."""

import sys
import warnings
from collections import deque
from collections.abc import Sequence

from dockrion.policies.regex.automaton import END, LAST_NEWLINE, Automaton, Step
from dockrion.policies.regex.parser import Unsupported, parse
from dockrion.policies.regex.program import Builder, Program

MASK = "[REDACTED]"
MOST_HELD = 4096  # characters
_NEVER = sys.maxsize


class BadPattern(ValueError):
    """A pattern that cannot be used.

    Args:
        index: Which one of the list.
        message: Why, and what to write instead.
    """

    def __init__(self, index: int, message: str) -> None:
        super().__init__(f"pattern {index + 1}: {message}")
        self.index = index
        self.message = message


class Patterns:
    """Regular expressions, compiled once for all texts and threads.

    Matching takes time in proportion to the text, whatever the patterns and the text are. The
    syntax and the meaning are those of Python's `re`, without what has no such bound
    (backreferences, lookaround) or nothing to mask (matches of the empty text).

    Args:
        sources: The patterns; where several match at the same place, the first counts.

    Raises:
        BadPattern: One is wrong or is not supported.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what `re` warns of, it takes
            self.automaton = Automaton(_program(sources))

    def mask(self, text: str) -> tuple[str, bool]:
        """Return a text with every match replaced by MASK, and whether there was one.

        A match is what `re.sub` would replace, but for candidates that grow too long: see Masking.
        """
        masking = Masking(self)
        return masking.feed(text) + masking.end(), masking.matched


def _program(sources: Sequence[str]) -> Program:
    builder = Builder()
    for index, source in enumerate(sources):
        try:
            builder.add(parse(source))
        except Unsupported as error:
            raise BadPattern(index, str(error)) from None
    return builder.program()


class Masking:
    """Masks the matches in one text that comes in parts, however it is cut.

    A match whose beginning is certain is masked at once; what may or may not belong to a match
    is held back until it is decided, and nothing else is. Of what one candidate leaves undecided,
    at most MOST_HELD characters are held. When it grows to that, all of it is masked as if it had
    matched, and the candidate goes on from there. That is decided by positions in the text alone,
    so that every way of cutting it has the same result; and it hides everything that a match
    would have hidden.

    Args:
        patterns: What to mask.

    Attributes:
        matched: Whether anything has been masked so far.
    """

    def __init__(self, patterns: Patterns) -> None:
        self.matched = False
        self._automaton = patterns.automaton
        self._state = self._automaton.start
        self._text = ""  # what is held, and what comes
        self._at = 0  # how much of it the state knows
        # All other positions count from the beginning of the whole text.
        self._base = 0  # where `_text` begins
        self._said = 0  # up to where the text is answered
        self._starts: list[int] = []  # where the open candidates begin, ascending
        # The matches there are, should no open candidate become one.
        self._matches: deque[tuple[int, int]] = deque()
        self._first_is_certain = False  # that the first open candidate is one of them, or a longer one
        self._masked = -1  # the beginning of the last match that has its mask
        self._limit = _NEVER  # where the first candidate is masked, come what may
        self._answer: list[str] = []

    def feed(self, text: str) -> str:
        """Take the next part of the text; return what can be said now."""
        self._text += text
        end = len(self._text)
        if self._automaton.sees_last_newline and self._text.endswith("\n"):
            self._read(end - 1)
            if self._step("\n") != self._step(LAST_NEWLINE):
                return self._say()
        self._read(end)
        return self._say()

    def end(self) -> str:
        """Return what was held back: the text is over."""
        if self._at < len(self._text):
            self._take(self._step(LAST_NEWLINE))
        self._take(self._step(END))
        return self._say()

    def _read(self, end: int) -> None:
        text = self._text
        while True:
            at, state = self._at, self._state
            stop = min(end, self._limit - self._base)
            while at < stop and (after := state.quiet.get(text[at])) is not None:
                state = after
                at += 1
            self._at, self._state = at, state
            if at < stop:
                step = self._step(text[at])
                if state.threads or step.kept or step.ended_after is not None:
                    self._take(step)
                else:
                    self._search(end)
            elif at == self._limit - self._base:
                self._take_for_matched()
            else:
                return

    def _step(self, char: str) -> Step:
        return self._state.steps.get(char) or self._automaton.step(self._state, char)

    def _search(self, end: int) -> None:
        """Go on to the next character with which a match may begin, past one with which none does."""
        found = self._automaton.first.search(self._text, self._at + 1, end)
        self._at = found.start() if found else end
        self._state = self._step(self._text[self._at - 1]).target

    def _take(self, step: Step) -> None:
        """Go on by a character."""
        at, starts = self._base + self._at, self._starts
        if step.ended_before is not None:
            self._match(starts[step.ended_before], at)
        if step.kept or step.ended_after is not None:
            starts = [*starts, at]
            if step.ended_after is not None:
                self._match(starts[step.ended_after], at + 1)
            self._starts = [starts[candidate] for candidate in step.kept]
        else:
            self._starts = []
        self._at += 1
        self._state = step.target
        self._decide()

    def _take_for_matched(self) -> None:
        """Mask the first candidate up to here, and take what else is open for its continuation."""
        first = self._starts[0]
        self._match(first, self._base + self._at)
        self._starts = [first] * len(self._starts)
        self._decide()

    def _match(self, start: int, end: int) -> None:
        """Note a match, in place of what was found in it or after it."""
        while self._matches and self._matches[-1][0] >= start:
            self._matches.pop()
        self._matches.append((start, end))

    def _decide(self) -> None:
        """Answer the matches on which no open candidate has a say, and see how long the first may wait."""
        matches, first = self._matches, self._first()
        while matches and matches[0][0] < first:
            self._mask(*matches.popleft())
        self._first_is_certain = bool(matches) and matches[0][0] == first
        if self._starts:
            self._limit = (matches[0][1] if self._first_is_certain else first) + MOST_HELD
        else:
            self._limit = _NEVER

    def _first(self) -> int:
        """Return where the first candidate begins, or one that begins now would."""
        return self._starts[0] if self._starts else self._base + self._at

    def _mask(self, start: int, end: int) -> None:
        if start != self._masked:
            self._answer += self._text[self._said - self._base : start - self._base], MASK
            self._masked = start
            self.matched = True
        self._said = end

    def _say(self) -> str:
        first = self._first()
        if self._first_is_certain:
            self._mask(*self._matches[0])
        elif self._said < first:
            self._answer.append(self._text[self._said - self._base : first - self._base])
            self._said = first
        answer = "".join(self._answer)
        self._answer.clear()
        self._text = self._text[self._said - self._base :]
        self._at -= self._said - self._base
        self._base = self._said
        return answer
