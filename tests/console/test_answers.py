"""Answers as lines of text."""

from typing import Any

import pytest

from dockrion.console.answers import example, expected, is_secret, parse

ENUM: dict[str, Any] = {"enum": ["approve", "7", 7, None]}
OBJECT: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("schema", "line", "value"),
    [
        (None, "yes", "yes"),
        (None, "", ""),
        (None, '{"n": 1}', {"n": 1}),
        (None, '"1"', "1"),
        (None, "[" * 5_000, "[" * 5_000),
        ({"writeOnly": True}, "007", "007"),
        ({"writeOnly": True}, "123", "123"),
        ({"type": "integer", "writeOnly": True}, "123", 123),
        ({"type": "string"}, "123", "123"),
        ({"type": ["string", "null"]}, "", None),
        ({"type": ["string", "integer"]}, "123", 123),
        ({"type": "boolean"}, "Yes", True),
        ({"type": "boolean"}, "n", False),
        ({"type": "boolean"}, "maybe", "maybe"),
        ({"type": "integer"}, "1.5", 1.5),
        ({"type": "string", "default": "d"}, "", "d"),
        (ENUM, "approve", "approve"),
        (ENUM, "7", "7"),
        (ENUM, "null", None),
        ({"const": [1]}, "[1]", [1]),
        (OBJECT, '{"n": 1}', {"n": 1}),
        ({"type": 5, "enum": 6}, "x", "x"),
    ],
    ids=str,
)
def test_a_line_becomes_the_value_that_the_schema_asks_for(
    schema: dict[str, Any] | None, line: str, value: Any
) -> None:
    assert parse(line, schema) == value


@pytest.mark.parametrize(
    ("schema", "description", "value"),
    [
        (None, "text or JSON", "…"),
        ({"writeOnly": True}, "text", "…"),
        ({"type": "string", "description": "A name"}, "A name; text", "…"),
        ({"type": "boolean"}, "yes or no", True),
        (ENUM, "one of: approve, 7, 7, null", "approve"),
        ({"type": "integer", "minimum": 3}, 'JSON that matches {"type":"integer","minimum":3}', 1),
        ({"type": "integer", "default": 3}, 'JSON that matches {"type":"integer","default":3}', 3),
        ({"type": "string", "minLength": 3}, 'text that matches {"type":"string","minLength":3}', "…"),
        ({"minLength": 3}, 'text or JSON that matches {"minLength":3}', "…"),
        (OBJECT, 'JSON that matches {"type":"object","properties":{"n":{"type":"integer"}}}', {}),
    ],
    ids=str,
)
def test_schemas_are_described_with_an_example(
    schema: dict[str, Any] | None, description: str, value: Any
) -> None:
    assert (expected(schema), example(schema)) == (description, value)


def test_a_long_schema_is_cut() -> None:
    assert len(expected({"enum": ["x" * 100] * 100})) < 2_100
    assert len(expected({"description": "x" * 9_999, "type": "object"})) < 2_100


def test_secrets_are_recognized_by_their_schema() -> None:
    assert is_secret({"writeOnly": True})
    assert is_secret({"type": "string", "format": "password"})
    assert not any(map(is_secret, [None, {}, {"writeOnly": 1}, {"format": "email"}]))
