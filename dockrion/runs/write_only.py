"""What an input's schema declares as write-only: callers send it, and nobody is shown it.

`writeOnly` is JSON Schema Validation, 9.4; `format: password` says the same in OpenAPI. What may be
write-only is masked: of alternatives in a schema, all are taken to apply.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from dockrion.redaction import MASK

_ALTERNATIVES = ("allOf", "anyOf", "oneOf")
_CONDITIONAL = ("then", "else")
_encoder = msgspec.json.Encoder()
Schemas = list[dict[str, Any]]


class WriteOnly:
    """Masks the write-only parts of inputs.

    Args:
        schema: The input's schema.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema

    def mask(self, value: Any) -> Any:
        """Return an input with its write-only parts masked.

        Raises:
            RecursionError: It is nested too deeply.
        """
        return self._masked(value, [self._root])

    def _masked(self, value: Any, given: Schemas) -> Any:
        schemas = list(self._applicable(given))
        if any(each.get("writeOnly") is True or each.get("format") == "password" for each in schemas):
            return MASK
        if schemas and isinstance(value, dict):
            return {
                name: self._masked(part, list(_of_property(schemas, name))) for name, part in value.items()
            }
        if schemas and isinstance(value, list):
            return [self._masked(part, list(_of_item(schemas, at))) for at, part in enumerate(value)]
        return value

    def _applicable(self, given: Schemas) -> Iterator[dict[str, Any]]:
        """Yield schemas, and those that they refer to, each once."""
        left, seen = list(given), set[int]()
        while left:
            schema = left.pop()
            if id(schema) in seen:
                continue
            seen.add(id(schema))
            yield schema
            found = [each for name in _ALTERNATIVES for each in _listed(schema.get(name))]
            found += [schema.get(name) for name in _CONDITIONAL]
            found.append(self._resolved(schema.get("$ref")))
            left += filter(_is_schema, found)

    def _resolved(self, reference: Any) -> Any:
        """Return what a reference within the schema refers to (RFC 6901), None for others."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        at: Any = self._root
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            at = at.get(name) if isinstance(at, dict) else None
        return at


def write_only(schema: dict[str, Any] | None) -> WriteOnly | None:
    """Return what masks the write-only parts of inputs, None if the schema declares none."""
    if schema is None:
        return None
    text = _encoder.encode(schema)
    return WriteOnly(schema) if b'"writeOnly":true' in text or b'"format":"password"' in text else None


def _of_property(schemas: Schemas, name: str) -> Iterator[dict[str, Any]]:
    for schema in schemas:
        properties = schema.get("properties")
        others = [*_values(schema.get("patternProperties")), schema.get("additionalProperties")]
        own = properties.get(name) if isinstance(properties, dict) else None
        yield from filter(_is_schema, [own, *others])


def _of_item(schemas: Schemas, at: int) -> Iterator[dict[str, Any]]:
    for schema in schemas:
        yield from filter(_is_schema, [*_listed(schema.get("prefixItems"))[at : at + 1], schema.get("items")])


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []
