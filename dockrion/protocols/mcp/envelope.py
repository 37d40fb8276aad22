"""In what version of MCP a message is, and what its client can do."""

import base64
import binascii
import os
import re
from collections.abc import Callable
from typing import Any

import msgspec

from dockrion.errors import NotFound
from dockrion.protocols.json_rpc import INVALID_PARAMS, Request, Response, RpcError

LATEST_VERSION = "2026-07-28"
HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # those with `initialize`
VERSIONS = (LATEST_VERSION, *HANDSHAKE_VERSIONS)
_ELICITING_VERSIONS = ("2025-11-25", "2025-06-18")  # of those with `initialize`
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022
VERSION_HEADER, _METHOD_HEADER, _NAME_HEADER = "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name"
SESSION_HEADER = "Mcp-Session-Id"
SESSION_ID = "^forms-[0-9a-f]{32}$"
_SESSION_ID = re.compile(SESSION_ID, re.ASCII)
_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_BASE64 = re.compile(r"=\?base64\?(.*)\?=")
Headers = Callable[[str], list[str]]  # returns the values of a header


class Envelope(msgspec.Struct, frozen=True):
    """What a message says of its client.

    Attributes:
        handshake: Whether it is in a version with `initialize`.
        elicits: Whether it shows forms.
    """

    handshake: bool
    elicits: bool = False


def envelope_of(message: Request | Response, headers: Headers) -> Envelope:
    """Return what a message says of its client.

    Args:
        message: A request, a notification or a response.
        headers: Those of its HTTP request.

    Raises:
        RpcError: The version is unknown; headers and body differ; or what the version requires is missing.
        NotFound: It has a session id that is none of this service.
    """
    for name in (VERSION_HEADER, _METHOD_HEADER, _NAME_HEADER):
        if len(headers(name)) > 1:
            raise RpcError(HEADER_MISMATCH, f"the header {name} was sent more than once")
    sent = next(iter(headers(VERSION_HEADER)), None)
    if isinstance(message, Response) or message.is_notification:
        if sent not in (None, *VERSIONS):
            raise _unsupported(sent)
        if sent != LATEST_VERSION:
            return Envelope(handshake=True, elicits=_session_shows_forms(headers))
        return Envelope(handshake=False)
    meta = message.params.get("_meta")
    meta = meta if isinstance(meta, dict) else {}
    if _VERSION_KEY not in meta and sent in (None, *HANDSHAKE_VERSIONS):
        new = message.method == "initialize"
        return Envelope(handshake=True, elicits=not new and _session_shows_forms(headers))
    if missing := [key for key in (_VERSION_KEY, _CAPABILITIES_KEY) if key not in meta]:
        if sent not in (None, *VERSIONS):
            raise _unsupported(sent)
        raise RpcError(INVALID_PARAMS, f"params._meta must have {' and '.join(missing)}")
    _check_headers(message, headers, meta)
    if sent != LATEST_VERSION:
        raise _unsupported(sent)
    return Envelope(handshake=False, elicits=_shows_forms(meta[_CAPABILITIES_KEY]))


def negotiated_version(requested: Any) -> str:
    """Return the version in which a client that has sent `initialize` goes on."""
    return requested if requested in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[0]


def session_headers(version: str, capabilities: Any) -> dict[str, str]:
    """Return the headers of the response to `initialize`.

    The service remembers no client: whatever it has to know later is in the session id, which the client
    sends with all further messages. The id says what the client can do, and gives no access to anything. A
    client about which there is nothing to know gets none.

    Args:
        version: The version that was negotiated.
        capabilities: What the client says it can do.
    """
    if version not in _ELICITING_VERSIONS or not _shows_forms(capabilities):
        return {}
    return {SESSION_HEADER: f"forms-{os.urandom(16).hex()}"}


def _session_shows_forms(headers: Headers) -> bool:
    sent = headers(SESSION_HEADER)
    if not sent:
        return False
    if len(sent) > 1 or not _SESSION_ID.fullmatch(sent[0]):
        raise NotFound("there is no such session; begin a new one with initialize")
    return True


def _check_headers(request: Request, headers: Headers, meta: dict[str, Any]) -> None:
    """Refuse headers that say something else than the body, by which proxies may have routed it."""
    expected = {VERSION_HEADER: meta[_VERSION_KEY], _METHOD_HEADER: request.method}
    if request.method in _NAMED:
        expected[_NAME_HEADER] = request.params.get(_NAMED[request.method])
    for name, value in expected.items():
        sent = next(iter(headers(name)), None)
        if (decoded(sent) if name == _NAME_HEADER else sent) != value:
            raise RpcError(HEADER_MISMATCH, f"the header {name} is not what the body says")


def decoded(value: str | None) -> str | None:
    """Return the value of a header, which is in Base64 if it could not be sent as it is."""
    found = None if value is None else _BASE64.fullmatch(value)
    if found is None:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _shows_forms(capabilities: Any) -> bool:
    modes = capabilities.get("elicitation") if isinstance(capabilities, dict) else None
    return isinstance(modes, dict) and (not modes or "form" in modes)


def _unsupported(version: Any) -> RpcError:
    data = {"supported": list(VERSIONS), "requested": version}
    return RpcError(UNSUPPORTED_VERSION, f"this service speaks versions {', '.join(VERSIONS)}", data)
