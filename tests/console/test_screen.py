"""Which characters reach a terminal, and how much of a line fits into it."""

import sys
import unicodedata
from datetime import UTC, datetime
from io import BytesIO, StringIO, TextIOWrapper
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.client import Complete, Token
from dockrion.console.commands import report_errors
from dockrion.console.display import Display
from dockrion.console.screen import TEXT, Screen, fit, printable

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
MARKS = "\N{ARABIC LETTER MARK}\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}"


def acts(character: str) -> bool:
    """Return whether a terminal does something else with a character than to show it."""
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in DIRECTIONS
        or character in MARKS
    )


@given(st.text(st.one_of(st.characters(), st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Zs"]))))
def test_only_what_a_terminal_acts_on_is_replaced(text: str) -> None:
    assert printable(text) == "".join(REPLACEMENT if acts(each) else each for each in text)
    assert printable(text, TEXT) == "".join(
        REPLACEMENT if acts(each) and each not in "\n\t\u2028\u2029" else each for each in text
    )


@pytest.mark.parametrize(
    "text",
    [
        "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}",
        "\N{WOMAN}\N{EMOJI MODIFIER FITZPATRICK TYPE-5}\N{ZERO WIDTH JOINER}\N{FIRE ENGINE}",
        "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16} \N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-15}",
        "\N{REGIONAL INDICATOR SYMBOL LETTER F}\N{REGIONAL INDICATOR SYMBOL LETTER R}",
        "\N{WAVING BLACK FLAG}" + "".join(chr(0xE0000 + code) for code in b"gbsct") + "\N{CANCEL TAG}",
        "10\N{NO-BREAK SPACE}km\N{NARROW NO-BREAK SPACE}?",
        "\u4f60\N{IDEOGRAPHIC SPACE}\u597d",
        "\u0645\u06cc\N{ZERO WIDTH NON-JOINER}\u062e\u0648\u0627\u0647\u0645",
        "\u0d28\u0d4d\N{ZERO WIDTH JOINER} soft\N{SOFT HYPHEN}hyphen",
        "e\N{COMBINING ACUTE ACCENT} \N{WORD JOINER}\U000e0100\ue0b0\U0001fae9",
    ],
    ids=ascii,
)
def test_printable_text_is_shown_as_it_was_written_whole_or_in_pieces(text: str) -> None:
    out = StringIO()
    display = Display(Screen(out, StringIO()))
    common: dict[str, Any] = {"id": "r:1", "run_id": "r", "sequence": 1, "timestamp": datetime.now(UTC)}
    for piece in (text, "\n", *text, "\n"):
        display.show(Token(**common, content=piece))
    display.show(Complete(**common, output=text, latency_seconds=0.0, metadata={}))
    assert out.getvalue() == f'{text}\n{text}\n"{text}"\n'


@pytest.mark.parametrize(
    ("text", "columns", "fitting"),
    [
        ("plain", 3, "pla"),
        ("plain", 9, "plain"),
        ("\u4f60\u597d", 3, "\u4f60"),
        ("e\N{COMBINING ACUTE ACCENT}e", 1, "e\N{COMBINING ACUTE ACCENT}"),
        ("\N{WOMAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER}", 2, "\N{WOMAN}\N{ZERO WIDTH JOINER}"),
        ("", 0, ""),
    ],
    ids=ascii,
)
def test_a_line_is_cut_where_the_terminal_ends(text: str, columns: int, fitting: str) -> None:
    assert fit(text, columns) == fitting


def test_text_that_the_encoding_of_the_output_lacks_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    written = BytesIO()
    out = TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    screen = Screen(out, StringIO())

    async def show() -> int:
        screen.line("caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{WOMAN}")
        return 0

    assert report_errors(show(), screen) == 0
    assert written.getvalue() == b"caf? ?\n"
