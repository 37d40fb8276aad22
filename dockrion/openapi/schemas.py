"""The schemas of a description: from the structs that are encoded, and from the Dockfile."""

import re
from typing import Any

import msgspec
from msgspec import UNSET

from dockrion import events
from dockrion.backends.run_log import Run
from dockrion.dockfile.schemas import subschemas
from dockrion.events import CUSTOM_NAME, CUSTOM_PREFIX, Event, EventFilter, control_frames
from dockrion.openapi import models

_REF = "#/components/schemas/{name}"
_BODIES = (
    models.Health,
    models.Ready,
    models.Schemas,
    models.Info,
    models.Agent,
    models.Invoked,
    models.Accepted,
    models.RunCancelled,
    models.EventsToken,
    models.Pushed,
    models.Failure,
)
_CUSTOM_TYPE = {"type": "string", "pattern": f"^{CUSTOM_PREFIX}{CUSTOM_NAME.pattern}$"}
_UNSEEN = {"Run": ["owner"], "RunInList": ["owner", "output"]}


def ref(name: str) -> dict[str, Any]:
    """Return a reference to a component."""
    return {"$ref": _REF.format(name=name)}


def of_bodies() -> dict[str, Any]:
    """Return the components for answers in JSON."""
    found = _of((*_BODIES, Run))
    record = found["Run"]
    for name, unseen in _UNSEEN.items():
        properties = {key: value for key, value in record["properties"].items() if key not in unseen}
        found[name] = record | {"title": name, "properties": properties, "required": list(properties)}
    found["RunList"] = {
        "title": "RunList",
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": ref("RunInList")},
            "next": {"type": ["string", "null"], "description": "The `cursor` that continues."},
        },
        "required": ["items", "next"],
    }
    return found


def of_events(events_filter: EventFilter) -> dict[str, Any]:
    """Return the components for the events that pass the filter, and for control frames.

    `Event` is any of the events.
    """
    kinds = [kind for name, kind in _named_kinds() if events_filter.allows(name)]
    found = _of((*kinds, events.Heartbeat)) | _of_controls()
    names = [kind.__name__ for kind in kinds]
    if events_filter.passes_custom:
        found["Custom"] = _custom()
        names.append("Custom")
    found["Event"] = {"title": "Event", "oneOf": [ref(name) for name in names]}
    return found


def _of_controls() -> dict[str, Any]:
    """Return the components for what a connection says of itself.

    An event stream has it as frames, `Gap` or `Notice`; elsewhere it is a `Control`, by its `type`.
    """
    found = _of((control_frames.Gap, control_frames.Timeout))
    frames = {"Gap": found["Gap"], "Notice": found["Timeout"]}
    for name, frame in frames.items():
        frame["title"] = name
        del frame["properties"]["type"]
    kinds = [kind.__struct_config__.tag for kind in control_frames.Control.__subclasses__()]
    return frames | {
        "Control": {
            "title": "Control",
            "type": "object",
            "properties": {"type": {"enum": [*kinds, "heartbeat", "refused", "pong"]}},
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
                    "description": "What to ask for next: `from_sequence`.",
                },
                "done": {"type": "boolean", "description": "Nothing will follow."},
                "gap": {"anyOf": [ref("Gap"), {"type": "null"}]},
            },
            "required": ["events", "next_sequence", "done", "gap"],
        },
    }


def of_pushed() -> dict[str, Any]:
    """Return the components for events that other processes push; `PushedEvent` is any of them."""
    kinds = {**events.CONFIGURABLE, **{name: events.MANDATORY[name] for name in events.TERMINAL}}
    found: dict[str, Any] = {}
    for name, kind in sorted(kinds.items()):
        needed = [field for field in _own_fields(kind) if _must_be_given(kind, field)]
        schema = _of((kind,))[kind.__name__]
        properties = {field: schema["properties"][field] for field in ("type", *_own_fields(kind))}
        found[f"Pushed{kind.__name__}"] = {
            "title": f"Pushed{kind.__name__}",
            "type": "object",
            "properties": {**properties, "type": {"const": name}},
            "required": ["type", *needed],
            "additionalProperties": False,
        }
    found["PushedCustom"] = {
        "title": "PushedCustom",
        "type": "object",
        "properties": {"type": _CUSTOM_TYPE},
        "required": ["type"],
    }
    return found | {"PushedEvent": {"title": "PushedEvent", "oneOf": [ref(name) for name in found]}}


def inlined(schema: dict[str, Any] | None, pointer: str) -> dict[str, Any]:
    """Return a schema of the Dockfile as it stands in a document, its references into itself kept whole.

    Args:
        schema: The schema, None for one that everything matches.
        pointer: Where in the document it stands, as a URI fragment (RFC 6901, 6).
    """
    copy: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema or {}))
    if "$id" not in copy:  # else it is a document of its own
        for _, part in subschemas(copy, ()):
            reference = part.get("$ref")
            if isinstance(reference, str) and re.match(r"#(/|$)", reference):
                part["$ref"] = pointer + reference[1:]
    return copy


def _own_fields(kind: type[Event]) -> list[str]:
    return [name for name in kind.__struct_fields__ if name not in events.COMMON_FIELDS]


def _must_be_given(kind: type[Event], name: str) -> bool:
    """Tell whether an event's producer has to say this; of a result, the service knows the rest."""
    if kind is events.Complete:
        return False
    return any(field.name == name and field.required for field in msgspec.structs.fields(kind))


def _named_kinds() -> list[tuple[str, type[Event]]]:
    return [*events.MANDATORY.items(), *events.CONFIGURABLE.items()]


def _of(kinds: tuple[type[msgspec.Struct], ...]) -> dict[str, Any]:
    """Return the schemas of structs as this service encodes them: with every field that is set."""
    _, found = msgspec.json.schema_components(kinds, ref_template=_REF)
    for kind in kinds:
        schema = found[kind.__name__]
        schema["required"] = [
            field.encode_name for field in msgspec.structs.fields(kind) if field.default is not UNSET
        ]
        schema.pop("description", None)  # for those who read the code
        for part in schema["properties"].values():
            part.pop("default", None)
    return found


def _custom() -> dict[str, Any]:
    """Return the schema of custom events, which have whatever fields their agent gave."""
    common: dict[str, Any] = _of((Event,))["Event"]
    return {**common, "title": "Custom", "properties": common["properties"] | {"type": _CUSTOM_TYPE}}
