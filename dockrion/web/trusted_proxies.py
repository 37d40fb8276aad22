"""Whom trusted proxies forward requests for.

Only what trusted proxies have added themselves is believed: what their headers say from the right, up to the
first address that is not of a trusted proxy.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import ip_network

from aiohttp import web
from msgspec.structs import replace

from dockrion.errors import InvalidRequest
from dockrion.web.forwarding_headers import (
    Hop,
    conventional_hops,
    host_name,
    node_address,
    removed_prefix,
    scheme_name,
    standard_hops,
)
from dockrion.web.peers import CLIENT, FORWARDED, UNIX, Forwarded, is_forwarded, parse_address


class TrustedProxies:
    """Learns from trusted proxies whom they forward requests for.

    Args:
        trusted: Their addresses and networks; `unix` for the peers of a unix socket.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._trusts_unix = UNIX in trusted
        self._networks = [ip_network(each) for each in trusted if each != UNIX]
        self._trusts = lru_cache(maxsize=1024)(self._is_listed)

    def identify(self, request: web.Request) -> None:
        """Record who sent a request, if its peer is a trusted proxy that says so.

        Raises:
            InvalidRequest: The proxy's headers are malformed, or contradict each other.
        """
        headers, peer = request.headers, request[CLIENT]
        if not is_forwarded(request) or not self._trusts(peer):
            return
        standard, standard_proxies = self._followed(standard_hops(headers), peer)
        conventional, conventional_proxies = self._followed(conventional_hops(headers), peer)
        forwarded = _combined(standard, conventional)
        prefix = removed_prefix(headers, max(standard_proxies, conventional_proxies))
        if prefix is not None:
            forwarded = replace(forwarded or Forwarded(peer, None, None), prefix=prefix)
        if forwarded is not None:
            request[CLIENT], request[FORWARDED] = forwarded.client, forwarded

    def _followed(self, hops: Iterator[Hop], peer: str) -> tuple[Forwarded | None, int]:
        """Return what the first of the trusted proxies says, None if it says nothing; and how many there are.

        Args:
            hops: What each proxy says, from the last one back.
            peer: The address of the last one.
        """
        client, trusted = peer, []
        for hop in hops:
            trusted.append(hop)
            address = None if hop.node is None else node_address(hop.node)
            if address is None:
                break
            client = address
            if not self._trusts(client):
                break
        if not trusted:
            return None, 1
        first = trusted[-1]
        return Forwarded(client, scheme_name(first.scheme), host_name(first.host)), len(trusted)

    def _is_listed(self, peer: str) -> bool:
        if peer == UNIX:
            return self._trusts_unix
        address = parse_address(peer)
        return any(address in network for network in self._networks)


def _combined(standard: Forwarded | None, conventional: Forwarded | None) -> Forwarded | None:
    """Return what both kinds of headers say together.

    Raises:
        InvalidRequest: They contradict each other: the proxy sets one kind, and lets the other one through
            as the client has made it up.
    """
    if standard is None or conventional is None:
        return standard or conventional
    scheme, host = standard.scheme or conventional.scheme, standard.host or conventional.host
    if (
        standard.client != conventional.client
        or scheme != (conventional.scheme or scheme)
        or host != (conventional.host or host)
    ):
        raise InvalidRequest("Forwarded and X-Forwarded-… contradict each other; the proxy should remove one")
    return Forwarded(standard.client, scheme, host)
