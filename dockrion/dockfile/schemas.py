"""The JSON Schemas in `io_schema`: valid, self-contained, and with what a Dockfile asks of them."""

from collections.abc import Container, Iterator
from typing import Any

import jsonschema_rs
import msgspec

from dockrion.dockfile.annotations import suggestion
from dockrion.dockfile.decode import Report
from dockrion.dockfile.problems import Keys, cut
from dockrion.json_schema import refuse_remote

TYPES = ["object", "string", "number", "integer", "boolean", "array", "null"]
_SCHEMA = frozenset(
    [
        "additionalProperties",
        "unevaluatedProperties",
        "propertyNames",
        "items",
        "contains",
        "unevaluatedItems",
        "not",
        "if",
        "then",
        "else",
        "contentSchema",
    ]
)
_SCHEMA_LIST = frozenset(["allOf", "anyOf", "oneOf", "prefixItems"])
_SCHEMA_MAP = frozenset(["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"])
_NUMBER = frozenset(
    [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "minContains",
        "maxContains",
    ]
)
_FLAG = frozenset(["uniqueItems", "deprecated", "readOnly", "writeOnly"])
_OTHER = frozenset(
    [
        "type",
        "enum",
        "const",
        "required",
        "dependentRequired",
        "dependencies",
        "pattern",
        "format",
        "title",
        "description",
        "default",
        "examples",
        "$schema",
        "$id",
        "$ref",
        "$anchor",
        "$dynamicRef",
        "$dynamicAnchor",
        "$comment",
        "$vocabulary",
        "contentEncoding",
        "contentMediaType",
    ]
)
KEYWORDS = sorted(_SCHEMA | _SCHEMA_LIST | _SCHEMA_MAP | _NUMBER | _FLAG | _OTHER)
_TYPE_SAID_ELSEWHERE = frozenset(["type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"])

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def with_type(schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the schema with the `type` it has when it says nothing: object."""
    if schema is None or _TYPE_SAID_ELSEWHERE & schema.keys():
        return schema
    return {"type": "object", **schema}


def give_types(schema: Any, keys: Keys, substituted: Container[Keys]) -> None:
    """Turn text from the environment into what its keyword takes: `maxLength: ${MAX}`.

    Args:
        schema: A schema, or whatever stands in its place; it is changed.
        keys: Where it stands.
        substituted: The keys of text that came from the environment.
    """
    for place, part in subschemas(schema, keys):
        for name, value in part.items():
            kind = _keyword_type(name)
            if kind is not None and (*place, name) in substituted:
                try:
                    part[name] = msgspec.convert(value, kind, strict=False)
                except msgspec.ValidationError:
                    continue  # the schema's own check will say so


def check_schema(schema: dict[str, Any], keys: Keys, report: Report) -> None:
    """Note what is wrong with a schema, and warn of keywords nobody knows."""
    for place, part in subschemas(schema, keys):
        for name, value in part.items():
            if name not in KEYWORDS and not name.startswith("x-"):
                report.unknown_field((*place, name), value, KEYWORDS)
        _check_type(part, place, report)
    _check_shape(schema, keys, report)
    if schema.get("$schema", _DIALECT) == _DIALECT and not jsonschema_rs.meta.is_valid(schema):
        meta_schema = jsonschema_rs.Draft202012Validator({"$ref": _DIALECT})  # 4 MiB
        for error in meta_schema.iter_errors(schema):
            place = (*keys, *error.instance_path)
            if not report.failed(place):
                report.error(place, _said(error.message, report))
    if not report.failed(keys):
        _compile(schema, keys, report)


def _compile(schema: dict[str, Any], keys: Keys, report: Report) -> None:
    try:
        jsonschema_rs.validator_for(schema, retriever=refuse_remote)
    except jsonschema_rs.ValidationError as error:
        message, place = error.message, (*keys, *error.instance_path)
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        message, place = str(error), keys
    else:
        return
    # A reference that leads nowhere is reported without its place, but by its name.
    blamed = [
        ((*part_keys, "$ref"), part["$ref"])
        for part_keys, part in subschemas(schema, keys)
        if place == keys and _names(message, part.get("$ref"))
    ]
    for reference_keys, reference in blamed:
        shown = report.shown(reference)
        report.error(reference_keys, f"expected a reference into this schema, got {shown}")
    if not blamed:
        report.error(place, _said(message, report))


def _check_type(schema: dict[str, Any], keys: Keys, report: Report) -> None:
    if "type" not in schema:
        return
    kinds = schema["type"]
    for place, kind in (
        [((*keys, "type", index), each) for index, each in enumerate(kinds)]
        if isinstance(kinds, list)
        else [((*keys, "type"), kinds)]
    ):
        if kind not in TYPES:
            hint = ": write it in quotes" if kind is None else suggestion(str(kind), TYPES)
            report.error(place, f"expected one of {', '.join(TYPES)}, got {report.shown(kind)}{hint}")


def _check_shape(schema: Any, keys: Keys, report: Report) -> None:
    """Check what a Dockfile asks beyond JSON Schema, at the root and in properties."""
    if not isinstance(schema, dict):
        return
    properties, required, kinds = schema.get("properties"), schema.get("required"), schema.get("type")
    listed = properties if isinstance(properties, dict) else {}
    names = required if isinstance(required, list) else []
    for index, name in enumerate(names):
        place = (*keys, "required", index)
        if name in names[:index]:
            report.error(place, f"{report.shown(name)} is in the list twice")
        elif listed and isinstance(name, str) and name not in listed:
            report.error(place, f"{report.shown(name)} is not in properties{suggestion(name, listed)}")
    is_array = kinds == "array" or (isinstance(kinds, list) and "array" in kinds)
    if is_array and not {"items", "prefixItems"} & schema.keys():
        report.error((*keys, "items"), "required with type array, but missing")
    for name, part in listed.items():
        _check_shape(part, (*keys, "properties", name), report)
    _check_shape(schema.get("items"), (*keys, "items"), report)


def subschemas(schema: Any, keys: Keys) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """Yield a schema and every schema in it, with the place of each."""
    if not isinstance(schema, dict):
        return
    yield keys, schema
    for name, value in schema.items():
        place = (*keys, name)
        parts: list[tuple[Keys, Any]] = []
        if name in _SCHEMA:
            parts = [(place, value)]
        elif name in _SCHEMA_LIST and isinstance(value, list):
            parts = [((*place, index), each) for index, each in enumerate(value)]
        elif name in _SCHEMA_MAP and isinstance(value, dict):
            parts = [((*place, key), each) for key, each in value.items()]
        for part_keys, part in parts:
            yield from subschemas(part, part_keys)


def _names(message: str, reference: Any) -> bool:
    """Tell whether a message is about a reference: it quotes the end of its address, or its fragment."""
    parts = reference.split("#") if isinstance(reference, str) else []
    return any(f"'{part}'" in message or f"/{part}'" in message for part in parts if part)


def _said(message: str, report: Report) -> str:
    """Return a validator's own words, which may quote a whole schema, at a readable length."""
    return cut(report.redactor.mask(message), 200)


def _keyword_type(name: str) -> Any:
    if name in _NUMBER:
        return int | float
    return bool if name in _FLAG | _SCHEMA else None
