"""In what version of MCP a request is, and what its client can do."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

import msgspec

from dockrion.protocols.json_rpc import INVALID_PARAMS, Request, RpcError

LATEST_VERSION = "2026-07-28"
HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # those with `initialize`
VERSIONS = (LATEST_VERSION, *HANDSHAKE_VERSIONS)
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022
VERSION_HEADER, _METHOD_HEADER, _NAME_HEADER = "Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name"
_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_BASE64 = re.compile(r"=\?base64\?(.*)\?=")
Headers = Callable[[str], list[str]]  # returns the values of a header


class Envelope(msgspec.Struct, frozen=True):
    """What a request says of its client.

    Attributes:
        handshake: Whether it is in a version with `initialize`.
        elicits: Whether it can be asked in the result of a call, and shows forms.
    """

    handshake: bool
    elicits: bool = False


def envelope_of(request: Request, headers: Headers) -> Envelope:
    """Return what a request says of its client.

    Args:
        request: The request, or a notification.
        headers: Those of its HTTP request.

    Raises:
        RpcError: The version is unknown; headers and body differ; or what the version requires is missing.
    """
    for name in (VERSION_HEADER, _METHOD_HEADER, _NAME_HEADER):
        if len(headers(name)) > 1:
            raise RpcError(HEADER_MISMATCH, f"the header {name} was sent more than once")
    sent = next(iter(headers(VERSION_HEADER)), None)
    meta = request.params.get("_meta")
    meta = meta if isinstance(meta, dict) else {}
    if request.is_notification:
        if sent not in (None, *VERSIONS):
            raise _unsupported(sent)
        return Envelope(handshake=sent != LATEST_VERSION)
    if _VERSION_KEY not in meta and sent in (None, *HANDSHAKE_VERSIONS):
        return Envelope(handshake=True)
    if missing := [key for key in (_VERSION_KEY, _CAPABILITIES_KEY) if key not in meta]:
        if sent not in (None, *VERSIONS):
            raise _unsupported(sent)
        raise RpcError(INVALID_PARAMS, f"params._meta must have {' and '.join(missing)}")
    _check_headers(request, headers, meta)
    if sent != LATEST_VERSION:
        raise _unsupported(sent)
    return Envelope(handshake=False, elicits=_shows_forms(meta[_CAPABILITIES_KEY]))


def negotiated_version(requested: Any) -> str:
    """Return the version in which a client that has sent `initialize` goes on."""
    return requested if requested in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[0]


def _check_headers(request: Request, headers: Headers, meta: dict[str, Any]) -> None:
    """Refuse headers that say something else than the body, by which proxies may have routed it."""
    expected = {VERSION_HEADER: meta[_VERSION_KEY], _METHOD_HEADER: request.method}
    if request.method in _NAMED:
        expected[_NAME_HEADER] = request.params.get(_NAMED[request.method])
    for name, value in expected.items():
        sent = next(iter(headers(name)), None)
        if (_decoded(sent) if name == _NAME_HEADER else sent) != value:
            raise RpcError(HEADER_MISMATCH, f"the header {name} is not what the body says")


def _decoded(value: str | None) -> str | None:
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
