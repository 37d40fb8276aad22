"""`Decimal` values in outputs, as numbers where the Dockfile's schema asks for numbers.

A `Decimal` is encoded as text, which keeps its digits whatever a client does with numbers. Where
`io_schema.output` says `number` or `integer`, that text violates the schema. Only then an output is
converted, so that all others cost nothing.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import msgspec


def with_numbers(schema: dict[str, Any], output: bytes, original: Any) -> bytes | None:
    """Return an output in which decimals are numbers, with all their digits, where the schema says so.

    Args:
        schema: The JSON Schema of the output.
        output: The output as JSON, after any redaction.
        original: The output as the agent returned it.

    Returns:
        The JSON, or None if there is no such decimal.
    """
    conversion = _Conversion(schema)
    try:
        value = conversion.convert([schema], msgspec.json.decode(output), original)
    except RecursionError:
        return None
    return msgspec.json.encode(value) if conversion.converted else None


class _Conversion:
    """Converts the parts of an output that a schema describes.

    Args:
        root: The whole schema, for references.

    Attributes:
        converted: Whether there was a decimal to convert.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self.converted = False
        self._root = root

    def convert(self, schemas: Iterable[Any], value: Any, original: Any) -> Any:
        """Return a JSON value with numbers as `msgspec.Raw`.

        Args:
            schemas: The schemas of the value.
            value: The value.
            original: What it was encoded from; None if unknown.
        """
        applied = list(self._applied(schemas))
        if not applied or original is None:
            return value
        if isinstance(original, Decimal):
            if value != str(original) or not _asks_for_number(applied) or not _is_json(original):
                return value  # also if it has been redacted
            self.converted = True
            return msgspec.Raw(value.encode())
        if isinstance(value, dict):
            return {
                name: self.convert(_of_property(applied, name), item, _member(original, name))
                for name, item in value.items()
            }
        if isinstance(value, list) and isinstance(original, list | tuple) and len(original) == len(value):
            return [
                self.convert(_of_item(applied, index), item, original[index])
                for index, item in enumerate(value)
            ]
        return value

    def _applied(self, schemas: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield schemas, and those that they apply to the same value."""
        pending, seen = list(schemas), set()
        while pending:
            schema = pending.pop()
            if not isinstance(schema, dict) or id(schema) in seen:
                continue
            seen.add(id(schema))
            yield schema
            pending += (schema.get(name) for name in ("then", "else"))
            for name in ("allOf", "anyOf", "oneOf"):
                pending += schema.get(name, ())
            pending.append(self._referenced(schema.get("$ref")))

    def _referenced(self, reference: Any) -> Any:
        """Return the part of the schema at a JSON Pointer (RFC 6901), None for other references."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        target: Any = self._root
        for step in unquote(reference[1:]).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, dict) else None
        return target


def _of_property(schemas: list[dict[str, Any]], name: str) -> Iterator[Any]:
    for schema in schemas:
        properties = schema.get("properties", {})
        yield properties[name] if name in properties else schema.get("additionalProperties")


def _of_item(schemas: list[dict[str, Any]], index: int) -> Iterator[Any]:
    for schema in schemas:
        first = schema.get("prefixItems", ())
        yield first[index] if index < len(first) else schema.get("items")


def _member(original: Any, name: str) -> Any:
    try:
        return original.get(name) if isinstance(original, Mapping) else getattr(original, name, None)
    except (Exception, SystemExit):  # a property is the agent's code
        return None


def _asks_for_number(schemas: list[dict[str, Any]]) -> bool:
    types: set[str] = set()
    for schema in schemas:
        declared = schema.get("type", ())
        types.update([declared] if isinstance(declared, str) else declared)
    return bool(types & {"number", "integer"}) and "string" not in types


def _is_json(number: Decimal) -> bool:
    """Return whether JSON has a number, and clients that read it as a double get one, too."""
    return number.is_finite() and math.isfinite(float(number))
