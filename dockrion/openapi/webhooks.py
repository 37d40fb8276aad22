"""Description of the webhooks that a service sends (OpenAPI Specification 3.1.1, "webhooks")."""

from typing import Any

from dockrion.dockfile import Dockfile
from dockrion.dockfile.webhooks_structs import TERMINAL_EVENTS, targets
from dockrion.openapi import examples
from dockrion.openapi.operation import JSON, param, response
from dockrion.openapi.schemas import ref, struct_schemas

WEBHOOK_URL = param(
    "webhook_url",
    "URL that is told how the run ends; its host must be one that the service allows.",
    {"type": "string", "format": "uri", "maxLength": 2048},
)
_HEADERS = {
    "webhook-id": ("The same whenever the message is sent again.", "string"),
    "webhook-timestamp": ("When it was sent, in seconds since the epoch.", "integer"),
    "webhook-signature": ("`v1,` and the base64 of the HMAC-SHA256 of id, timestamp and body.", "string"),
}


def webhooks(dockfile: Dockfile) -> dict[str, Any]:
    """Return the webhooks of a service by name."""
    spec = dockfile.webhooks_spec
    if spec is None or not (spec.targets or spec.allowed_hosts):
        return {}
    types = {event_type for _, target in targets(spec) for event_type in target.events}
    types |= {*(TERMINAL_EVENTS if spec.allowed_hosts else ())}
    headers = [
        param(name, words, {"type": kind}, "header") | {"required": True}
        for name, (words, kind) in _HEADERS.items()
    ]
    shown = ", ".join(f"`{event_type}`" for event_type in sorted(types))
    post = {
        "operationId": "webhook_event",
        "tags": ["events"],
        "summary": "Receive an event of a run",
        "description": "Sent and signed by Standard Webhooks (https://www.standardwebhooks.com) for: "
        f"{shown}. The events of a run arrive in order, and each of them at least once.",
        "parameters": headers,
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": ref("WebhookBody"), "example": examples.webhook(dockfile)}},
        },
        "responses": {
            "2XX": response("The event is received; the body of the response is ignored."),
            "410": response("The receiver is gone: it is not asked again."),
            "default": response("The event is sent again later; a `Retry-After` is respected."),
        },
        "security": [],
    }
    return {"event": {"post": post}}


def webhook_schemas() -> dict[str, Any]:
    """Return the component schemas of webhooks."""
    from dockrion.webhooks.message import WebhookBody, WebhookData  # noqa: PLC0415  memory: only with webhooks

    components = struct_schemas((WebhookBody, WebhookData))
    event = components["WebhookData"]["properties"]["event"]
    components["WebhookData"]["properties"]["event"] = event | ref("Event")
    return components
