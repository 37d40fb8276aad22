"""Where callers may have webhooks sent to: hosts that the operator lists, at public addresses.

A name says nothing about where it leads: whoever controls it may let it resolve to an address behind the
firewall, also only at the second look-up (DNS rebinding). So the address is checked when a socket is made
for it, whichever way it was found.
"""

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from yarl import URL

from dockrion.errors import InvalidRequest

_MAX_LENGTH = 2048
_URL = re.compile(r"https?://[\x21-\x7e]+")
_REFUSED_CHARACTERS = re.compile(r"[@\\#]")
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))  # RFC 6052, 2.1; RFC 8215
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291, 2.5.5.1
_Address = IPv4Address | IPv6Address


class AllowedHosts:
    """The hosts and addresses of `webhooks.allowed_hosts`.

    Args:
        entries: Names of hosts, addresses and networks.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._names: set[str] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            try:
                self._networks.append(ip_network(entry))
            except ValueError:
                self._names.add(entry.lower())

    def check_url(self, text: str) -> str:
        """Return a URL that a caller names, if its host is listed.

        Raises:
            InvalidRequest: It is not, or it is no URL for a webhook.
        """
        if len(text) > _MAX_LENGTH or not _URL.fullmatch(text) or _REFUSED_CHARACTERS.search(text):
            raise InvalidRequest(
                f"?webhook_url= must be http(s)://host[:port][/path] of at most {_MAX_LENGTH} characters, "
                "without credentials and without a fragment"
            )
        try:
            host = URL(text).raw_host or ""
        except ValueError:
            host = ""
        if host not in self._names and not self._lists(host):
            raise InvalidRequest("the host of ?webhook_url= is not one that this service sends webhooks to")
        return text

    def permits(self, address: str) -> bool:
        """Return whether an address may be connected to: it is public, or listed."""
        return _is_public(ip_address(address)) or self._lists(address)

    def new_socket(self, where: tuple[Any, ...]) -> socket.socket:
        """Return a socket for an address, as `socket.getaddrinfo` returns it.

        Raises:
            ConnectionRefusedError: The address may not be connected to.
        """
        family, kind, protocol, _, address = where
        if not self.permits(address[0]):
            raise ConnectionRefusedError("the host is at an address that is not public, and not listed")
        return socket.socket(family, kind, protocol)

    def _lists(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _is_public(address: _Address) -> bool:
    if isinstance(address, IPv6Address):
        if address.scope_id is not None or address.is_site_local or address.teredo is not None:
            return False
        if any(address in network for network in (*_NAT64, _COMPATIBLE)):
            return address in _NAT64[0] and _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is not None:
            return _is_public(embedded)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
