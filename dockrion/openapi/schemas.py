"""JSON Schemas for the documents, derived from the structs that are encoded and from the Dockfile."""

from typing import Any

import msgspec
from msgspec import UNSET

from dockrion import events
from dockrion.backends.run_log import INTERNAL_FIELDS, Run
from dockrion.dockfile.schemas import subschemas
from dockrion.events import CUSTOM_NAME, CUSTOM_PREFIX, Event, EventFilter, control_frames
from dockrion.openapi import models

_REF = "#/components/schemas/{name}"
# Every struct in `models` is a component.
_BODIES = tuple(
    each for each in vars(models).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)
)
_TYPE_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number"}
_CUSTOM_TYPE = {"type": "string", "pattern": f"^{CUSTOM_PREFIX}{CUSTOM_NAME.pattern}$"}
_HIDDEN_FIELDS = {
    "Run": (*INTERNAL_FIELDS, "input_excerpt", "truncated"),
    "RunInList": (*INTERNAL_FIELDS, "input", "output"),
}


def ref(name: str) -> dict[str, Any]:
    """Return a reference to a component."""
    return {"$ref": _REF.format(name=name)}


def body_schemas() -> dict[str, Any]:
    """Return the component schemas of JSON responses."""
    components = struct_schemas((*_BODIES, Run))
    record = components["Run"]
    record["properties"]["error"] = {"anyOf": [ref("RunError"), {"type": "null"}]}
    components["RunStatus"] = record["properties"]["status"]
    for each in (record, components["Accepted"]):
        each["properties"]["status"] = ref("RunStatus")
    for name, hidden in _HIDDEN_FIELDS.items():
        properties = {key: value for key, value in record["properties"].items() if key not in hidden}
        components[name] = record | {"title": name, "properties": properties, "required": list(properties)}
    components["RunList"] = {
        "title": "RunList",
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": ref("RunInList")},
            "next": {"type": ["string", "null"], "description": "The `cursor` of the next page."},
        },
        "required": ["items", "next"],
    }
    return components


def event_schemas(events_filter: EventFilter) -> dict[str, Any]:
    """Return the component schemas of the events that a filter passes, and of control frames.

    `Event` is the union of the events.
    """
    kinds = [kind for name, kind in _named_kinds() if events_filter.allows(name)]
    components = struct_schemas((*kinds, events.Heartbeat)) | _control_schemas()
    names = [kind.__name__ for kind in kinds]
    if events_filter.passes_custom:
        components["Custom"] = _custom()
        names.append("Custom")
    components["Event"] = {"title": "Event", "oneOf": [ref(name) for name in names]}
    return components


def _control_schemas() -> dict[str, Any]:
    """Return the component schemas of control frames, and of a page of events.

    In SSE streams a control frame is a `Gap` or a `Notice`, named by `event:`; in NDJSON and on WebSockets it
    is a `Control`, named by its `type`.
    """
    components = struct_schemas((control_frames.Gap, control_frames.Timeout))
    frames = {"Gap": components["Gap"], "Notice": components["Timeout"]}
    for name, frame in frames.items():
        frame["title"] = name
        del frame["properties"]["type"]
    notices = [kind.__struct_config__.tag for kind in control_frames.Notice.__subclasses__()]
    return frames | {
        "Control": {
            "title": "Control",
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["gap", *notices, "heartbeat", "refused", "pong"]}
            },
            "required": ["type"],
            "not": {"required": ["sequence"]},
        },
        "Polled": {
            "title": "Polled",
            "type": "object",
            "properties": {
                "events": {"type": "array", "items": ref("Event")},
                "next_sequence": {
                    "type": "integer",
                    "description": "The `from_sequence` of the next request.",
                },
                "done": {"type": "boolean", "description": "Whether the run has no further events."},
                "gap": {"anyOf": [ref("Gap"), {"type": "null"}]},
            },
            "required": ["events", "next_sequence", "done", "gap"],
        },
    }


def pushed_event_schemas() -> dict[str, Any]:
    """Return the component schemas of pushed events; `PushedEvent` is their union."""
    kinds = {name: kind for name, kind in events.CONFIGURABLE.items() if name in events.EMITTED_BY_AGENTS}
    kinds |= {name: events.MANDATORY[name] for name in events.TERMINAL}
    components: dict[str, Any] = {}
    for _, kind in sorted(kinds.items()):
        needed = [field for field in _own_fields(kind) if _is_required(kind, field)]
        schema = struct_schemas((kind,))[kind.__name__]
        properties = {field: schema["properties"][field] for field in ("type", *_own_fields(kind))}
        components[f"Pushed{kind.__name__}"] = {
            "title": f"Pushed{kind.__name__}",
            "type": "object",
            "properties": properties,
            "required": ["type", *needed],
            "additionalProperties": False,
        }
    components["PushedCustom"] = {
        "title": "PushedCustom",
        "type": "object",
        "properties": {"type": _CUSTOM_TYPE},
        "required": ["type"],
        "additionalProperties": True,
    }
    return components | {"PushedEvent": {"title": "PushedEvent", "oneOf": [ref(name) for name in components]}}


def _own_fields(kind: type[Event]) -> list[str]:
    return [name for name in kind.__struct_fields__ if name not in events.COMMON_FIELDS]


def _is_required(kind: type[Event], name: str) -> bool:
    """Return whether pushed events must have a field; the service completes `complete` events."""
    if kind is events.Complete:
        return False
    return any(field.name == name and field.required for field in msgspec.structs.fields(kind))


def _named_kinds() -> list[tuple[str, type[Event]]]:
    return [*events.MANDATORY.items(), *events.CONFIGURABLE.items()]


def struct_schemas(kinds: tuple[type[msgspec.Struct], ...]) -> dict[str, Any]:
    """Return the schemas of structs as they are encoded: only fields that default to `UNSET` are optional."""
    _, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    for kind in kinds:
        schema = components[kind.__name__]
        schema["required"] = [
            field.encode_name for field in msgspec.structs.fields(kind) if field.default is not UNSET
        ]
        schema.pop("description", None)  # the class's docstring, which is for developers
        for part in schema["properties"].values():
            part.pop("default", None)
        for _, part in subschemas(schema, ()):
            if part.get("type") == "object" and "properties" not in part:
                part["additionalProperties"] = True  # without it, openapi-typescript allows no properties
        make_explicit(schema)
    return components


def make_explicit(schema: dict[str, Any]) -> None:
    """Say what generators of clients do not infer: which values are constant, and the types of values."""
    for _, part in subschemas(schema, ()):
        values = part.get("enum", [part["const"]] if "const" in part else None)
        if not isinstance(values, list):
            continue
        if len(values) == 1 and "enum" in part:
            (part["const"],) = part.pop("enum")
        types = {_TYPE_NAMES.get(type(value)) for value in values}
        if len(types) == 1 and None not in types:
            part.setdefault("type", *types)


def _custom() -> dict[str, Any]:
    """Return the schema of custom events, which may have any fields."""
    common: dict[str, Any] = struct_schemas((Event,))["Event"]
    return {**common, "title": "Custom", "properties": common["properties"] | {"type": _CUSTOM_TYPE}}
