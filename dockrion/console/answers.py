"""The answer to a question as a line of text, by the question's JSON Schema."""

from typing import Any

import msgspec

Schema = dict[str, Any] | None
_MAX_SCHEMA_LENGTH = 2_000
_BOOLEANS = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
_ANNOTATIONS = {"$schema", "title", "description", "examples", "format", "writeOnly"}


def parse(line: str, schema: Schema) -> Any:
    """Return the value that a line means: text where the schema asks for text, else JSON if it is JSON.

    A secret is text, too, unless the schema says otherwise. The service validates the value.
    """
    schema = schema or {}
    if not line and "default" in schema:
        return schema["default"]
    for choice in _choices(schema):
        if line == _shown(choice):
            return choice
    types = _types(schema)
    if _form(schema) == "text":
        return line
    if "boolean" in types and line.lower() in _BOOLEANS:
        return _BOOLEANS[line.lower()]
    if not line and "null" in types:
        return None
    try:
        return msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return line


def expected(schema: Schema) -> str:
    """Describe what a schema asks for."""
    schema = schema or {}
    if choices := _choices(schema):
        return f"one of: {', '.join(map(_shown, choices))}"[:_MAX_SCHEMA_LENGTH]
    described = f"{schema['description']}; " if isinstance(schema.get("description"), str) else ""
    match sorted(_types(schema)):
        case ["boolean"]:
            return f"{described}yes or no"
        case ["string"] if not schema.keys() - _ANNOTATIONS - {"type"}:
            return f"{described}text"
        case [] if not schema.keys() - _ANNOTATIONS:
            return f"{described}{_form(schema)}"
    return f"{_form(schema)} that matches {_json(schema)[:_MAX_SCHEMA_LENGTH]}"


def example(schema: Schema) -> Any:
    """Return a value of the kind that a schema asks for."""
    schema = schema or {}
    if "default" in schema:
        return schema["default"]
    if choices := _choices(schema):
        return choices[0]
    kinds: dict[str, Any] = {"boolean": True, "integer": 1, "number": 1, "array": [], "object": {}}
    return next((kinds[name] for name in sorted(_types(schema)) if name in kinds), "…")


def is_secret(schema: Schema) -> bool:
    """Return whether what is typed must not be shown (JSON Schema Validation, 9.4; OpenAPI, 4.4.3)."""
    schema = schema or {}
    return schema.get("writeOnly") is True or schema.get("format") == "password"


def _types(schema: dict[str, Any]) -> set[str]:
    types = schema.get("type", [])
    return {name for name in (types if isinstance(types, list) else [types]) if isinstance(name, str)}


def _form(schema: dict[str, Any]) -> str:
    types = _types(schema)
    if types == {"string"} or (not types and is_secret(schema)):
        return "text"
    return "JSON" if types and "string" not in types else "text or JSON"


def _choices(schema: dict[str, Any]) -> list[Any]:
    choices = [schema["const"]] if "const" in schema else schema.get("enum", [])
    return choices if isinstance(choices, list) else []


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
