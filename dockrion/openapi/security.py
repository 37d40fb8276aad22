"""How callers prove who they are, as a description puts it."""

from typing import Any

from dockrion.dockfile import Dockfile
from dockrion.openapi.endpoint import Endpoint

_KEY, _BEARER, _RUN_TOKEN, _PRODUCER = "key", "bearer", "eventsToken", "producer"
_TOKEN_MODES = {
    "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "oauth2": {"type": "http", "scheme": "bearer", "description": "An OAuth 2.0 access token (RFC 6750)."},
}


def schemes(dockfile: Dockfile) -> dict[str, Any]:
    """Return the security schemes of a service."""
    found = _of_callers(dockfile)
    if found and dockfile.streaming.async_runs and dockfile.expose.streaming != "none":
        found[_RUN_TOKEN] = {
            "type": "apiKey",
            "in": "query",
            "name": "token",
            "description": "The `events_token` of the run, for `EventSource`, which cannot send headers.",
        }
    if dockfile.streaming.ingest.token_env is not None:
        found[_PRODUCER] = {
            "type": "http",
            "scheme": "bearer",
            "description": "The token for pushing events.",
        }
    return found


def requirements(endpoint: Endpoint, dockfile: Dockfile) -> list[dict[str, list[str]]]:
    """Return the schemes of which one is needed for an endpoint; none where nobody is asked."""
    names = [] if endpoint.public else [*_of_callers(dockfile)]
    if names and endpoint.accepts_run_token:
        names.append(_RUN_TOKEN)
    if endpoint.accepts_ingest_token and dockfile.streaming.ingest.token_env is not None:
        names.append(_PRODUCER)
    return [{name: []} for name in names]


def _of_callers(dockfile: Dockfile) -> dict[str, Any]:
    auth = dockfile.auth
    if auth is None or not dockfile.protected:
        return {}
    if auth.mode != "api_key":
        return {_BEARER: _TOKEN_MODES[auth.mode]}
    keys = auth.api_keys
    found: dict[str, Any] = {_KEY: {"type": "apiKey", "in": "header", "name": keys.header}}
    if keys.allow_bearer:
        found[_BEARER] = {"type": "http", "scheme": "bearer", "description": "The key."}
    return found
