"""Messages of A2A clients: what the agent gets of them, in both versions."""

from typing import Any

import msgspec
import pytest

from dockrion.protocols.a2a.errors import CONTENT_TYPE_NOT_SUPPORTED
from dockrion.protocols.a2a.requests import (
    Configuration,
    Message,
    answer_in,
    conversation_of,
    payload_in,
)
from dockrion.protocols.json_rpc import INVALID_PARAMS, RpcError


def message(*parts: dict[str, Any], **fields: Any) -> Message:
    return msgspec.convert({"messageId": "m1", "role": "ROLE_USER", "parts": parts, **fields}, Message)


def content_of(*parts: dict[str, Any]) -> Any:
    (said,) = conversation_of(message(*parts)).messages
    assert said["role"] == "user"
    return said["content"]


PARTS = {
    "text": ({"text": "Hi", "mediaType": "text/plain"}, {"type": "text", "text": "Hi"}),
    "empty text": ({"text": ""}, {"type": "text", "text": ""}),
    "data": ({"data": [1, None]}, {"type": "text", "text": "[1,null]"}),
    "null": ({"data": None}, {"type": "text", "text": "null"}),
    "image": (
        {"raw": "QUJD", "mediaType": "image/PNG", "filename": "a.png"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
    ),
    "image of a URL": (
        {"url": "https://example.org/a", "mediaType": "image/png"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a"}},
    ),
    "sound": (
        {"raw": "QUJD", "mediaType": "audio/mpeg"},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
    ),
    "file": (
        {"raw": "QUJD", "mediaType": "application/pdf"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD"}},
    ),
    "bytes": (
        {"raw": "QUJD"},
        {"type": "file", "file": {"file_data": "data:application/octet-stream;base64,QUJD"}},
    ),
    "text of 0.3": ({"kind": "text", "text": "Hi"}, {"type": "text", "text": "Hi"}),
    "file of 0.3": (
        {"kind": "file", "file": {"bytes": "QUJD", "mimeType": "text/csv", "name": "a.csv"}},
        {"type": "file", "file": {"file_data": "data:text/csv;base64,QUJD"}},
    ),
    "image of 0.3": (
        {"kind": "file", "file": {"uri": "https://example.org/a", "mimeType": "image/png"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a"}},
    ),
    "data of 0.3": ({"kind": "data", "data": {"a": 1}}, {"type": "text", "text": '{"a":1}'}),
    "data of 0.3 that is no object": (
        {"kind": "data", "data": {"value": [1]}, "metadata": {"data_part_compat": True}},
        {"type": "text", "text": "[1]"},
    ),
}


@pytest.mark.parametrize(("part", "content"), PARTS.values(), ids=PARTS)
def test_parts(part: dict[str, Any], content: dict[str, Any]) -> None:
    assert content_of(part) == [content]
    assert content_of({"text": "See"}, part) == [{"type": "text", "text": "See"}, content]


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ({}, INVALID_PARAMS),
        ({"kind": "file", "file": {}}, INVALID_PARAMS),
        ({"url": "https://example.org/a.pdf"}, CONTENT_TYPE_NOT_SUPPORTED),
        ({"url": "https://example.org/a.mp3", "mediaType": "audio/mpeg"}, CONTENT_TYPE_NOT_SUPPORTED),
    ],
)
def test_parts_without_an_equivalent_are_refused(part: dict[str, Any], code: int) -> None:
    with pytest.raises(RpcError) as raised:
        content_of(part)
    assert raised.value.rpc_code == code


@pytest.mark.parametrize("parts", [[], "text", [None], [{"text": 1}], [{"metadata": []}]])
def test_malformed_messages_are_refused(parts: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"parts": parts}, Message)


def test_fields_for_agents_that_know_them() -> None:
    sent = message({"data": {"city": "Rome"}}, {"text": "?"}, contextId="c", referenceTaskIds=["t"])
    fields = {"city": "Rome", "messageId": "m1", "contextId": "c", "referenceTaskIds": ["t"]}
    assert conversation_of(sent).fields == fields


def test_message_that_is_a_payload() -> None:
    assert payload_in(message({"data": {"city": "Rome"}})) == {"city": "Rome"}
    words: list[list[dict[str, Any]]] = [[{"text": "Rome"}], [{"data": [1]}]]
    words.append([{"data": {}}, {"text": "Rome"}])
    for parts in words:
        assert payload_in(message(*parts)) is None


BOOLEAN = {"type": "boolean"}
ANSWERS: list[tuple[list[dict[str, Any]], dict[str, Any] | None, Any]] = [
    ([{"text": "yes"}], None, "yes"),
    ([{"text": "true"}], None, "true"),
    ([{"text": "tr"}, {"text": "ue"}], BOOLEAN, True),
    ([{"text": "yes"}], BOOLEAN, "yes"),
    ([{"text": "[" * 100_000}], BOOLEAN, "[" * 100_000),
    ([{"text": "1"}], {"type": ["string", "null"]}, "1"),
    ([{"text": "1"}], {"type": ["integer", "null"]}, 1),
    ([{"text": "see"}, {"data": False}], BOOLEAN, False),
]


@pytest.mark.parametrize(("parts", "schema", "answer"), ANSWERS, ids=range(len(ANSWERS)))
def test_answers(parts: list[dict[str, Any]], schema: dict[str, Any] | None, answer: Any) -> None:
    assert answer_in(message(*parts), schema) == answer


@pytest.mark.parametrize("parts", [[{"raw": "QUJD"}], [{"data": 1}, {"data": 2}]])
def test_messages_that_are_no_answer_are_refused(parts: list[dict[str, Any]]) -> None:
    with pytest.raises(RpcError, match="one data part"):
        answer_in(message(*parts), None)


def test_configuration() -> None:
    for sent in ({"returnImmediately": True}, {"blocking": False}):
        assert msgspec.convert(sent, Configuration).at_once
    for sent in ({}, {"blocking": True}, {"returnImmediately": False}):
        assert not msgspec.convert(sent, Configuration).at_once
