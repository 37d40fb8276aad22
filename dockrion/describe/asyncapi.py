"""A service's streams of events as an AsyncAPI document (AsyncAPI Specification 3.0.0)."""

from collections.abc import Iterable
from typing import Any

from dockrion.describe import schemas, security
from dockrion.describe.endpoint import Endpoint
from dockrion.describe.openapi import info
from dockrion.dockfile import Dockfile
from dockrion.events import EventFilter

_CHANNELS = {
    "GET /runs/{run_id}/events": ("runEvents", "A run's events, from any of them on."),
    "POST /invoke/stream": ("invokeStream", "The events of a run that its caller watches from the first."),
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
    names = (each["$ref"].rpartition("/")[2] for each in events["Event"]["oneOf"])
    messages = {name: _event(name) for name in names}
    messages |= {f"{name}Frame": _control(name, *about) for name, about in _CONTROL.items()}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for endpoint in endpoints:
        if endpoint.name in _CHANNELS:
            name, summary = _CHANNELS[endpoint.name]
            channels[name] = _channel(endpoint, summary, messages)
            operations[f"send_{name}"] = _operation(name, endpoint, dockfile)
    components: dict[str, Any] = {"schemas": events, "messages": messages}
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


def _operation(channel: str, endpoint: Endpoint, dockfile: Dockfile) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "bindings": {"http": {"method": endpoint.method, "bindingVersion": "0.3.0"}},
    }
    if needed := security.requirements(endpoint, dockfile):
        operation["security"] = [
            {"$ref": f"#/components/securitySchemes/{name}"} for scheme in needed for name in scheme
        ]
    return operation


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
