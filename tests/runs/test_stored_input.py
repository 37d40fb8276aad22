"""What is kept of inputs: the body, and an excerpt that never shows a secret."""

import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.redaction import Redactor
from dockrion.runs.stored_input import EXCERPT_LENGTH, MAX_INPUT_BYTES, excerpt, masked_input, stored_input

SECRET = "hunter2hunter2"
REDACTOR = Redactor([SECRET])
USER = {"role": "user", "content": "What is tea?"}


def excerpt_of(value: Any, redactor: Redactor = REDACTOR) -> str:
    return excerpt(value, msgspec.json.encode(value), redactor)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"messages": [USER, {"role": "assistant", "content": "A drink."}]}, "What is tea?"),
        ({"topic": "x", "messages": [{"type": "human", "content": "one"}, USER]}, "What is tea?"),
        ({"messages": [["user", "What is tea?"], ["ai", "A drink."]]}, "What is tea?"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, "b", {}]}]}, "a b"),
        ({"messages": [{"role": "system", "content": "be kind"}], "topic": "tea"}, "tea"),
        ({"messages": [{"role": "user", "content": None}], "topic": "tea"}, "tea"),
        ({"messages": [{"role": "user"}, "user", []]}, '{"messages":[{"role":"user"},"user",[]]}'),
        ({"n": 1, "blank": " \n", "topic": "green\n  tea"}, "green tea"),
        ({"n": 1, "nested": {"topic": "tea"}}, '{"n":1,"nested":{"topic":"tea"}}'),
        ("What is\ttea?", "What is tea?"),
        ([1, "two"], '[1,"two"]'),
        ("", '""'),
        (None, "null"),
    ],
)
def test_an_excerpt_says_most_about_the_input(value: Any, expected: str) -> None:
    assert excerpt_of(value) == expected


def test_an_excerpt_is_short() -> None:
    assert excerpt_of({"topic": "tea " * 50_000}) == ("tea " * 30)[: EXCERPT_LENGTH - 1] + "…"
    assert len(excerpt_of({"n": [0] * 50_000})) == EXCERPT_LENGTH
    assert excerpt_of("x" * EXCERPT_LENGTH) == "x" * EXCERPT_LENGTH


def test_secrets_are_masked_in_excerpts() -> None:
    assert excerpt_of({"topic": f"the key {SECRET}"}) == "the key ***"
    assert excerpt_of({"keys": [SECRET]}) == '{"keys":["***"]}'


@given(st.integers(0, 3_000), st.sampled_from([" ", "x"]), st.booleans())
def test_no_part_of_a_secret_is_in_an_excerpt(before: int, filling: str, in_list: bool) -> None:
    text = filling * before + f" {SECRET} " + filling * 2_000
    assert "hun" not in excerpt_of([text] if in_list else text)


def test_large_inputs_are_not_kept() -> None:
    fits = b'"' + b"x" * (MAX_INPUT_BYTES - 2) + b'"'
    kept = stored_input("x", fits, REDACTOR)
    assert kept is not None
    assert kept.body is fits
    assert stored_input("x", fits + b" ", REDACTOR) is None


def test_every_text_of_a_shown_input_is_masked() -> None:
    body = b'{"hunter2\\u0068unter2": [1, {"a": "is hunter2hunter2"}], "n": 1.0}'
    shown = masked_input(body, REDACTOR)
    assert msgspec.json.decode(msgspec.json.encode(shown)) == {"***": [1, {"a": "is ***"}], "n": 1.0}


def test_an_input_that_is_nested_too_deeply_to_be_masked_is_not_shown() -> None:
    depth = 2 * sys.getrecursionlimit()
    body = b"[" * depth + b"]" * depth
    assert masked_input(body, REDACTOR) is None
    assert masked_input(body, Redactor()) == msgspec.Raw(body)
