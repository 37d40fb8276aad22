"""The event streams of a service as an AsyncAPI document (AsyncAPI Specification 3.0.0)."""

from collections.abc import Iterable
from typing import Any

from dockrion.dockfile import Dockfile
from dockrion.events import CONFIGURABLE, MANDATORY, MAX_REASON_LENGTH, EventFilter
from dockrion.openapi import schemas
from dockrion.openapi.agent_schemas import input_schema, with_agent_schemas
from dockrion.openapi.document import info
from dockrion.openapi.endpoint import Endpoint, security_requirements, security_schemes

# HTTP streams, by endpoint: name of the channel, summary.
_HTTP_STREAMS = {
    "GET /runs/{run_id}/events": ("runEvents", "A run's events, from any position."),
    "POST /invoke/stream": ("invokeStream", "The events of the run that the request starts."),
}
# WebSockets, by endpoint: name of the channel, summary, messages that the client may send.
_SOCKETS = {
    "GET /runs/{run_id}/ws": ("runSocket", "A run's events, over a WebSocket.", ("Cancel", "Ping")),
    "GET /invoke/ws": (
        "invokeSocket",
        "The input, then the events of the run it starts, over a WebSocket.",
        ("Input", "Cancel", "Ping"),
    ),
}
# Control frames of HTTP streams, by name: schema, summary.
_CONTROL_FRAMES = {
    "gap": ("Gap", "Requested events are not stored: the next event is `first_available`."),
    "timeout": ("Notice", "The connection has reached its timeout; the run continues."),
    "auth_expired": ("Notice", "The credentials of the stream have expired; the run continues."),
    "gone": ("Notice", "The run is no longer stored."),
    "heartbeat": ("Heartbeat", "No event has occurred; `sequence` is that of the last event delivered."),
}
_EVENT_TYPES = {kind.__name__: name for name, kind in (MANDATORY | CONFIGURABLE).items()}


def asyncapi(dockfile: Dockfile, endpoints: Iterable[Endpoint], prefix: str = "") -> dict[str, Any]:
    """Return the AsyncAPI document of a service.

    Args:
        dockfile: The service's Dockfile.
        endpoints: The endpoints it serves.
        prefix: The path below which they are.
    """
    event_schemas = schemas.event_schemas(EventFilter(dockfile.streaming.events.allowed))
    event_names = [each["$ref"].rpartition("/")[2] for each in event_schemas["Event"]["oneOf"]]
    stream_messages = {name: _event_message(name) for name in event_names}
    stream_messages |= {f"{name}Frame": _frame_message(name, *each) for name, each in _CONTROL_FRAMES.items()}
    control = {"ControlMessage": _message("A message about the connection.", schemas.ref("Control"))}
    client_messages = _client_messages(dockfile)
    messages = dict(stream_messages)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for endpoint in endpoints:
        if endpoint.name in _HTTP_STREAMS:
            name, summary = _HTTP_STREAMS[endpoint.name]
            channels[name] = _channel(endpoint, prefix, summary, stream_messages)
            operations[f"send_{name}"] = _operation("send", name, endpoint, dockfile, stream_messages)
        elif endpoint.name in _SOCKETS:
            name, summary, received = _SOCKETS[endpoint.name]
            sent = [*event_names, *control]
            channels[name] = _channel(endpoint, prefix, summary, [*sent, *received])
            operations[f"send_{name}"] = _operation("send", name, endpoint, dockfile, sent)
            operations[f"receive_{name}"] = _operation("receive", name, endpoint, dockfile, received)
            messages |= control | {each: client_messages[each] for each in received}
    components: dict[str, Any] = {
        "schemas": with_agent_schemas(event_schemas, dockfile.io_schema),
        "messages": messages,
    }
    if security := security_schemes(dockfile):
        components["securitySchemes"] = {name: _scheme(scheme) for name, scheme in security.items()}
    return {
        "asyncapi": "3.0.0",
        "info": info(dockfile),
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": components,
    }


def _channel(endpoint: Endpoint, prefix: str, summary: str, messages: Iterable[str]) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": prefix + endpoint.path,
        "title": endpoint.name,
        "summary": summary,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if "{run_id}" in endpoint.path:
        channel["parameters"] = {"run_id": {"description": "The run's id."}}
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
    if security := security_requirements(endpoint, dockfile):
        operation["security"] = [
            {"$ref": f"#/components/securitySchemes/{name}"} for scheme in security for name in scheme
        ]
    return operation


def _client_messages(dockfile: Dockfile) -> dict[str, Any]:
    """Return the messages that clients may send on a WebSocket."""
    reason = {"type": ["string", "null"], "maxLength": MAX_REASON_LENGTH}
    cancel = {"type": {"const": "cancel"}, "reason": reason}
    return {
        "Input": _message("The agent's input; the first message.", input_schema(dockfile.io_schema)),
        "Cancel": _message("Cancels the run.", {"properties": cancel, "required": ["type"]}),
        "Ping": _message("Requests a pong.", {"properties": {"type": {"const": "ping"}}}),
    }


def _message(summary: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "payload": payload}


def _event_message(name: str) -> dict[str, Any]:
    kind = _EVENT_TYPES.get(name, "custom:<name>")
    return {"name": kind, "title": name} | _message(f"`event: {kind}`, with an `id:`.", schemas.ref(name))


def _frame_message(name: str, schema: str, summary: str) -> dict[str, Any]:
    message = _message(f"`event: {name}`, without an `id:`. {summary}", schemas.ref(schema))
    return {"name": name, "title": f"{name}, a control frame"} | message


def _scheme(scheme: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI security scheme as AsyncAPI defines it: API keys in HTTP are `httpApiKey`."""
    return scheme | {"type": "httpApiKey"} if scheme["type"] == "apiKey" else scheme
