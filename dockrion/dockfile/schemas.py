"""The JSON Schemas of `io_schema`: that they are valid and self-contained, and their keywords known."""

import math
from collections.abc import Container, Iterator
from contextlib import suppress
from typing import Any

import jsonschema_rs
import msgspec

from dockrion.dockfile.decode import Diagnostics
from dockrion.dockfile.problems import KeyPath, did_you_mean, truncate
from dockrion.json_schema import refuse_remote

TYPES = ["object", "string", "number", "integer", "boolean", "array", "null"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The keywords of draft 2020-12, and those of earlier drafts that it keeps, by the type of their value.
_SCHEMA = _words(
    "additionalProperties unevaluatedProperties propertyNames items contains unevaluatedItems not if then "
    "else contentSchema"
)
_SCHEMA_LIST = _words("allOf anyOf oneOf prefixItems")
_SCHEMA_MAP = _words("properties patternProperties dependentSchemas $defs definitions")
_NUMBER = _words(
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength minItems maxItems "
    "minProperties maxProperties minContains maxContains"
)
_BOOLEAN = _words("uniqueItems deprecated readOnly writeOnly")
_OTHER = _words(
    "type enum const required dependentRequired dependencies pattern format title description default "
    "examples $schema $id $ref $anchor $dynamicRef $dynamicAnchor $comment $vocabulary contentEncoding "
    "contentMediaType"
)
KEYWORDS = sorted(_SCHEMA | _SCHEMA_LIST | _SCHEMA_MAP | _NUMBER | _BOOLEAN | _OTHER)
_IMPLIES_TYPE = frozenset(["type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"])

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MAX_MESSAGE = 200  # characters; the validator's messages may quote a whole schema


def with_default_type(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the schema with `type: object` if no keyword implies another type."""
    if schema is None or _IMPLIES_TYPE & schema.keys():
        return schema
    return {"type": "object", **schema}


def convert_keywords(
    schema: Any, keys: KeyPath, substituted: Container[KeyPath], diagnostics: Diagnostics
) -> None:
    """Convert text to the type that its keyword takes: substituted, as in `maxLength: ${MAX}`, or `yes`.

    Args:
        schema: A schema, or an invalid value in its place; modified.
        keys: Its key path.
        substituted: Key paths of strings that come from `${VAR}`.
        diagnostics: Receives warnings.
    """
    for part_keys, part in subschemas(schema, keys):
        for name, value in part.items():
            value_type, value_keys = _value_type(name), (*part_keys, name)
            if value_type is not None and value_keys in substituted:
                with suppress(msgspec.ValidationError):  # validating the schema reports it
                    part[name] = msgspec.convert(value, value_type, strict=False)
            if value_type is bool:
                boolean = diagnostics.legacy_boolean(value_keys, value, substituted=value_keys in substituted)
                part[name] = part[name] if boolean is None else boolean


def check_schema(schema: dict[str, Any], keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Report what is invalid in a schema, and its unknown keywords."""
    for part_keys, part in subschemas(schema, keys):
        for name, value in part.items():
            if name not in KEYWORDS and not name.startswith("x-"):
                diagnostics.unknown_field((*part_keys, name), value, KEYWORDS)
        _check_type(part, part_keys, diagnostics)
        for name in _SCHEMA_MAP & part.keys():
            if part[name] is None:
                diagnostics.error((*part_keys, name), "empty: indent what belongs to it below it")
        _check_names(part, part_keys, diagnostics)
    _check_numbers(schema, keys, diagnostics)
    _check_structure(schema, keys, diagnostics)
    if schema.get("$schema", _DIALECT) == _DIALECT and not jsonschema_rs.meta.is_valid(schema):
        meta_schema = jsonschema_rs.Draft202012Validator({"$ref": _DIALECT})  # 4 MiB
        for error in meta_schema.iter_errors(schema):
            position = (*keys, *error.instance_path)
            if not diagnostics.failed(position):
                diagnostics.error(position, _shortened(error.message, diagnostics))
    if not diagnostics.failed(keys):
        _compile(schema, keys, diagnostics)


def _compile(schema: dict[str, Any], keys: KeyPath, diagnostics: Diagnostics) -> None:
    try:
        jsonschema_rs.validator_for(schema, retriever=refuse_remote)
    except jsonschema_rs.ValidationError as error:
        message, position = error.message, (*keys, *error.instance_path)
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        message, position = str(error), keys
    else:
        return
    # The error of an unresolvable reference has no position, but quotes the reference.
    quoted = [
        ((*part_keys, "$ref"), part["$ref"])
        for part_keys, part in subschemas(schema, keys)
        if position == keys and _quotes(message, part.get("$ref"))
    ]
    for reference_keys, reference in quoted:
        value = diagnostics.format_value(reference)
        diagnostics.error(reference_keys, f"expected a reference into this schema, got {value}")
    if not quoted:
        diagnostics.error(position, _shortened(message, diagnostics))


def _check_type(schema: dict[str, Any], keys: KeyPath, diagnostics: Diagnostics) -> None:
    if "type" not in schema:
        return
    types = schema["type"]
    for position, name in (
        [((*keys, "type", index), each) for index, each in enumerate(types)]
        if isinstance(types, list)
        else [((*keys, "type"), types)]
    ):
        if name not in TYPES:
            hint = ": write it in quotes" if name is None else did_you_mean(str(name), TYPES)
            got = f"{diagnostics.format_value(name)}{hint}"
            diagnostics.error(position, f"expected one of {', '.join(TYPES)}, got {got}")


def _check_numbers(value: Any, keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Report numbers that JSON does not have; callers would get null in their place."""
    if isinstance(value, dict):
        for name, each in value.items():
            _check_numbers(each, (*keys, name), diagnostics)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _check_numbers(each, (*keys, index), diagnostics)
    elif isinstance(value, float) and not math.isfinite(value):
        diagnostics.error(keys, "expected a finite number: JSON has no others")


def _check_names(schema: dict[str, Any], keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Report blank names of properties, which are slips in YAML: `"": {}`."""
    properties, required = schema.get("properties"), schema.get("required")
    names = (
        [((*keys, "properties", name), name) for name in properties] if isinstance(properties, dict) else []
    )
    if isinstance(required, list):
        names += [((*keys, "required", index), name) for index, name in enumerate(required)]
    for position, name in names:
        if isinstance(name, str) and not name.strip():
            diagnostics.error(position, "the name of a property must not be blank")


def _check_structure(schema: Any, keys: KeyPath, diagnostics: Diagnostics) -> None:
    """Check the rules of Dockfiles that go beyond JSON Schema, at the root and in properties and items."""
    if not isinstance(schema, dict):
        return
    properties, required, types = schema.get("properties"), schema.get("required"), schema.get("type")
    declared = properties if isinstance(properties, dict) else {}
    names = required if isinstance(required, list) else []
    for index, name in enumerate(names):
        position = (*keys, "required", index)
        if name in names[:index]:
            diagnostics.error(position, f"{diagnostics.format_value(name)} is in the list twice")
        elif declared and isinstance(name, str) and name not in declared:
            value = diagnostics.format_value(name)
            diagnostics.error(position, f"{value} is not in properties{did_you_mean(name, declared)}")
    is_array = types == "array" or (isinstance(types, list) and "array" in types)
    if is_array and not {"items", "prefixItems"} & schema.keys():
        diagnostics.error((*keys, "items"), "required with type array, but missing")
    for name, part in declared.items():
        _check_structure(part, (*keys, "properties", name), diagnostics)
    _check_structure(schema.get("items"), (*keys, "items"), diagnostics)


def subschemas(schema: Any, keys: KeyPath) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Yield a schema and every schema nested in it, each with its key path."""
    if not isinstance(schema, dict):
        return
    yield keys, schema
    for name, value in schema.items():
        parts: list[tuple[KeyPath, Any]] = []
        if name in _SCHEMA:
            parts = [((*keys, name), value)]
        elif name in _SCHEMA_LIST and isinstance(value, list):
            parts = [((*keys, name, index), each) for index, each in enumerate(value)]
        elif name in _SCHEMA_MAP and isinstance(value, dict):
            parts = [((*keys, name, key), each) for key, each in value.items()]
        for part_keys, part in parts:
            yield from subschemas(part, part_keys)


def _quotes(message: str, reference: Any) -> bool:
    """Return whether a message quotes a reference: the end of its URI, or its fragment."""
    parts = reference.split("#") if isinstance(reference, str) else []
    return any(f"'{part}'" in message or f"/{part}'" in message for part in parts if part)


def _shortened(message: str, diagnostics: Diagnostics) -> str:
    return truncate(diagnostics.redactor.mask(message), _MAX_MESSAGE)


def _value_type(keyword: str) -> Any:
    if keyword in _NUMBER:
        return int | float
    return bool if keyword in _BOOLEAN | _SCHEMA else None
