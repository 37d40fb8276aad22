"""What a reply shows of messages, and its text from the output of an agent that has emitted none."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.protocols import reply
from dockrion.protocols.reply import ShownMessages, output_text
from tests.protocols.logs import texts

ANSWER = {"answer": {"text": "Hi", "parts": ["a", {"type": "text", "text": "b"}], "n": 1, "none": None}}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=8,
)


def _reply(output: Any, path: str | None) -> Any:
    return msgspec.json.decode(output_text(msgspec.json.encode(output), path))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("Hi", "Hi"),
        ("", ""),
        ({"text": "a", "answer": "b", "more": 1}, "a"),
        ({"text": 1, "answer": "b"}, "b"),
        ({"output": "a"}, "a"),
        ({"content": "a"}, "a"),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "a"),
        (
            {"messages": [{"type": "ai", "content": ["a", {"type": "text", "text": "b"}, {"type": "x"}]}]},
            "ab",
        ),
        ({"messages": [{"role": None, "type": "ai", "content": "a"}], "text": "b"}, "a"),
        ({"messages": [], "text": "b"}, "b"),
        ({"messages": ["a"], "text": "b"}, "b"),
        ({"messages": [{"role": "assistant"}], "text": "b"}, "b"),
        ({"messages": "a", "text": "b"}, "b"),
    ],
)
def test_text_is_where_the_page_finds_it(output: Any, expected: str) -> None:
    assert _reply(output, None) == expected


@pytest.mark.parametrize(
    "output",
    [
        None,
        1,
        True,
        [],
        ["a"],
        {},
        {"text": None},
        {"messages": [{"role": "user", "content": "q"}], "text": "b"},
    ],
)
def test_output_without_a_text_is_json(output: Any) -> None:
    assert _reply(output, None) == msgspec.json.encode(output).decode()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("answer.text", "Hi"),
        ("answer.parts", "ab"),
        ("answer.parts.0", "a"),
        ("answer.parts.-1.text", "b"),
        ("answer.parts.-1", '{"type":"text","text":"b"}'),
        ("answer.n", "1"),
    ],
)
def test_path_names_fields_and_indexes(path: str, expected: str) -> None:
    assert _reply(ANSWER, path) == expected


@pytest.mark.parametrize(
    "path",
    [
        *("text", "answer.none", "answer.text.0", "answer.parts.2", "answer.parts.-3", "answer.parts.x"),
        *("answer.parts.9999999999", "answer.parts.1_0", "answer.parts.²", "answer.parts.+1"),
    ],
)
def test_where_the_path_leads_nowhere_the_output_is_json(path: str) -> None:
    assert _reply(ANSWER, path) == msgspec.json.encode(ANSWER).decode()


@given(VALUES, st.none() | st.lists(st.sampled_from(["0", "-1", "text", "messages", "\n\n", "0" * 9])))
def test_every_output_has_a_text(output: Any, path: list[str] | None) -> None:
    text = _reply(output, None if path is None else ".".join(path) or "x")
    assert isinstance(text, str)


def test_the_page_looks_in_the_same_places() -> None:
    page = Path(reply.__file__).parents[1] / "web/page/conversation/messages.js"
    source = page.read_text()

    def names(pattern: str) -> tuple[str, ...]:
        found = re.search(pattern, source)
        assert found
        return tuple(re.findall(r'"(\w+)"', found[1]))

    assert names(r"const TEXTS = \[(.*?)\]") == reply._TEXT_FIELDS
    assert names(r"assistant: \[(.*?)\]") == reply.ASSISTANT_ROLES


def test_number_of_remembered_messages_is_bounded() -> None:
    shown = ShownMessages()
    for number in range(1000):
        shown = shown.after_token(f"m{number}", f"s{number}").after_message("", f"t{number}")
    assert len(shown.ids) == len(shown.streamed) == 64
    assert shown.include("m999", "")
    assert shown.after_token("m999", "s999") is shown
