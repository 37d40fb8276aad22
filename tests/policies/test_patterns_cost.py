"""Masking takes linear time and bounded memory, for any pattern and text."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import overload

import pytest

from dockrion.policies.patterns import MASK, Masker, Patterns
from dockrion.policies.regex import automaton
from dockrion.policies.regex.program import Instruction
from tests.policies.pattern_strategies import streamed


class Counted(Sequence[Instruction]):
    """Instructions that count how often one is read."""

    def __init__(self, code: Sequence[Instruction]) -> None:
        self.looks = 0
        self._code = code

    @overload
    def __getitem__(self, at: int) -> Instruction: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Instruction]: ...
    def __getitem__(self, at: int | slice) -> Instruction | Sequence[Instruction]:
        self.looks += 1
        return self._code[at]

    def __len__(self) -> int:
        return len(self._code)

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self._code)


def looks(source: str, text: str) -> int:
    """Return how many instructions are executed to mask a text."""
    patterns = Patterns([source])
    program = patterns.automaton._program
    counted = Counted(program.code)
    patterns.automaton._program = replace(program, code=counted)
    patterns.mask(text)
    return counted.looks


HOSTILE = [
    ("(a+)+$", "a", "b"),
    (r"(?:a|a|aa)+\Z", "a", "b"),
    ("(?:a?){20}a{20}b", "a", ""),
    (r"(?:\w+\s?)*:", "word ", "!"),
    ("(?:a*)*b", "a", ""),
    ("(?:.*,){3}x", "1,", "\n"),
    ("(?s)a.*b|a", "a", ""),  # every a is a match, and may start a longer one
    ("[ab]*a[ab]{10}c", "aabab", ""),
    (r"[\w.]+@[\w.]+\.\w+", "a.a@", ""),
    (f"(?:{'|'.join('a' * 20)})a{{20}}b", "a", ""),
    ("(?:a?)*" * 12 + "b", "a", ""),
]


@pytest.mark.parametrize(("source", "part", "last"), HOSTILE)
def test_character_costs_a_bounded_number_of_steps(
    source: str, part: str, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automaton, "CACHE_LIMIT", 0)  # so that no transition is cached
    size = len(Patterns([source]).automaton._program.code)
    shorter, longer = (looks(source, part * count + last) for count in (100, 400))
    assert longer <= 400 * len(part) * 6 * size
    assert longer <= 4.1 * shorter


@pytest.mark.parametrize(("source", "part", "last"), HOSTILE)
def test_repeating_text_uses_cached_transitions(source: str, part: str, last: str) -> None:
    assert looks(source, part * 20_000 + last) == looks(source, part * 2_000 + last)


def remembered(automaton_: automaton.Automaton) -> int:
    """Return the number of cached threads and transitions, including those of evicted states."""
    states, todo = set(), [automaton_.start, *automaton_._states.values()]
    while todo:
        if (state := todo.pop()) not in states:
            states.add(state)
            todo += [*state.fast.values(), *(step.target for step in state.transitions.values())]
    return sum(1 + len(state.threads) + len(state.transitions) for state in states)


def test_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automaton, "CACHE_LIMIT", 1_000)
    patterns = Patterns(["a[ab]{60}c", r"\w{3}!"])
    random = Random(6)
    masker = Masker(patterns)
    for char in map(chr, range(0x1000, 0x1000 + 1_500)):
        masker.feed(char + random.choice("ab"))
        Masker(patterns).feed(char)
        assert remembered(patterns.automaton) < 1_300


def test_stream_continues_after_the_cache_is_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = Patterns(["ab+c", r"\bx\b"])
    text = "abbbc x abd xx " * 3
    expected = patterns.mask(text)[0]
    monkeypatch.setattr(automaton, "CACHE_LIMIT", 5)
    first, second = Masker(patterns), Masker(patterns)
    said = [(first.feed(char), second.feed(char)) for char in text]
    said.append((first.end(), second.end()))
    for stream in zip(*said, strict=True):
        assert "".join(stream) == expected


def test_threads_share_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automaton, "CACHE_LIMIT", 50)
    patterns = Patterns([r"[\w.]+@\w+\.\w+", r"\d{4}-\d{4}"])
    text = "me@example.org 1234-5678 you@ 12-34 x.y@z.example, " * 40
    expected = f"{MASK} {MASK} you@ 12-34 {MASK}, " * 40
    cuts = [[text[at : at + size] for at in range(0, len(text), size)] for size in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda parts: streamed(patterns, parts), cuts)) == [expected] * 8
