"""Refuses what pages of other origins make browsers send, which CORS alone does not prevent.

CORS keeps a page from reading responses, and has browsers ask first about some requests. It prevents
neither simple requests, nor WebSockets, nor requests to a host name of the attacker that has been rebound
to this machine's address. The rules for origins are those of `CrossOriginProtection` in Go's `net/http`,
except that own pages at a plain http:// name do not count as the same origin, since names can be rebound.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from dockrion.dockfile.expose_structs import CorsSpec, ExposeSpec
from dockrion.errors import Forbidden, MisdirectedRequest
from dockrion.web.peers import FORWARDED, parse_address

_SAFE_METHODS = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})  # RFC 9110, 9.2.1
_FETCH_SITE = "Sec-Fetch-Site"  # pages cannot set it (W3C Fetch Metadata, 2.4)
_OWN_SITES = ("same-origin", "none")  # none: the user's own action, not a page's
_LOCALHOST = "localhost"


class CrossOriginProtection:
    """Checks the headers in which browsers say what page makes a request, and for which host.

    Args:
        expose: The Dockfile's section.
    """

    def __init__(self, expose: ExposeSpec) -> None:
        cors = expose.cors or CorsSpec()
        self._origins = frozenset(cors.origins)
        self._methods = frozenset(cors.methods)
        self._hosts = {_LOCALHOST, *(urlsplit(origin).hostname for origin in cors.origins if origin != "*")}
        self._checks_host = False

    def listen_on(self, host: str, addresses: Iterable[str]) -> None:
        """Check the `Host` of requests if none but this machine can send them.

        Args:
            host: The name of the host that the service listens on.
            addresses: The IP addresses it listens on; none for a unix socket.
        """
        addresses = tuple(addresses)
        self._checks_host = bool(addresses) and all(map(_is_loopback, addresses))
        self._hosts.add(host.lower())

    def check(self, request: web.Request) -> None:
        """Refuse a request that a page may not make the browser send.

        Raises:
            MisdirectedRequest: It is for another host: a name was rebound to a loopback address.
            Forbidden: It changes state, and comes from a page of an origin that is not allowed.
        """
        if self._checks_host:
            self._check_host(request)
        if request.method not in _SAFE_METHODS:
            self.check_page(request)

    def check_page(self, request: web.Request) -> None:
        """Refuse a request of a page whose origin is not allowed.

        Raises:
            Forbidden: It is one.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        site = request.headers.get(_FETCH_SITE)
        if origin is None and site is None:  # not a browser
            return
        if self._allows(origin, request.method):
            return
        own = site in _OWN_SITES if site is not None else self._is_own(origin or "", request)
        if not own:
            raise Forbidden(
                f"a page of this origin may not send {request.method} requests here; see expose.cors"
            )

    def _allows(self, origin: str | None, method: str) -> bool:
        """Return whether `expose.cors` allows pages of an origin to use a method."""
        allowed = "*" in self._origins or origin in self._origins
        return allowed and (method in _SAFE_METHODS or "*" in self._methods or method in self._methods)

    def _is_own(self, origin: str, request: web.Request) -> bool:
        """Return whether an origin is the one that the request is for, by a name that cannot be rebound."""
        scheme, _, authority = origin.lower().partition("://")
        forwarded, sent_to = request.get(FORWARDED), request.headers.get(hdrs.HOST, "").lower()
        if forwarded is not None:
            sent_to = forwarded.host or sent_to
            if scheme != (forwarded.scheme or scheme):
                return False
        if not authority or authority != sent_to:
            return False
        host = _host_of(authority)
        return scheme == "https" or host in self._hosts or _is_address(host)

    def _check_host(self, request: web.Request) -> None:
        # Not what a proxy says: a page at a rebound name has all headers but this one in its hands.
        header = request.headers.get(hdrs.HOST)
        if header is None:  # a client of HTTP/1.0, so no browser
            return
        host = _host_of(header)
        if host not in self._hosts and not _is_loopback(host):
            raise MisdirectedRequest(
                "this service listens on this machine only, as localhost; send that as the Host, "
                "or list the host's origin in expose.cors.origins"
            )


def _host_of(authority: str) -> str:
    """Return the host of `host:port` without the port and the brackets of an IPv6 address."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0].lower()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return parse_address(host).is_loopback
    except ValueError:
        return False
