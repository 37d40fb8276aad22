"""The agent card: how an agent introduces itself to others, and where they call it."""

from typing import Any

from dockrion.dockfile import Dockfile
from dockrion.dockfile.auth_structs import AuthSpec

PATH = "/a2a"
CARD_PATH = "/.well-known/agent-card.json"
_MEDIA_TYPES = ["text/plain", "application/json"]
_NO_VERSION = "0.0.0"  # of an agent whose Dockfile names none; clients demand one


def agent_card(dockfile: Dockfile, url: str) -> dict[str, Any]:
    """Return the card, with the fields of both versions of the protocol.

    Args:
        dockfile: The Dockfile; whatever it says is public here.
        url: Where the caller finds the service.
    """
    agent, metadata = dockfile.agent, dockfile.metadata
    description = agent.description or f"The agent {agent.name}."
    named = {"name": agent.name, "description": description}
    interface = {"url": f"{url}{PATH}", "protocolBinding": "JSONRPC"}
    webhooks = dockfile.webhooks_spec
    pushes = webhooks is not None and bool(webhooks.allowed_hosts)
    card = {
        **named,
        "version": metadata.version or _NO_VERSION,
        "supportedInterfaces": [{**interface, "protocolVersion": version} for version in ("1.0", "0.3")],
        "protocolVersion": "0.3.0",
        "url": f"{url}{PATH}",
        "preferredTransport": "JSONRPC",
        "capabilities": {"streaming": True, "pushNotifications": pushes},
        "defaultInputModes": _MEDIA_TYPES,
        "defaultOutputModes": _MEDIA_TYPES,
        "skills": [{"id": agent.name, **named, "tags": metadata.tags or [agent.name]}],
    }
    return card | (_security(dockfile.auth) if dockfile.auth is not None and dockfile.protected else {})


def _security(auth: AuthSpec) -> dict[str, Any]:
    """Return how callers authenticate: one of the schemes is enough."""
    schemes: dict[str, dict[str, Any]] = {}
    if auth.mode == "api_key":
        key = {"name": auth.api_keys.header}
        of_1_0 = {"apiKeySecurityScheme": {**key, "location": "header"}}
        schemes["apiKey"] = {"type": "apiKey", "in": "header", **key, **of_1_0}
    if auth.mode != "api_key" or auth.api_keys.allow_bearer:
        bearer = {"scheme": "bearer"}
        schemes["bearer"] = {"type": "http", **bearer, "httpAuthSecurityScheme": bearer}
    return {
        "securitySchemes": schemes,
        "security": [{name: []} for name in schemes],
        "securityRequirements": [{"schemes": {name: {"list": []}}} for name in schemes],
    }
