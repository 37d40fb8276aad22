"""The agent's input and output as component schemas, which generators of clients turn into named types."""

import re
from collections.abc import Collection, Iterator
from itertools import count
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from dockrion.dockfile.agent_structs import IoSchemaSpec
from dockrion.dockfile.schemas import subschemas
from dockrion.openapi.schemas import make_explicit, ref

AGENT_INPUT, AGENT_OUTPUT = "AgentInput", "AgentOutput"
_WITH_OUTPUT = {"Invoked", "Run", "Complete"}
_DEFINITIONS = ("$defs", "definitions")


def with_agent_schemas(components: dict[str, Any], io_schema: IoSchemaSpec) -> dict[str, Any]:
    """Return component schemas together with those of the agent's input and output.

    Args:
        components: The service's own; in the result, their properties `output` are the agent's output.
        io_schema: The agent's schemas.
    """
    described = dict(components)
    for name, schema in ((AGENT_INPUT, io_schema.input), (AGENT_OUTPUT, io_schema.output)):
        if schema is not None:
            own = _components_of(name, schema, {*described, AGENT_INPUT, AGENT_OUTPUT})
            _drop_taken_titles(own, described)
            described |= own
    if io_schema.output is not None:
        for name in _WITH_OUTPUT & components.keys():
            properties = components[name]["properties"] | {"output": _output_of(name)}
            described[name] = components[name] | {"properties": properties}
    return described


def _output_of(component: str) -> dict[str, Any]:
    output = ref(AGENT_OUTPUT)
    return {"anyOf": [output, {"type": "null"}]} if component == "Run" else output  # null until it completes


def input_schema(io_schema: IoSchemaSpec) -> dict[str, Any]:
    """Return a reference to the schema of the agent's input, or a schema that accepts any JSON."""
    return {} if io_schema.input is None else ref(AGENT_INPUT)


def _components_of(name: str, schema: dict[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """Return a schema as a component, and its definitions as others, its references adjusted.

    Definitions are components because generators follow references to nothing else.

    Args:
        name: The schema's name.
        schema: A schema of the Dockfile.
        taken: The names that definitions cannot have.
    """
    root: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))
    if any("$id" in part for _, part in subschemas(root, ())):
        return {name: root}  # references are relative to `$id`
    make_explicit(root)
    parts = [part for _, part in subschemas(root, ())]
    names: dict[tuple[str, ...], str] = {}
    components = {name: root}
    for keyword in _DEFINITIONS:
        for key, definition in root.pop(keyword, {}).items():
            component = next(each for each in _names(name, key) if not _is_taken(each, [*taken, *components]))
            names[keyword, key] = component
            components[component] = definition
    for part in parts:
        for holder, key in _references(part):
            steps = tuple(_unescape(step) for step in holder[key].split("/")[1:])
            component, rest = (names[steps[:2]], steps[2:]) if steps[:2] in names else (name, steps)
            holder[key] = "/".join([ref(component)["$ref"], *map(_escape, rest)])
    return components


def _drop_taken_titles(components: dict[str, Any], others: dict[str, Any]) -> None:
    """Remove titles that are the names of other components: generators name classes after them."""
    taken = [*others, *(_title(name, schema) for name, schema in others.items()), *components]
    for name, schema in components.items():
        title = _title(name, schema)
        if title != name and _is_taken(title, taken):
            del schema["title"]
        taken.append(title)


def _title(name: str, schema: Any) -> str:
    """Return the title of a component, by default its name; a schema can also be true or false."""
    return str(schema.get("title", name)) if isinstance(schema, dict) else name


def _references(schema: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield where a schema refers to a part of the whole schema, each as a mapping and its key."""
    candidates = [(schema, "$ref")]
    discriminator = schema.get("discriminator")  # OpenAPI 3.1.1, 4.8.25
    mapping = discriminator.get("mapping") if isinstance(discriminator, dict) else None
    if isinstance(mapping, dict):
        candidates += [(mapping, tag) for tag in mapping]
    for holder, key in candidates:
        if isinstance(reference := holder.get(key), str) and re.match(r"#(/|$)", reference):
            yield holder, key


def _names(owner: str, key: str) -> Iterator[str]:
    """Yield names for a definition, the best first."""
    valid = re.sub(r"[^A-Za-z0-9._-]", "_", key)
    yield valid
    yield owner + valid[:1].upper() + valid[1:]
    yield from (f"{owner}{valid}{number}" for number in count(2))


def _is_taken(name: str, names: Collection[str]) -> bool:
    """Return whether a name, written as the name of a class or of a module, would be that of another."""
    return _letters(name) in ("", *map(_letters, names))


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _unescape(step: str) -> str:
    """Decode a step of a JSON pointer in a URI fragment (RFC 6901, 6)."""
    return unquote(step).replace("~1", "/").replace("~0", "~")


def _escape(step: str) -> str:
    return quote(step.replace("~", "~0").replace("/", "~1"), safe="~$")
