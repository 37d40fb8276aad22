"""Text that grows piece by piece."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dockrion.protocols.growing_text import GrowingText, values_of

_TEXTS = st.lists(st.sampled_from(["", "a", '"', '\\"', "\\", '"\n"', "\n", '","', "é\u2028😀"]), max_size=40)


@given(_TEXTS, st.lists(st.integers(1, 700), max_size=8))
def test_text_is_the_same_however_its_pieces_come(texts: list[str], sizes: list[int]) -> None:
    pieces = [msgspec.json.encode(text) for text in texts * 30]
    parts, rest = [], pieces
    for size in sizes:
        parts.append(rest[:size])
        rest = rest[size:]
    text = GrowingText()
    for part in [*parts, rest]:
        text = text.with_pieces(part)
    assert msgspec.json.decode(text.json()) == "".join(texts * 30)
    assert text == GrowingText().with_pieces(pieces)


def test_pieces_are_joined_from_time_to_time() -> None:
    text = GrowingText()
    for _ in range(10_000):
        text = text.with_pieces([b'"word "'])
    assert len(values_of(text.parts)) + len(values_of(text.blocks)) < 300
