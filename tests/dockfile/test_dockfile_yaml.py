"""YAML by the core schema of YAML 1.2, and the booleans of YAML 1.1 where a boolean is expected."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockrion.dockfile import Dockfile, Loaded
from dockrion.dockfile.annotations import allowed_types
from dockrion.dockfile.yaml_source import Document


def read(text: str) -> Any:
    document = Document(text, "test.yaml")
    assert document.errors == []
    return document.build(lambda _keys, value: value)


def read_scalar(text: str) -> Any:
    return read(f"value: {text}\n")["value"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, None) for text in ("", "~", "null", "Null", "NULL")),
        *((text, True) for text in ("true", "True", "TRUE", "!!bool true")),
        *((text, False) for text in ("false", "False", "FALSE")),
        ("010", 10),
        ("-007", -7),
        ("+12", 12),
        ("0o10", 8),
        ("0xfF", 255),
        ("0", 0),
        ("9223372036854775807", 2**63 - 1),
        ("!!int '3'", 3),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("-1.5e+2", -150.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+.5e1", 5.0),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("!!float 5", 5.0),
        ("!!str 010", "010"),
    ],
)
def test_null_booleans_and_numbers(text: str, value: Any) -> None:
    result = read_scalar(text)
    assert (type(result), result) == (type(value), value)


def test_not_a_number_is_a_float() -> None:
    assert [str(read_scalar(text)) for text in (".nan", ".NaN", ".NAN")] == ["nan"] * 3


@pytest.mark.parametrize(
    "text",
    [
        *("y", "Y", "n", "N", "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF"),
        *("tRUE", "nULL", "Nan", "nan", "inf", "+.nan", ".iNF"),
        *("12:30", "1:2:3.5", "2026-11-22", "2026-11-22T10:30:05Z", "2026-11-22 10:30:05.5 +1"),
        *("1_000", "0b101", "0o8", "0O7", "-0x1F", "0xg", "1e", "e1", "1.2.3", ".", "+", "-.", "1 2"),
        *("=", "١٢", "1\N{NO-BREAK SPACE}"),
    ],
)
def test_everything_else_is_text(text: str) -> None:
    assert read_scalar(text) == text


_TEXT = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff\ufffe\uffff"
    ),
    max_size=20,
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=100)
@given(value=st.dictionaries(_TEXT, _JSON, max_size=4))
def test_json_is_yaml(value: dict[str, Any]) -> None:
    assert read(json.dumps(value, ensure_ascii=False)) == value


def test_an_enum_of_country_codes_holds_text(loaded: Callable[..., Loaded]) -> None:
    schema = "{properties: {on: {enum: [NO, SE]}, n: {const: off, default: no}, y: {}}, required: [on, n, y]}"
    result = loaded(f"io_schema: {{input: {schema}}}")
    assert result.warnings == []
    assert result.dockfile.io_schema.input == {
        "type": "object",
        "properties": {"on": {"enum": ["NO", "SE"]}, "n": {"const": "off", "default": "no"}, "y": {}},
        "required": ["on", "n", "y"],
    }


def boolean_fields(section: type[msgspec.Struct], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for field in msgspec.structs.fields(section):
        kind = next(allowed_types(field.type))
        if kind.section:
            yield from boolean_fields(kind.section, (*path, field.encode_name))
        elif kind.base is bool:
            yield (*path, field.encode_name)


BOOLEAN_FIELDS = list(boolean_fields(Dockfile))
LEGACY = {
    spelling: value
    for text, value in (("yes", True), ("no", False), ("on", True), ("off", False))
    for spelling in (text, text.title(), text.upper())
}


def in_flow(path: tuple[str, ...], value: str) -> str:
    """Return a Dockfile's section with one field, on one line."""
    section, *rest = path
    inner = value
    for key in reversed(rest):
        required = "name: bot, handler: app:handle, " if section == "agent" else ""
        inner = f"{{{required}{key}: {inner}}}"
    return f"{section}: {inner}"


def field_of(loaded: Loaded, path: tuple[str, ...]) -> Any:
    value: Any = loaded.dockfile
    for key in path:
        value = getattr(value, key)
    return value


@pytest.mark.parametrize(
    ("path", "spelling"),
    [
        *((BOOLEAN_FIELDS[0], spelling) for spelling in LEGACY),
        *((path, spelling) for path in BOOLEAN_FIELDS[1:] for spelling in ("yes", "no")),
    ],
)
def test_boolean_fields_take_the_booleans_of_yaml_1_1_with_a_warning(
    path: tuple[str, ...], spelling: str, loaded: Callable[..., Loaded]
) -> None:
    if (path, LEGACY[spelling]) == (("auth", "api_keys", "enabled"), False):
        return  # an error with either version of YAML
    result = loaded(in_flow(path, spelling))
    assert field_of(result, path) is LEGACY[spelling]
    (warning,) = (each for each in result.warnings if "YAML 1.2" in each.message)
    name = "true" if LEGACY[spelling] else "false"
    assert warning.path == ".".join(path)
    assert warning.message == f"{spelling} is text in YAML 1.2, but read as {name} here; write {name}"


def test_there_are_boolean_fields() -> None:
    assert len(BOOLEAN_FIELDS) > 8


@pytest.mark.parametrize("value", ['"yes"', "'off'", "y", "n", "yEs", "oN"])
def test_other_text_is_no_boolean(value: str, errors: Callable[..., list[str]]) -> None:
    got = value.strip("\"'")
    assert errors(f"expose: {{rest: {value}}}") == [f'4:16: expose.rest: expected true or false, got "{got}"']


def test_variables_of_boolean_fields(loaded: Callable[..., Loaded]) -> None:
    result = loaded(
        "expose: {rest: '${REST:-yes}'}",
        "streaming: {async_runs: '${RUNS}'}",
        "io_schema: {input: {uniqueItems: '${UNIQUE}'}}",
        environ={"RUNS": "Off", "UNIQUE": "on"},
    )
    dockfile = result.dockfile
    assert (dockfile.expose.rest, dockfile.streaming.async_runs) == (True, False)
    assert dockfile.io_schema.input == {"type": "object", "uniqueItems": True}
    assert [each.path for each in result.warnings] == [
        "io_schema.input.uniqueItems",
        "expose.rest",
        "streaming.async_runs",
    ]


def test_boolean_keywords_of_a_schema_take_them_too(loaded: Callable[..., Loaded]) -> None:
    schema = "{additionalProperties: no, properties: {a: {readOnly: Yes}, uniqueItems: {default: on}}}"
    result = loaded(f"io_schema: {{output: {schema}}}")
    assert result.dockfile.io_schema.output == {
        "type": "object",
        "additionalProperties": False,
        "properties": {"a": {"readOnly": True}, "uniqueItems": {"default": "on"}},
    }
    assert [each.path for each in result.warnings] == [
        "io_schema.output.additionalProperties",
        "io_schema.output.properties.a.readOnly",
    ]


def test_the_warning_has_the_position_of_the_field(loaded: Callable[..., Loaded]) -> None:
    (warning,) = loaded("expose:\n  port: 1\n  rest: No\n").warnings
    assert (warning.line, warning.column) == (6, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!bool yes", "not a valid bool"),
        ("!!int 0b1", "not a valid int"),
        ("!!int '5\n'", "not a valid int"),
        ("!!float 0x1", "not a valid float"),
        ("!!null none", "not a valid null"),
        ("!!timestamp 2026-11-22", "tags are not supported"),
        ("9223372036854775808", "integer of more than 64 bits"),
        ("9" * 5000, "integer of more than 64 bits"),
    ],
)
def test_invalid_scalars(text: str, message: str) -> None:
    document = Document(f"value: {text}\n", "test.yaml")
    assert [each.message for each in document.errors] == [message]
