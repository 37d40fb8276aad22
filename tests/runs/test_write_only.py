"""The parts of inputs that a schema declares as write-only are masked."""

import sys
from typing import Any

import pytest

from dockrion.redaction import Redactor
from dockrion.runs.stored_input import input_mask, masked_input, replaced_input, stored_input
from dockrion.runs.write_only import write_only

SECRET: dict[str, Any] = {"type": "string", "writeOnly": True}
CASES: list[tuple[dict[str, Any], Any, Any]] = [
    (SECRET, "a", "***"),
    ({"properties": {"a": SECRET, "b": {"type": "string"}}}, {"a": [1], "b": "b"}, {"a": "***", "b": "b"}),
    ({"properties": {"a": {"type": "string", "format": "password"}}}, {"a": "b"}, {"a": "***"}),
    (
        {"properties": {"a": {"properties": {"b": SECRET}}}},
        {"a": {"b": "c", "d": 1}},
        {"a": {"b": "***", "d": 1}},
    ),
    ({"additionalProperties": SECRET}, {"a": "b"}, {"a": "***"}),
    ({"patternProperties": {"^x": SECRET}}, {"x": "b"}, {"x": "***"}),
    ({"items": SECRET}, ["a", "b"], ["***", "***"]),
    ({"prefixItems": [{}, SECRET]}, ["a", "b", "c"], ["a", "***", "c"]),
    ({"anyOf": [{"type": "null"}, {"properties": {"a": SECRET}}]}, {"a": "b"}, {"a": "***"}),
    ({"if": {}, "then": {"properties": {"a": SECRET}}}, {"a": "b"}, {"a": "***"}),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"properties": {"c": SECRET}}}}, {"c": "d"}, {"c": "***"}),
    ({"$defs": {"s": SECRET}, "items": {"$ref": "#/$defs/none"}}, ["a"], ["a"]),
    ({"properties": {"a": SECRET}}, "text", "text"),
]


@pytest.mark.parametrize(("schema", "value", "masked"), CASES, ids=range(len(CASES)))
def test_what_is_write_only_is_masked(schema: dict[str, Any], value: Any, masked: Any) -> None:
    mask = write_only(schema)
    assert mask is not None
    assert mask.mask(value) == masked


@pytest.mark.parametrize("schema", [None, {}, {"properties": {"writeOnly": {"type": "string"}}}])
def test_a_schema_without_such_parts_needs_no_masking(schema: dict[str, Any] | None) -> None:
    assert write_only(schema) is None


def test_a_schema_that_refers_to_itself_ends() -> None:
    mask = write_only({"allOf": [{"$ref": "#"}], "properties": {"a": SECRET, "next": {"$ref": "#"}}})
    assert mask is not None
    assert mask.mask({"a": "b", "next": {"a": "c", "next": None}}) == {
        "a": "***",
        "next": {"a": "***", "next": None},
    }


def test_an_input_that_is_too_deep_is_neither_kept_nor_shown() -> None:
    mask = input_mask({"items": {"$ref": "#"}, "properties": {"a": SECRET}}, None)
    depth = 2 * sys.getrecursionlimit()
    body = b"[" * depth + b"]" * depth
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    assert stored_input(value, body, Redactor(), mask) is None
    assert masked_input(body, Redactor(), mask) is None


def test_excerpts_and_replaced_inputs_have_no_such_parts() -> None:
    body = b'{"a": "b", "topic": "the password"}'
    stored = stored_input(
        {"a": "b", "topic": "the password"}, body, Redactor(), input_mask(CASES[1][0], None)
    )
    assert stored is not None
    assert (stored.body, stored.excerpt) == (body, "the password")
    replaced = replaced_input(stored, Redactor(["password"]))
    assert (replaced.body, replaced.excerpt) == (b'{"a":"***","topic":"the ***"}', "the ***")
    assert replaced_input(replaced, Redactor(["password"])) is replaced
