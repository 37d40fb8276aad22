"""The Dockfile's fields for readers: the README's table and a JSON Schema for editors."""

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import msgspec
from msgspec import NODEFAULT

from dockrion.dockfile.annotations import kinds, rule
from dockrion.dockfile.structs import Dockfile

_SCALARS = ("string", "integer", "boolean")
_REFERENCE = {"type": "string", "pattern": r"\$\{"}


def table() -> str:
    """Return every field, its default and its rule as a Markdown table."""
    rows = [("section", "field", "default", "rule"), ("---",) * 4]
    previous = ""
    for path, default, words in _rows(Dockfile, ""):
        section, _, field = path.partition(".")
        rows.append(
            (
                f"`{section}`" if section != previous else "",
                f"`{field}`" if field else "",
                default,
                words,
            )
        )
        previous = section
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |\n" for row in rows)


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) of the Dockfile, for editors."""
    schema = msgspec.json.schema(Dockfile)
    for section in schema["$defs"].values():
        required = section["required"]
        section["properties"] = {
            name: _relaxed(field, nullable=name not in required)
            for name, field in section["properties"].items()
        }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Dockfile", **schema}


def _relaxed(field: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """Accept `${VAR}` where it takes the field's type, and null where it is an omitted section."""
    notes: dict[str, Any] = {name: field.pop(name) for name in ("description", "default") if name in field}
    for part in ("items", "additionalProperties"):
        if field.get(part):
            field[part] = _relaxed(field[part], nullable=False)
    choices = field.get("anyOf", [field])
    if "$ref" in field and nullable:
        choices = [field, {"type": "null"}]
    elif any("enum" in each or each.get("type") in _SCALARS for each in choices):
        choices = [*choices, _REFERENCE]
    return {**notes, **(field if len(choices) == 1 else {"anyOf": choices})}


def _rows(section: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Yield path, default and rule of every field in a section."""
    for field in msgspec.structs.fields(section):
        path = prefix + field.encode_name
        accepted = list(kinds(field.type))
        inner = accepted[0].section
        if inner is None or field.default is None:
            yield path, _default(field), _words(field.type)
        if get_origin(accepted[0].base) is list:
            path, inner = f"{path}[]", next(kinds(get_args(accepted[0].base)[0])).section
        if inner is not None:
            yield from _rows(inner, f"{path}.")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    default = field.default if field.default_factory is NODEFAULT else field.default_factory()
    return f"`{default}`" if isinstance(default, str) else json.dumps(default)


def _words(annotation: Any) -> str:
    description = next(kinds(annotation)).limit("description")
    return f"{rule(annotation)}. {description}"
