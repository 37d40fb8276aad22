"""Masking of secrets in every encoding, and of file paths."""

import json
import re
import urllib.parse
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.redaction import MAX_ADDED_CHARACTERS, Redactor

SECRETS = [
    "s3cr3t-value",
    "p@ss/w:rd?&=+% x",
    'it\'s "quoted"',
    "back\\slash",
    "line\nbreak\ttab",
    "gr\xfc\xdfe \u4e2d",
    "-----BEGIN KEY-----\nabc+/=\ndef\n-----END KEY-----\n",
    ".*[a-z]+(",
    "/srv/keys/token",
    "\U0001f600key",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_plain_text_is_masked(secret: str) -> None:
    assert Redactor([secret]).mask(f"<{secret}|{secret}>") == "<***|***>"


def test_secrets_can_be_added_up_to_a_bound_the_newest_of_them() -> None:
    first = Redactor(["s3cr3t-value"])
    second = first.masking_also(["added-once"]).masking_also(
        ["added-later", "no", "a" * (MAX_ADDED_CHARACTERS + 1)]
    )
    assert second.mask("s3cr3t-value added-once added-later no") == "*** *** *** no"
    assert first.mask("s3cr3t-value added-once") == "*** added-once"
    third = second.masking_also(["b" * (MAX_ADDED_CHARACTERS - 11)])
    assert third.mask(f"s3cr3t-value added-once {'b' * (MAX_ADDED_CHARACTERS - 11)}") == "*** added-once ***"
    assert third.longest == MAX_ADDED_CHARACTERS - 11


def test_adding_very_many_secrets_is_cheap() -> None:
    redactor = Redactor().masking_also(["kept", *["a"] * 100_000, *[""] * 100_000])
    assert redactor.mask("kept a") == "*** a"
    many = redactor.masking_also(f"{number:08}" for number in range(100_000))
    assert many.mask("00099999 00099900 00099899 kept") == "*** *** 00099899 kept"


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_a_repr_is_masked(secret: str) -> None:
    masked = Redactor([secret]).mask(f"KeyError: {secret!r}")
    assert masked in ("KeyError: '***'", 'KeyError: "***"')


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_json_is_masked(secret: str) -> None:
    assert Redactor([secret]).mask(json.dumps({"k": secret}, ensure_ascii=False)) == '{"k": "***"}'


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_json_of_the_standard_library_is_masked(secret: str) -> None:
    assert Redactor([secret]).mask(json.dumps({"k": secret})) == '{"k": "***"}'


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_a_url_is_masked(secret: str) -> None:
    quoted = urllib.parse.quote(secret, safe="")
    assert Redactor([secret]).mask(f"redis://u:{quoted}@h/0") == "redis://u:***@h/0"


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_a_urls_path_is_masked(secret: str) -> None:
    quoted = urllib.parse.quote(secret)
    assert Redactor([secret]).mask(f"GET http://h?k={quoted}&") == "GET http://h?k=***&"


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_a_form_is_masked(secret: str) -> None:
    assert Redactor([secret]).mask(urllib.parse.urlencode({"k": secret})) == "k=***"


def test_the_longest_of_overlapping_secrets_is_masked_whole() -> None:
    redactor = Redactor(["abcd", "abcd-efgh-ijkl", "efgh-ijkl-mnop"])
    assert redactor.mask("abcd-efgh-ijkl abcd efgh-ijkl-mnop") == "*** *** ***"


def test_a_secret_of_8_characters_is_masked_within_a_word() -> None:
    assert Redactor(["12345678"]).mask("x12345678y") == "x***y"


@pytest.mark.parametrize("secret", ["", "x", "1", "yes", "   ", "\n", "  no \n", " " * 20])
def test_secrets_of_less_than_4_characters_mask_nothing(secret: str) -> None:
    redactor = Redactor([secret])
    text = "arguments.max_retries: x is no 1 yes  \n" + " " * 20
    assert redactor.mask(text) == text
    assert redactor.mask_value({"x": secret}) == {"x": secret}


WORDS = [
    ("key1", "key1", "***"),
    ("key1", "the key1.", "the ***."),
    ("key1", "xkey1 key1y x_key1 key1_y 9key1 key19 \xe9key1", None),
    ("true", "streaming: true, untrue, truest", "streaming: ***, untrue, truest"),
    ("key1", "key1key1", None),
    ("key1", "key=key1&k='key1';k:key1,key1-key1/key1", "key=***&k='***';k:***,***-***/***"),
    ("key1", "redis://u:key1@h", "redis://u:***@h"),
    ("key1", r"a line\nkey1\tand \x1bkey1 and \u001bkey1", r"a line\n***\tand \x1b*** and \u001b***"),
    ("key1", "?q=a%20key1%2Ckey1", "?q=a%20***%2C***"),
    ("pa$$", "pa$$ pa$$word xpa$$ =pa$$=", "*** ***word xpa$$ =***="),
    ("#a-b", "x#a-b #a-bc", "x*** #a-bc"),
    ("$#!%", "x$#!%y", "x***y"),
    ("p@ss", "p@ss p%40ss xp%40ss p%40ssx", "*** *** xp%40ss p%40ssx"),
    ("p s", "p s", None),
    ("p s t", "p s t, p+s+t, p%20s%20t, xp s t", "***, ***, ***, xp s t"),
    (" key1\n", "[ key1\n] [key1] xkey1", "[***] [***] xkey1"),
    ("\xe9t\xe9s", "\xe9t\xe9s \\u00e9t\\u00e9s pr\xe9t\xe9s", "*** *** pr\xe9t\xe9s"),
    ("1234567", "1234567 12345678 01234567", "*** 12345678 01234567"),
]


@pytest.mark.parametrize(("secret", "text", "expected"), WORDS)
def test_secrets_of_4_to_7_characters_are_masked_as_whole_words(
    secret: str, text: str, expected: str | None
) -> None:
    assert Redactor([secret]).mask(text) == (text if expected is None else expected)
    redactor = Redactor([secret, "another secret"])
    assert redactor.mask(text) == (text if expected is None else expected)


def test_long_secret_is_masked_within_words_even_if_a_short_one_is_encoded_alike() -> None:
    for secrets in (["p s t", "p%20s%20t"], ["p%20s%20t", "p s t"]):
        assert Redactor(secrets).mask("xp%20s%20t") == "x***"


def test_secret_from_a_file_is_masked_without_its_line_break() -> None:
    assert Redactor(["a-long-secret\r\n"]).mask("a-long-secret xa-long-secretx") == "*** x***x"


@given(st.text("ab_9\xe9", min_size=1, max_size=7), st.text("ab_9\xe9 -$\n"))
def test_short_secret_is_masked_exactly_where_it_is_a_whole_word(secret: str, text: str) -> None:
    text = f"{text} {secret} {secret}{text}"
    expected = re.sub(rf"\b{secret}\b", "***", text) if len(secret) >= 4 else text
    assert Redactor([secret]).mask(text) == expected


def test_without_secrets_text_is_unchanged() -> None:
    assert Redactor().mask("a ***\n/srv/x") == "a ***\n/srv/x"


def test_text_with_surrogates_can_be_encoded_after_masking() -> None:
    for redactor in (Redactor(), Redactor(["x"])):
        redactor.mask("a\udc80b").encode()
        redactor.sanitize("a\udc80b").encode()


def test_a_secret_with_surrogates_is_masked() -> None:
    redactor = Redactor(["key\udc80\udcff"])
    assert redactor.mask("got key\udc80\udcff!") == "got ***!"
    assert "key" not in redactor.mask("got " + repr("key\udc80\udcff"))


def test_a_secret_beside_a_surrogate_is_masked() -> None:
    assert "abcdefgh" not in Redactor(["abcdefgh"]).mask("\udc80abcdefgh\udc80")


@settings(max_examples=100)
@given(
    secret=st.text(st.characters(exclude_categories=[]), min_size=8, max_size=20).filter(
        lambda s: "*" not in s and len(s.strip()) >= 8
    ),
    before=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
def test_no_form_of_any_secret_survives(secret: str, before: str) -> None:
    redactor = Redactor([secret])
    for form in (secret, repr(secret), json.dumps(secret)):
        assert secret not in redactor.mask(before + form)
    assert redactor.mask(secret) == "***"


NESTED: list[tuple[Any, Any]] = [
    ("a key1", "a ***"),
    ({"a": ["key1", {"b": "x key1"}]}, {"a": ["***", {"b": "x ***"}]}),
    ({"key1": 1}, {"***": 1}),
    (("key1", 2), ["***", 2]),
    ([1, 2.5, True, None], [1, 2.5, True, None]),
    ({1: "key1"}, {"1": "***"}),
]


@pytest.mark.parametrize(("value", "expected"), NESTED)
def test_secrets_in_a_value_are_masked(value: Any, expected: Any) -> None:
    assert Redactor(["key1"]).mask_value(value) == expected


PATHS = {
    "[Errno 2] No such file or directory: '/srv/app/data.csv'": "[Errno 2] No such file or directory: <path>",
    'File "/srv/my app/main.py", line 3': "File <path>, line 3",
    "cannot read /srv/app/data.csv": "cannot read <path>",
    "/srv/app: is a directory": "<path>: is a directory",
    "cannot read '/srv/my app/a (1).txt' now": "cannot read <path> now",
    "(/srv/app/x)": "(<path>)",
    "path=/srv/app/x": "path=<path>",
    "two: /a/b, /c/d.": "two: <path>, <path>",
    "'/a/b' and '/c/d'": "<path> and <path>",
    "~/secrets/x": "<path>",
    "'~/my secrets/x'": "<path>",
    "/srv/gr\xfc\xdfe/x": "<path>",
    "/srv/app/": "<path>",
    r"cannot open C:\Users\me\x.txt": "cannot open <path>",
    r"'C:\Program Files\x.txt'": "<path>",
    "PosixPath('/srv/app')": "PosixPath(<path>)",
    "error:/srv/app/x.py:12": None,
    "file:///srv/app/x.py": None,
    "line1\n/srv/app/x\nline3": "line1\n<path>\nline3",
}


@pytest.mark.parametrize(("text", "expected"), PATHS.items())
def test_file_paths_are_replaced(text: str, expected: str | None) -> None:
    found = Redactor().sanitize(text)
    assert "/srv" not in found
    assert "Users" not in found
    assert expected is None or found.rstrip(".") == expected.rstrip(".")


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/a/b?c=d",
        "see http://localhost:8080/runs/1/events",
        "unix:relative",
        "and/or",
        "1/2 of 3/4",
        "2026/01/02",
        "a / b",
        "read config/app.yaml",
        "./here and ../there",
        "application/json",
        "",
        "/",
        "://",
    ],
)
def test_text_that_is_not_a_file_path_is_unchanged(text: str) -> None:
    assert Redactor().sanitize(text) == text


def test_a_secret_in_a_path_is_removed() -> None:
    assert "key1" not in Redactor(["key1"]).sanitize("at /srv/key1/x and '/srv/a key1/x'")


def test_masking_hostile_text_takes_linear_time() -> None:
    redactor = Redactor(["a" * 50, "a" * 7, "//'/"])
    for hostile in ("/" * 200_000, "'/" * 100_000, "~/a" * 60_000, "a" * 49 * 2_000, r"C:\ "[:3] * 60_000):
        redactor.sanitize(hostile)
