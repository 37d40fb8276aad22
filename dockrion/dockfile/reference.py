"""The Dockfile's fields for readers: the guide's table, and a JSON Schema for editors."""

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import msgspec
from msgspec import NODEFAULT

from dockrion.dockfile.annotations import allowed_types, describe_type
from dockrion.dockfile.structs import Dockfile

_SCALARS = ("string", "integer", "number", "boolean")
_REFERENCE = {"type": "string", "pattern": r"\$\{"}


def table() -> str:
    """Return a Markdown table of every field, its default, and what it accepts and means."""
    rows = [("section", "field", "default", "rule"), ("---",) * 4]
    previous = ""
    for path, default, description in _rows(Dockfile, ""):
        section, _, field = path.partition(".")
        shown_section = f"`{section}`" if section != previous else ""
        rows.append((shown_section, f"`{field}`" if field else "", default, description))
        previous = section
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |\n" for row in rows)


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) of Dockfiles, for editors."""
    schema = msgspec.json.schema(Dockfile)
    for section in schema["$defs"].values():
        required = section["required"]
        section["properties"] = {
            name: _relax(field, nullable=name not in required)
            for name, field in section["properties"].items()
        }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Dockfile", **schema}


def _relax(field: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """Relax a field's schema to accept `${VAR}` for a scalar, and null for an optional section.

    Args:
        field: The schema; modified.
        nullable: Whether the field is optional.
    """
    annotations: dict[str, Any] = {
        name: field.pop(name) for name in ("description", "default") if name in field
    }
    for part in ("items", "additionalProperties"):
        if field.get(part):
            field[part] = _relax(field[part], nullable=False)
    choices = field.get("anyOf", [field])
    if "$ref" in field and nullable:
        choices = [field, {"type": "null"}]
    elif any("enum" in each or each.get("type") in _SCALARS for each in choices):
        choices = [*choices, _REFERENCE]
    return {**annotations, **(field if len(choices) == 1 else {"anyOf": choices})}


def _rows(section: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, default and description of every field in a section."""
    for field in msgspec.structs.fields(section):
        path = prefix + field.encode_name
        accepted = list(allowed_types(field.type))
        inner = accepted[0].section
        if inner is None or field.default is None:
            yield path, _default(field), _description(field.type)
        if get_origin(accepted[0].base) is list:
            path, inner = f"{path}[]", next(allowed_types(get_args(accepted[0].base)[0])).section
        if inner is not None:
            yield from _rows(inner, f"{path}.")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    default = field.default if field.default_factory is NODEFAULT else field.default_factory()
    return f"`{default}`" if isinstance(default, str) else json.dumps(default)


def _description(annotation: Any) -> str:
    return f"{describe_type(annotation)}. {next(allowed_types(annotation)).constraint('description')}"
