"""Validation of values against JSON Schemas."""

import re
import socket
import time
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from dockrion.json_schema import Schema, Violation, expanded_size, pattern_size
from dockrion.redaction import Redactor

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2},
        "items": {
            "type": "array",
            "items": {"type": "object", "properties": {"sku": {"type": "integer"}}, "required": ["sku"]},
        },
    },
    "required": ["name"],
}


def violations(schema: dict[str, Any], value: Any) -> list[Violation]:
    return Schema(schema, Redactor()).violations(value, len(msgspec.json.encode(value)))


def paths(schema: dict[str, Any], value: Any) -> list[str]:
    return sorted(violation.path for violation in violations(schema, value))


@pytest.mark.parametrize("value", [{"name": "ab"}, {"name": "ab", "items": [{"sku": 1}], "more": None}])
def test_a_valid_value_has_no_violations(value: Any) -> None:
    assert violations(ORDER, value) == []


def test_every_violation_is_listed_with_its_path() -> None:
    value = {"name": "a", "items": [{"sku": "x"}, {}, 5, {"sku": 1}]}
    assert paths(ORDER, value) == ["$.items[0].sku", "$.items[1]", "$.items[2]", "$.name"]


def test_a_violation_has_a_message() -> None:
    (violation,) = violations(ORDER, {})
    assert violation == Violation("$", '"name" is a required property')


@pytest.mark.parametrize(
    ("kind", "fitting", "other"),
    [
        ("object", {}, []),
        ("string", "a", 1),
        ("number", 1.5, "1"),
        ("integer", 1, 1.5),
        ("boolean", True, 1),
        ("array", [], {}),
        ("null", None, 0),
    ],
)
def test_types_are_distinguished(kind: str, fitting: Any, other: Any) -> None:
    assert violations({"type": kind}, fitting) == []
    assert paths({"type": kind}, other) == ["$"]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ({"enum": ["a"]}, "b"),
        ({"const": 1}, 2),
        ({"maxLength": 1}, "ab"),
        ({"pattern": "^a"}, "b"),
        ({"minimum": 3}, 2),
        ({"multipleOf": 2}, 3),
        ({"uniqueItems": True}, [1, 1]),
        ({"minItems": 1}, []),
        ({"additionalProperties": False}, {"a": 1}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1),
        ({"not": {"type": "string"}}, "a"),
        ({"if": {"type": "string"}, "then": {"minLength": 3}}, "a"),
        ({"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"}, "a"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_every_keyword_is_applied(keyword: dict[str, Any], value: Any) -> None:
    assert paths(keyword, value) == ["$"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:{port}/s.json",
        "https://127.0.0.1:{port}/s.json",
        *("https://example.org/s.json", "file:///etc/hostname", "s.json", "urn:a:b"),
    ],
)
def test_an_external_reference_is_refused_and_not_fetched(uri: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        uri = uri.format(port=elsewhere.getsockname()[1])
        with pytest.raises(Exception, match=re.escape(uri)):
            violations({"type": "object", "properties": {"a": {"$ref": uri}}}, {"a": 1})
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_a_reference_to_a_readable_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text("{}")
    with pytest.raises(ValueError, match="not in this schema"):
        Schema({"$ref": file.as_uri()}, Redactor())


def test_a_small_value_gets_all_its_violations() -> None:
    value: dict[str, Any] = {"name": "ab", "items": [{}] * 1_000}
    assert len(violations(ORDER, value)) == 1_000


def test_a_large_value_gets_only_its_first_violation() -> None:
    value: dict[str, Any] = {"name": "ab", "items": [{}] * 100_000}
    assert len(violations(ORDER, value)) == 1


def test_a_large_valid_value_has_no_violations() -> None:
    assert violations(ORDER, {"name": "ab", "items": [{"sku": 1}] * 20_000}) == []


def test_a_hostile_body_of_ten_megabytes_does_not_block_the_loop() -> None:
    value: dict[str, Any] = {"name": 1, "items": [{}] * 3_000_000}
    schema = Schema(ORDER, Redactor())
    before = time.process_time()
    assert len(schema.violations(value, 10 * 1024 * 1024)) == 1
    assert time.process_time() - before < 5


def test_messages_are_truncated() -> None:
    (violation,) = violations({"type": "integer"}, "x" * 60_000)
    assert len(violation.message) <= 300


@pytest.mark.parametrize("depth", [10, 200, 500, 900])
def test_deep_nesting_never_raises(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    found = violations({"type": "array"}, value)
    assert [violation.path for violation in found] in ([], ["$"])


def test_recursive_schemas_terminate_on_deep_values() -> None:
    schema = {"type": "array", "items": {"$ref": "#"}}
    value: Any = []
    for _ in range(900):
        value = [value]
    assert isinstance(violations(schema, value), list)


def test_paths_contain_keys_of_any_text() -> None:
    schema = {"additionalProperties": {"type": "integer"}}
    assert paths(schema, {"a b": "x", "\u2028": "z"}) == ["$.a b", "$.\u2028"]


@pytest.mark.parametrize(
    ("schema", "size"),
    [
        ({}, 1),
        ({"type": "string"}, 2),
        ({"enum": [1, 2, 3]}, 5),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, 6),
        ({"properties": {"$ref": {"type": "string"}}}, 4),
        ({"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"enum": [1]}}}, 8),
        ({"allOf": [{"$ref": "#/allOf/1"}, {"type": "string"}]}, 7),
    ],
)
def test_the_size_of_a_schema_includes_what_it_refers_to(schema: dict[str, Any], size: int) -> None:
    jsonschema_rs.validator_for(schema)
    assert expanded_size(schema) == size


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("abc", 4),
        (r"^\w+\.[{}(a-z]{2,5}$", 11),
        ("(a{1,1000}){1,100}b", 100_002),
        ("(?:(a|b){3}c){,4}", 41),
        (r"\({4}\p{L}{3}\{{2}", 10),
        ("a{2}{3}{0}b", 2),
        ("^(?=.*[0-9]).{8}$", 1014),
        (r"(a)\1", 1003),
        ("(?x)(a{100}) {100}", 2**18),
        ("(a{100})(?#c){100}", 2**18),
    ],
)
def test_the_size_of_a_pattern_counts_what_is_repeated(pattern: str, size: int) -> None:
    assert pattern_size(pattern) == size
    assert expanded_size({"pattern": pattern}) == size + 2
    assert expanded_size({"patternProperties": {pattern: {}}}) == size + 3


def test_a_text_that_makes_a_pattern_backtrack_is_refused_soon() -> None:
    schema = Schema({"items": {"not": {"pattern": "^((a*)*)*(?<=a)b$"}}}, Redactor(), bounded=True)
    began = time.process_time()
    assert schema.violations(["a" * 30 + "!"] * 100, 4000)
    assert time.process_time() - began < 2


def test_the_size_of_references_that_expand_without_bound_is_found_at_once() -> None:
    definitions: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(200)
    }
    schema = {"$ref": "#/$defs/d0", "$defs": definitions | {"d200": {"type": "string"}}}
    assert expanded_size(schema) > 2**200


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"$ref": "#"}, "refers to itself"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "refers to itself"),
        ({"default": {"items": {"$ref": "#/default"}}}, "refers to itself"),
        ({"$ref": "http://127.0.0.1:1/x"}, "not a reference into this schema"),
        ({"$ref": "#name", "$anchor": "name"}, "not a reference into this schema"),
        ({"$ref": "#/$defs/nobody"}, "not a reference into this schema"),
        ({"allOf": [{"$ref": "#/allOf/x"}]}, "not a reference into this schema"),
        ({"$dynamicRef": "#"}, "not supported"),
    ],
)
def test_schemas_of_unknown_cost_are_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expanded_size(schema)


def test_violations_by_a_secret_quote_nothing() -> None:
    schema = Schema(ORDER, Redactor(), confidential=True)
    value = {"name": "x", "items": [{"sku": "hunter2"}, {"hunter2": 1}]}
    found = schema.violations(value, len(msgspec.json.encode(value)))
    assert {each.path for each in found} == {"$"}
    rules = ["properties.name.minLength", "properties.items.items.properties.sku.type"]
    assert sorted(each.message for each in found) == sorted(
        f"breaks the schema's rule {rule}" for rule in [*rules, "properties.items.items.required"]
    )
