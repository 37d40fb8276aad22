"""What a URL of Redis names: a server, the nodes of a cluster, or the Sentinels that know a primary.

Pure: connects to nothing. URLs of clusters and Sentinels name several hosts, which those that redis-py
reads do not. So they are taken apart here, and each server has a URL of its own.
"""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import msgspec

_SERVER_PORT = 6379
_SENTINEL_PORT = 26379
_FORMS = {
    "cluster": "redis+cluster://[user:password@]host[:port],host[:port]",
    "sentinel": "redis+sentinel://[user:password@]host[:port],host[:port]/primary[/db]",
}
_SERVER_FORM = "redis://[user:password@]host[:port][/db]"


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServerUrls(msgspec.Struct, frozen=True):
    """The URLs of servers that differ in their address alone."""

    before: str
    after: str

    def at(self, address: Address) -> str:
        """Return the URL of the server at an address."""
        return f"{self.before}{address}{self.after}"


class ClusterLocation(msgspec.Struct, frozen=True):
    """A cluster.

    Attributes:
        nodes: Some of its nodes, by which the others are found.
        urls: The URLs of all nodes.
    """

    nodes: tuple[Address, ...]
    urls: ServerUrls


class SentinelLocation(msgspec.Struct, frozen=True):
    """A primary that Sentinels know.

    Attributes:
        sentinels: Some of the Sentinels.
        primary: The name by which they know it.
        urls: The URLs of the primary.
        sentinel_urls: The URLs of the Sentinels.
    """

    sentinels: tuple[Address, ...]
    primary: str
    urls: ServerUrls
    sentinel_urls: ServerUrls


def expected_form(url: str) -> str:
    """Return the form of the URLs that name what this one names."""
    return _FORMS.get(_kind(url), _SERVER_FORM)


def locate(url: str) -> ClusterLocation | SentinelLocation | None:
    """Return what a URL names, or None if that is one server.

    Raises:
        ValueError: It is malformed.
    """
    kind = _kind(url)
    if not kind:
        return None
    scheme, rest = url.split("://", 1)
    secure = scheme.removesuffix(f"+{kind}")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    credentials, at, hosts = authority.rpartition("@")
    tail = urlsplit(rest[len(authority) :])
    first, _, second = tail.path.strip("/").partition("/")
    query = dict(parse_qsl(tail.query))
    before = f"{secure}://{credentials}{at}"
    if kind == "cluster":
        if first not in ("", "0"):
            raise ValueError("a cluster has no databases")
        return ClusterLocation(_addresses(hosts, _SERVER_PORT), ServerUrls(before, _query(query)))
    if not first or not re.fullmatch("[0-9]*", second):
        raise ValueError("the name of the primary, or the number of a database, is missing")
    own = {name: query.pop(f"sentinel_{name}", "") for name in ("username", "password")}
    common = {name: value for name, value in query.items() if name.startswith("ssl_")}
    return SentinelLocation(
        _addresses(hosts, _SENTINEL_PORT),
        unquote(first),
        ServerUrls(before, f"/{second}{_query(query)}"),
        ServerUrls(f"{secure}://", _query(common | {name: value for name, value in own.items() if value})),
    )


def _kind(url: str) -> str:
    return url.partition("://")[0].partition("+")[2]


def _query(parameters: dict[str, str]) -> str:
    return f"?{urlencode(parameters)}" if parameters else ""


def _addresses(hosts: str, default_port: int) -> tuple[Address, ...]:
    parts = [urlsplit(f"//{host}") for host in hosts.split(",")]
    if not all(part.hostname for part in parts):
        raise ValueError("a host is missing")
    return tuple(Address(part.hostname or "", part.port or default_port) for part in parts)
