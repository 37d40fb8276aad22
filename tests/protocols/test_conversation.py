"""How a conversation becomes the agent's payload."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockrion.dockfile.agent_structs import ChatSpec
from dockrion.errors import InvalidRequest
from dockrion.protocols.conversation import Conversation, payload_of, text_of
from tests.protocols.logs import texts

MESSAGES = ChatSpec()
QUESTION = ChatSpec(field="question")
TEXT, IMAGE = {"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": "data:,"}}
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be kind"},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]},
    {"role": "tool", "content": "1", "tool_call_id": "c"},
    {"role": "user", "content": ["a", TEXT, IMAGE], "name": "ann"},
    {"role": "assistant", "content": "begun"},
]
SCHEMA = {"properties": {"question": {"type": "string"}, "top_k": {}, "messages": {}}}
PARTS = st.lists(st.sampled_from(["a", TEXT, IMAGE, None, 1, {"type": "text", "text": None}]), max_size=3)


def test_messages_are_the_payload() -> None:
    assert payload_of(Conversation(TALK), MESSAGES, None) == {"messages": TALK}


def test_content_of_texts_alone_is_one_text() -> None:
    twice = {"type": "text", "text": "bb"}
    for content, expected in (
        *(([TEXT, TEXT], "bb"), ([TEXT, IMAGE], [TEXT, IMAGE]), ([], ""), ("a", "a")),
        ([TEXT, TEXT, IMAGE, TEXT | {"own": 1}], [twice, IMAGE, TEXT | {"own": 1}]),  # none is in two parts
    ):
        asked = Conversation([{"role": "user", "content": content, "name": "ann"}])
        assert payload_of(asked, MESSAGES, None) == {
            "messages": [{"role": "user", "content": expected, "name": "ann"}]
        }
        assert asked.messages[0]["content"] == content  # what the caller has sent stays as it is


def test_field_has_the_text_of_the_last_question() -> None:
    assert payload_of(Conversation(TALK), QUESTION, None) == {"question": "ab"}


def test_other_fields_pass_where_the_schema_names_them() -> None:
    asked = Conversation(TALK, {"top_k": 3, "model": "m", "question": "mine", "messages": []})
    assert payload_of(asked, QUESTION, SCHEMA) == {"top_k": 3, "question": "ab", "messages": []}
    assert payload_of(asked, MESSAGES, SCHEMA) == {"top_k": 3, "question": "mine", "messages": TALK}
    assert payload_of(asked, QUESTION, None) == {"question": "ab"}


@pytest.mark.parametrize(
    ("schema", "passes"),
    [
        (None, True),
        ({}, True),
        ({"properties": {"tools": {}}, "additionalProperties": False}, True),
        ({"additionalProperties": False}, False),
        ({"additionalProperties": {"type": "string"}}, True),
    ],
)
def test_tools_pass_unless_the_schema_refuses_them(schema: dict[str, Any] | None, passes: bool) -> None:
    asked = Conversation(TALK, tools=[{"name": "f"}])
    assert ("tools" in payload_of(asked, MESSAGES, schema)) == passes
    assert "tools" not in payload_of(Conversation(TALK), MESSAGES, schema)


@pytest.mark.parametrize("messages", [[], TALK[:1], [{"role": "User"}, {}]])
def test_conversation_without_a_question_is_refused(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest, match="send"):
        payload_of(Conversation(messages), QUESTION, None)


@given(texts | PARTS | st.none() | st.integers() | st.dictionaries(texts, texts, max_size=1))
def test_every_content_has_a_text(content: Any) -> None:
    assert isinstance(text_of(content), str)
    asked = Conversation([{"role": "user", "content": content}])
    assert payload_of(asked, QUESTION, None) == {"question": text_of(content)}
    assert len(payload_of(asked, MESSAGES, None)["messages"]) == 1
