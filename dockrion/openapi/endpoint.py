"""An endpoint, and the security schemes that apply to it."""

from typing import Any

import msgspec

from dockrion.dockfile import Dockfile

_KEY, _BEARER, _RUN_TOKEN, _INGEST_TOKEN = "key", "bearer", "eventsToken", "producer"
_TOKEN_SCHEMES = {
    "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "oauth2": {"type": "http", "scheme": "bearer", "description": "OAuth 2.0 access token (RFC 6750)."},
}


class Endpoint(msgspec.Struct, frozen=True):
    """One method of one path, and the credentials it accepts.

    Attributes:
        method: The HTTP method.
        path: The path's pattern.
        permissions: The permissions of which callers need one; may be empty.
        public: Whether it needs no authentication.
        accepts_run_token: Whether it accepts the events token of the run in the path.
        accepts_ingest_token: Whether it accepts the token for pushing events.
    """

    method: str
    path: str
    permissions: tuple[str, ...]
    public: bool
    accepts_run_token: bool
    accepts_ingest_token: bool

    @property
    def changes_state(self) -> bool:
        """Whether requests make something happen; a WebSocket's messages may."""
        return self.method != "GET" or self.path.endswith("/ws")

    @property
    def name(self) -> str:
        """The key of its description: `METHOD /path`."""
        return f"{self.method} {self.path}"


def security_schemes(dockfile: Dockfile) -> dict[str, Any]:
    """Return the OpenAPI security schemes of a service, by name."""
    schemes = _caller_schemes(dockfile)
    if schemes and dockfile.streaming.async_runs and dockfile.expose.streaming != "none":
        schemes[_RUN_TOKEN] = {
            "type": "apiKey",
            "in": "query",
            "name": "token",
            "description": "The run's `events_token`, for `EventSource`, which cannot send headers.",
        }
    if dockfile.streaming.ingest.token_env is not None:
        schemes[_INGEST_TOKEN] = {
            "type": "http",
            "scheme": "bearer",
            "description": "Token for pushing events.",
        }
    return schemes


def security_requirements(
    endpoint: Endpoint, dockfile: Dockfile, *, optional: bool = False
) -> list[dict[str, list[str]]]:
    """Return the alternative security schemes of an endpoint; empty if it needs none.

    Args:
        endpoint: The endpoint.
        dockfile: Says how callers authenticate.
        optional: Only some requests need them.
    """
    names = [] if endpoint.public and not optional else [*_caller_schemes(dockfile)]
    if names and endpoint.accepts_run_token:
        names.append(_RUN_TOKEN)
    if endpoint.accepts_ingest_token and dockfile.streaming.ingest.token_env is not None:
        names.append(_INGEST_TOKEN)
    alternatives: list[dict[str, list[str]]] = [{name: []} for name in names]
    return [{}, *alternatives] if optional else alternatives


def _caller_schemes(dockfile: Dockfile) -> dict[str, Any]:
    auth = dockfile.auth
    if auth is None or not dockfile.protected:
        return {}
    if auth.mode != "api_key":
        return {_BEARER: _TOKEN_SCHEMES[auth.mode]}
    keys = auth.api_keys
    schemes: dict[str, Any] = {_KEY: {"type": "apiKey", "in": "header", "name": keys.header}}
    if keys.allow_bearer:
        schemes[_BEARER] = {"type": "http", "scheme": "bearer", "description": "The API key."}
    return schemes
