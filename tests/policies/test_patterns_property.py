"""Properties of masking, over random patterns, texts and splits."""

from itertools import product, takewhile
from unittest import mock

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dockrion.policies import patterns as module
from dockrion.policies.patterns import MASK, Masker
from tests.policies.pattern_strategies import (
    CHARS,
    alternation,
    compiled,
    cuts,
    masked_by_re,
    patterns,
    streamed,
)

texts = st.text(st.sampled_from(CHARS), max_size=14)
places = st.lists(st.integers(0, 100), max_size=8)


@settings(max_examples=80)
@given(sources=patterns(), texts=st.lists(texts, min_size=1, max_size=6), places=places)
def test_every_split_of_a_text_is_masked_as_re_masks_the_whole(
    sources: list[str], texts: list[str], places: list[int]
) -> None:
    found = compiled(sources)
    for text in texts:
        expected = masked_by_re(sources, text)
        assert found.mask(text) == (expected, expected.count(MASK) > 0)
        assert streamed(found, cuts(text, places)) == expected
        assert streamed(found, list(text)) == expected


# Possible continuations; patterns are so short that none needs a longer one to be decided.
FUTURES = ["".join(chars) for length in range(6) for chars in product("abc", repeat=length)]


@settings(max_examples=60)
@given(
    sources=patterns(["a", "b", "[ab]", "[^a]", "."], ["*", "+", "?", "??", "+?"], size=4),
    text=st.text("abc", max_size=6),
)
def test_text_that_no_continuation_can_change_is_released_at_once(sources: list[str], text: str) -> None:
    assume(max(map(len, sources)) < 30)
    masker, expression = Masker(compiled(sources)), alternation(sources)
    said = "".join(map(masker.feed, text))
    assert said == _common_start([expression.sub(MASK, text + future) for future in FUTURES])


def _common_start(texts: list[str]) -> str:
    pairs = zip(min(texts), max(texts), strict=False)
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


# Classes, not characters, so that each character of a text can be distinct.
CLASSES = ["[a-m]", "[n-z]", "[a-z]", ".", r"\b", r"\Z", "$"]


@settings(max_examples=50)
@given(
    sources=patterns(CLASSES),
    text=st.permutations("abcdefnopqrs \n").map("".join),
    most=st.integers(1, 6),
    places=places,
)
def test_bound_never_hides_less_for_any_split(
    sources: list[str], text: str, most: int, places: list[int]
) -> None:
    found = compiled(sources)
    with mock.patch.object(module, "MAX_HELD", most):
        bounded, matched = found.mask(text)
        masker = Masker(found)
        parts = []
        for part in cuts(text, places):
            parts.append(masker.feed(part))
            assert len(masker._text) <= most
        parts.append(masker.end())
    assert "".join(parts) == bounded
    assert matched == masker.matched == (MASK in bounded)
    assert set(bounded.replace(MASK, "")) <= set(masked_by_re(sources, text).replace(MASK, ""))
