"""Where requests come from: the peers of connections, and whom proxies say they forward for."""

import logging
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp import hdrs, web
from msgspec import Struct
from multidict import istr

from dockrion.logs import log

_logger = logging.getLogger(__name__)
UNIX = "unix"  # all peers on a unix socket count as one
_CLOSED = "0.0.0.0"  # noqa: S104  the peer of a connection that is closed already
FORWARDED_PREFIX = istr("X-Forwarded-Prefix")
_FORWARDING_HEADERS = (
    hdrs.FORWARDED,
    hdrs.X_FORWARDED_FOR,
    hdrs.X_FORWARDED_PROTO,
    hdrs.X_FORWARDED_HOST,
    FORWARDED_PREFIX,
)


class Forwarded(Struct, frozen=True):
    """What trusted proxies say of a request.

    Attributes:
        client: The address of who sent it to the first of them.
        scheme: The scheme it was sent with, `http` or `https`; None if they do not say.
        host: The `Host` it was sent with, in lower case; None if they do not say.
        prefix: What they have removed from the beginning of its path; None if they do not say.
    """

    client: str
    scheme: str | None
    host: str | None
    prefix: str | None = None


CLIENT = web.RequestKey("client", str)  # the address of who sent the request, or UNIX
FORWARDED = web.RequestKey("forwarded", Forwarded)  # absent unless a trusted proxy says anything


def peer_address(request: web.Request) -> str:
    """Return the address of the peer of a request's connection, `UNIX` if it came over a unix socket.

    Not `request.remote`, which is for a unix socket whatever name the peer has bound its own end to.
    """
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("peername")
    if name is None:
        return _CLOSED
    return str(name[0]) if isinstance(name, tuple) else UNIX


def is_forwarded(request: web.Request) -> bool:
    """Return whether a request has a header with which proxies say whom they forward for."""
    headers = request.headers  # each request comes here: a loop would take twice as long
    return (
        hdrs.X_FORWARDED_FOR in headers
        or hdrs.FORWARDED in headers
        or hdrs.X_FORWARDED_PROTO in headers
        or hdrs.X_FORWARDED_HOST in headers
        or FORWARDED_PREFIX in headers
    )


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """Return an IP address; an IPv4 address for one that is mapped to IPv6 (RFC 4291, 2.5.5.2).

    Raises:
        ValueError: It is none.
    """
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


class UntrustedProxyWarning:
    """Warns once of forwarding headers, where the Dockfile does not say which proxies to trust."""

    def __init__(self) -> None:
        self._warned = False

    def identify(self, request: web.Request) -> None:
        """Warn if a request seems to be forwarded by a proxy of ours: its peer has no public address."""
        if self._warned or not is_forwarded(request):
            return
        peer = request[CLIENT]
        if _is_local(peer):
            self._warned = True
            message = "forwarding headers are ignored; if a proxy sends them, see expose.trusted_proxies"
            names = [name for name in _FORWARDING_HEADERS if name in request.headers]
            log(_logger, logging.WARNING, message, headers=names, peer=peer)


def _is_local(peer: str) -> bool:
    return peer == UNIX or not parse_address(peer).is_global
