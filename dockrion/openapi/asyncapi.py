"""A service's streams of events as an AsyncAPI document (AsyncAPI Specification 3.0.0)."""

from collections.abc import Iterable
from typing import Any

from dockrion.dockfile import Dockfile
from dockrion.events import MAX_REASON_LENGTH, EventFilter
from dockrion.openapi import schemas, security
from dockrion.openapi.document import info
from dockrion.openapi.endpoint import Endpoint

_CHANNELS = {
    "GET /runs/{run_id}/events": ("runEvents", "A run's events, from any of them on."),
    "POST /invoke/stream": ("invokeStream", "The events of a run that its caller watches from the first."),
}
_SOCKETS = {
    "GET /runs/{run_id}/ws": ("runSocket", "A run's events, over a WebSocket.", ("Cancel", "Ping")),
    "GET /invoke/ws": (
        "invokeSocket",
        "The input, then the events of its run, over a WebSocket.",
        ("Input", "Cancel", "Ping"),
    ),
}
_CONTROL = {
    "gap": ("Gap", "Events that were asked for are no longer kept."),
    "timeout": ("Notice", "The connection's time is over, though the run goes on."),
    "auth_expired": ("Notice", "What opened the stream has expired, though the run goes on."),
    "gone": ("Notice", "The run is no longer stored."),
    "heartbeat": ("Heartbeat", "Nothing has happened; `sequence` is the last one delivered."),
}


def asyncapi(dockfile: Dockfile, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the AsyncAPI document of a service.

    Args:
        dockfile: What the service serves.
        endpoints: Those that there are.
    """
    events = schemas.of_events(EventFilter(dockfile.streaming.events.allowed))
    events_named = [each["$ref"].rpartition("/")[2] for each in events["Event"]["oneOf"]]
    messages = {name: _event(name) for name in events_named}
    used: dict[str, Any] = {}
    messages |= {f"{name}Frame": _control(name, *about) for name, about in _CONTROL.items()}
    said = {"ControlMessage": _message("What the connection says of itself.", schemas.ref("Control"))}
    heard = _heard(dockfile)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for endpoint in endpoints:
        if endpoint.name in _CHANNELS:
            name, summary = _CHANNELS[endpoint.name]
            channels[name] = _channel(endpoint, summary, messages)
            operations[f"send_{name}"] = _operation("send", name, endpoint, dockfile, messages)
        elif endpoint.name in _SOCKETS:
            name, summary, hears = _SOCKETS[endpoint.name]
            tells = [*events_named, *said]
            channels[name] = _channel(endpoint, summary, [*tells, *hears])
            operations[f"send_{name}"] = _operation("send", name, endpoint, dockfile, tells)
            operations[f"receive_{name}"] = _operation("receive", name, endpoint, dockfile, hears)
            used |= said | {each: heard[each] for each in hears}
    components: dict[str, Any] = {"schemas": events, "messages": messages | used}
    if needed := security.schemes(dockfile):
        components["securitySchemes"] = {name: _scheme(scheme) for name, scheme in needed.items()}
    return {
        "asyncapi": "3.0.0",
        "info": info(dockfile),
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": components,
    }


def _channel(endpoint: Endpoint, summary: str, messages: Iterable[str]) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": endpoint.path,
        "title": endpoint.name,
        "summary": summary,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if "{run_id}" in endpoint.path:
        channel["parameters"] = {"run_id": {"description": "The run."}}
    return channel


def _operation(
    action: str, channel: str, endpoint: Endpoint, dockfile: Dockfile, messages: Iterable[str]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
        "bindings": {"http": {"method": endpoint.method, "bindingVersion": "0.3.0"}},
    }
    if needed := security.requirements(endpoint, dockfile):
        operation["security"] = [
            {"$ref": f"#/components/securitySchemes/{name}"} for scheme in needed for name in scheme
        ]
    return operation


def _heard(dockfile: Dockfile) -> dict[str, Any]:
    """Return what clients may say on a WebSocket."""
    cancel = {
        "type": {"const": "cancel"},
        "reason": {"type": ["string", "null"], "maxLength": MAX_REASON_LENGTH},
    }
    given = schemas.inlined(dockfile.io_schema.input, "#/components/messages/Input/payload")
    return {
        "Input": _message("The input of the agent, first of all.", given),
        "Cancel": _message("Cancel the run.", {"properties": cancel, "required": ["type"]}),
        "Ping": _message("Answer with a pong.", {"properties": {"type": {"const": "ping"}}}),
    }


def _message(summary: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "payload": payload}


def _event(name: str) -> dict[str, Any]:
    kind = "custom:<name>" if name == "Custom" else name.lower()
    return {
        "name": kind,
        "title": name,
        "summary": f"`event: {kind}`, with an `id:`.",
        "payload": schemas.ref(name),
    }


def _control(name: str, schema: str, summary: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": f"{name}, a control frame",
        "summary": f"`event: {name}`, without an `id:`. {summary}",
        "payload": schemas.ref(schema),
    }


def _scheme(scheme: dict[str, Any]) -> dict[str, Any]:
    """Return a security scheme of OpenAPI as AsyncAPI has it: keys in HTTP are `httpApiKey`."""
    return scheme | {"type": "httpApiKey"} if scheme["type"] == "apiKey" else scheme
