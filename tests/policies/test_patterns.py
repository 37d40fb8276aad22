"""What patterns mask, what is held back, and which patterns are unsupported."""

import re
from pathlib import Path

import pytest

import dockrion
from dockrion.policies import patterns as module
from dockrion.policies.patterns import MASK, MAX_HELD, BadPattern, Masker, Patterns
from tests.policies.pattern_strategies import streamed

EMAIL = r"[\w.+-]+@[\w-]+\.[\w.]+"
CARD = r"\b\d{4}[- ]?\d{4}[- ]?\d{4}[- ]?\d{4}\b"
KEY = r"sk-[A-Za-z0-9]{20,}"
PEM = r"(?s)-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----"

EXAMPLES = [
    (EMAIL, "write to jo.doe+x@mail.example.org, or not", f"write to {MASK}, or not"),
    (EMAIL, "a@b and a@b.c", f"a@b and {MASK}"),
    (CARD, "4111 1111-11111111, 41111111111111112", f"{MASK}, 41111111111111112"),
    (KEY, "key=sk-" + "a1B2" * 6 + ".", f"key={MASK}."),
    (KEY, "key=sk-" + "a" * 19, "key=sk-" + "a" * 19),
    (PEM, "x-----BEGIN KEY-----\nab\n-----END KEY-----y-----END KEY-----", f"x{MASK}y-----END KEY-----"),
    (r"(?i)password:\s*\S+", "PassWord: hunter2 x", f"{MASK} x"),
    (r"(?i:pass)word", "PASSword PASSWORD", f"{MASK} PASSWORD"),
    (r"(?x) \d+ \ kg  # a weight", "70 kg", MASK),
    (r"(?x)(?# one )(?i) a [ ] b", "A b", MASK),
    (r"a(?#no (\) end)b", "ab", MASK),
    (r"(?m)^key.*$", "key a\nno key\nkey b", f"{MASK}\nno key\n{MASK}"),
    (r"^\d+$", "123\n", f"{MASK}\n"),
    (r"^\d+\Z", "123\n", "123\n"),
    (r"^a", "aa", f"{MASK}a"),
    (r"\d+$\n", "1\n12\n", f"1\n{MASK}"),
    (r"(?P<year>[12]\d{3})-(0[1-9]|1[0-2])", "in 2026-11", f"in {MASK}"),
    (r"a{,2}b|a{2}c|x{2,}|d{}|e{,}f", "aab aac xxx d{} eef", " ".join([MASK] * 5)),
    (r"\x41\u0042\U00000043\103\0\N{BULLET}[]^-][^]]\.", "ABCC\0\u2022]x.", MASK),
    (r"(?a)\w+", "gr\xfcn", f"{MASK}\xfc{MASK}"),
    (r"(?a:\w)\w", "\xfc\xfc a\xfc", f"\xfc\xfc {MASK}"),
    (r"(?a)\w(?u:\w)", "a\xfc \xfca", f"{MASK} \xfca"),
    (r"(?s:a.)(?-s:.)", "a\nb a\n\n", f"{MASK} a\n\n"),
    (r"(?i)(?-i:a)b", "aB AB", f"{MASK} AB"),
    (r"<.+?>|<", "<a><b> <", f"{MASK}{MASK} {MASK}"),
    (r"a.*x|a\b", "a b", f"{MASK} b"),
    ("(?:|aa|bb)*b[bc]", "aabbbc", f"{MASK}{MASK}"),
    ("c(?:|aa|bb){1,3}b[bc]", "caabbbc", f"{MASK}bc"),
    ("\U0001f600+", "\U0001f600\U0001f600\U0001f601", f"{MASK}\U0001f601"),
    ("[\ud800-\udfff]", "a\udc80b", f"a{MASK}b"),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), EXAMPLES)
def test_matches_are_masked_in_whole_texts_and_in_streams(pattern: str, text: str, expected: str) -> None:
    patterns = Patterns([pattern])
    assert re.sub(pattern, MASK, text) == expected
    assert patterns.mask(text) == (expected, MASK in expected)
    assert streamed(patterns, list(text)) == expected
    assert streamed(patterns, ["", text, ""]) == expected


# Each part of a stream with what is released after it; the last text is released at the end.
STREAMS: list[tuple[list[str], list[tuple[str, str]], str]] = [
    ([KEY], [("a s", "a "), ("k", ""), ("-x", ""), (" y", "sk-x y")], ""),
    ([KEY], [("no key here", "no key here"), (" as", " a"), ("h", "sh")], ""),
    (["ab+"], [("a", ""), ("b", MASK), ("b", ""), ("c", "c")], ""),
    (["ab(?:cd)?"], [("ab", MASK), ("c", ""), ("x", "cx")], ""),
    (["ab(?:cd)?"], [("abc", MASK), ("d", ""), ("e", "e")], ""),
    (["ab(?:cd)?"], [("abc", MASK)], "c"),
    (["abc", "b"], [("ab", ""), ("b", f"a{MASK}{MASK}")], ""),
    (["abc", "b"], [("ab", ""), ("c", MASK)], ""),
    (["abc", "b"], [("ab", "")], f"a{MASK}"),
    ([CARD], [("4111111111111111", ""), (",", f"{MASK},")], ""),
    ([CARD], [("4111111111111111", "")], MASK),
    ([CARD], [("4111111111111111", ""), ("2", "41111111111111112")], ""),
    ([CARD], [("x", "x"), ("4111", "4111")], ""),
    (["a$"], [("a", ""), ("\n", ""), ("", ""), ("b", "a\nb")], ""),
    (["a$"], [("a", ""), ("\n", "")], f"{MASK}\n"),
    (["a$"], [("b\n", "b\n"), ("", "")], ""),
    (["(?m)a$"], [("a", ""), ("\n", f"{MASK}\n")], ""),
    ([r"a\Z"], [("a", ""), ("\n", "a\n")], ""),
    (["^ab"], [("a", ""), ("b", MASK), ("ab", "ab")], ""),
    ([], [("a", "a"), ("\n", "\n")], ""),
]


@pytest.mark.parametrize(("sources", "parts", "rest"), STREAMS)
def test_only_text_that_may_match_is_held_back(
    sources: list[str], parts: list[tuple[str, str]], rest: str
) -> None:
    masker = Masker(Patterns(sources))
    assert [masker.feed(text) for text, _ in parts] == [said for _, said in parts]
    assert masker.end() == rest
    assert masker.matched == (MASK in "".join(said for _, said in parts) + rest)


def test_match_is_reported_as_soon_as_it_is_masked() -> None:
    masker = Masker(Patterns(["ab+"]))
    assert masker.feed("a") == ""
    assert not masker.matched
    assert masker.feed("b") == MASK
    assert masker.matched


def test_first_of_several_patterns_is_preferred() -> None:
    assert Patterns(["ab", "abc"]).mask("abc") == (f"{MASK}c", True)
    assert Patterns(["abc", "ab"]).mask("abc") == (MASK, True)


def test_candidate_at_the_bound_is_masked() -> None:
    patterns = Patterns(["<[^>]*>"])
    for size, expected in [
        (MAX_HELD - 1, "<" + "a" * (MAX_HELD - 2)),
        (MAX_HELD, MASK),
        (MAX_HELD + 2, MASK + "aa"),
    ]:
        text = "<" + "a" * (size - 1)
        assert patterns.mask(text)[0] == expected
        assert streamed(patterns, list(text)) == expected


def test_match_beyond_the_bound_is_masked_to_its_end() -> None:
    assert Patterns(["<[^>]*>"]).mask("x<" + "a" * 3 * MAX_HELD + ">y") == (f"x{MASK}y", True)


def test_candidate_inside_one_at_the_bound_is_masked_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_HELD", 5)
    assert Patterns(["a[a-z0-9]*!", r"\d{4}"]).mask("abc1234x?") == (f"{MASK}x?", True)


def test_long_match_holds_nothing_back_once_certain() -> None:
    masker = Masker(Patterns(["(?s)secret: .*"]))
    assert masker.feed("secret: ") == MASK
    for _ in range(3):
        assert masker.feed("x" * MAX_HELD) == ""
        assert masker._text == ""
    assert masker.end() == ""


REFUSED = [
    ("(", "not a regular expression: missing ), unterminated subpattern at position 0"),
    ("a**", "multiple repeat"),
    ("a{99999999999999999999}", "repetition number is too large"),
    (r"(a)\1", "backreference"),
    (r"(?P<x>a)(?P=x)", "backreference"),
    ("(?=a)b", "looking ahead"),
    ("a(?!b)", "looking ahead"),
    ("(?<=a)b", r"use \b, ^ or \Z"),
    ("(?<!a)b", "looking behind"),
    ("(?>a+)b", "write (?:…)"),
    ("a++b", "write + alone"),
    ("a{1,2}+", "possessive"),
    ("(a)?(?(1)b|c)", "a condition"),
    ("a*", "matches the empty text"),
    ("", "matches the empty text"),
    (r"\b", "use + instead of *"),
    ("a|", "matches the empty text"),
    ("(?:a?){3}", "matches the empty text"),
    ("(?:ab){3000}", "too large"),
    ("(?:(?:a{100}){100}){100}", "use smaller counts"),
    (f"(?:{'|' * 500}x){{900}}y", "too large"),
    ("(" * 51 + "a" + ")" * 51, "nested too deeply"),
    ("(" * 5000 + "a" + ")" * 5000, "nested too deeply"),
]


@pytest.mark.parametrize(("pattern", "reason"), REFUSED)
def test_unsupported_pattern_is_rejected_with_index_and_reason(pattern: str, reason: str) -> None:
    with pytest.raises(BadPattern, match=re.escape(reason)) as caught:
        Patterns(["fine", pattern])
    assert caught.value.index == 1
    assert reason in caught.value.message
    assert str(caught.value).startswith("pattern 2: ")
    assert isinstance(caught.value, ValueError)


def test_patterns_too_large_together_are_rejected() -> None:
    Patterns(["a{1900}"] * 5)
    with pytest.raises(BadPattern, match="all together") as caught:
        Patterns(["a{1900}"] * 6)
    assert caught.value.index == 5


def test_repeats_of_the_empty_text_cost_nothing() -> None:
    for pattern in (
        r"(?:(?:(?:){65535}){65535}){65535}a",
        r"(?:(?:\b){0}){65535}a",
        r"(?:\b|^){65000}a",
        "(?:x{0}a{0})*a",
    ):
        assert Patterns([pattern]).mask("a") == (MASK, True)


@pytest.mark.filterwarnings("error")
def test_patterns_that_re_warns_about_are_accepted() -> None:
    assert Patterns(["[[a]+"]).mask("[a") == (MASK, True)


def test_no_other_module_imports_the_engine() -> None:
    package = Path(dockrion.__file__).parent
    importing = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.parent.name != "regex" and "policies.regex" in path.read_text()
    }
    assert importing == {"policies/patterns.py"}
