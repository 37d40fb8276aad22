"""The tool that an agent is: its schemas, and how its arguments become the agent's payload."""

from collections.abc import Iterator
from typing import Any

from dockrion.dockfile.agent_structs import IoSchemaSpec
from dockrion.dockfile.schemas import subschemas
from dockrion.errors import InvalidRequest

INPUT = "input"  # the argument that is the payload, if the agent takes none that is an object
_DEFINITIONS = ("$defs", "definitions")


def tool_of(name: str, description: str | None, io_schema: IoSchemaSpec) -> dict[str, Any]:
    """Return an agent as a tool.

    Args:
        name: The agent's name.
        description: What it does, None if that is unknown.
        io_schema: Its schemas, secrets masked.
    """
    tool: dict[str, Any] = {"name": name, "inputSchema": input_schema(io_schema.input)}
    if description is not None:
        tool["description"] = description
    if is_structured(io_schema) and io_schema.output is not None:
        tool["outputSchema"] = {"type": "object"} | io_schema.output
    return tool


def is_structured(io_schema: IoSchemaSpec) -> bool:
    """Return whether outputs are objects that match a schema which clients may rely on."""
    return io_schema.strict and io_schema.output is not None and _is_object(io_schema.output)


def payload_of(arguments: dict[str, Any], schema: dict[str, Any] | None) -> Any:
    """Return the agent's payload.

    Args:
        arguments: The arguments of a call.
        schema: The JSON Schema of the agent's input, None for any.

    Raises:
        InvalidRequest: It is not among them.
    """
    if schema is None or _is_object(schema):
        return arguments
    if arguments.keys() != {INPUT}:
        raise InvalidRequest("arguments", details=[{"path": "$", "message": f"give one argument, {INPUT}"}])
    return arguments[INPUT]


def input_schema(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return the tool's input schema.

    Args:
        schema: The JSON Schema of the agent's input, None for any.
    """
    if schema is None:
        return {"type": "object"}
    if _is_object(schema):
        return {"type": "object"} | schema
    definitions = {key: schema[key] for key in _DEFINITIONS if key in schema}
    inner = {key: value for key, value in schema.items() if key not in definitions}
    if not all(_stays_valid(reference) for reference in _references(schema)):
        inner, definitions = {}, {}
    return {"type": "object", "properties": {INPUT: inner}, "required": [INPUT], **definitions}


def _is_object(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    if kind is None and isinstance(reference := schema.get("$ref"), str):
        place, _, name = reference.removeprefix("#/").partition("/")
        target = schema[place].get(name) if place in _DEFINITIONS and place in schema else None
        kind = target.get("type") if isinstance(target, dict) else None
    return kind == "object"


def _references(schema: dict[str, Any]) -> Iterator[str]:
    for _, part in subschemas(schema, ()):
        yield from (part[name] for name in ("$ref", "$dynamicRef") if isinstance(part.get(name), str))


def _stays_valid(reference: str) -> bool:
    """Return whether a reference leads to the same in the schema of an argument."""
    return reference.startswith(tuple(f"#/{place}/" for place in _DEFINITIONS))
