"""Random patterns, texts and splits, and the results of `re`."""

import re
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import reject
from hypothesis import strategies as st

from dockrion.policies.patterns import MASK, BadPattern, Masker, Patterns

ONE_CHAR = ["a", "b", "[ab]", "[^a]", ".", "(?s:.)", r"\w", r"\W", "(?i:S)", r"(?a:\w)", r"\n", " ", r"\x61"]
EDGES = ["^", "$", r"\b", r"\B", r"\A", r"\Z", "(?m:^)", "(?m:$)", r"(?a:\b)", r"(?a:\B)"]
SIGNS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,3}?", "{2,}", "{,2}", "{0}"]
CHARS = (
    "aabb \nsS\u017f\xe9"  # U+017F is an s where case is ignored, and \xe9 a word character but not in ASCII
)


def patterns(
    atoms: Sequence[str] = (*ONE_CHAR, *ONE_CHAR, *EDGES), signs: Sequence[str] = SIGNS, size: int = 8
) -> st.SearchStrategy[list[str]]:
    """Generate lists of patterns, each of them supported: without others, most lists would be rejected."""
    pattern = st.recursive(
        st.sampled_from(atoms),
        lambda inner: (
            st.lists(inner, min_size=2, max_size=3).map("".join)
            | st.lists(inner | st.just(""), min_size=2, max_size=3).map("|".join).map(_group)
            | st.builds(lambda body, sign: _group(body) + sign, inner, st.sampled_from(signs))
        ),
        max_leaves=size,
    )
    return st.lists(pattern.filter(_is_supported), min_size=1, max_size=3)


def _is_supported(source: str) -> bool:
    try:
        Patterns([source])
    except BadPattern:
        return False
    return True


def _group(body: str) -> str:
    return f"(?:{body})"


def compiled(sources: Sequence[str]) -> Patterns:
    """Compile patterns, or reject the example if one is unsupported."""
    try:
        return Patterns(sources)
    except BadPattern:
        reject()


def alternation(sources: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(_group, sources)))


def masked_by_re(sources: Sequence[str], text: str) -> str:
    return alternation(sources).sub(MASK, text)


def cuts(text: str, places: Sequence[int]) -> list[str]:
    """Split a text at some positions, which may repeat."""
    inside = sorted(place % (len(text) + 1) for place in places)
    return [text[start:end] for start, end in pairwise([0, *inside, len(text)])]


def streamed(patterns: Patterns, parts: Sequence[str]) -> str:
    masker = Masker(patterns)
    return "".join([masker.feed(part) for part in parts]) + masker.end()
