"""Reads what proxies add to requests: `Forwarded` (RFC 7239), `X-Forwarded-For`, `-Proto`, `-Host` and such.

Every value may come from anybody: a proxy adds its own on the right of what it has received.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from aiohttp import hdrs
from msgspec import Struct
from multidict import CIMultiDictProxy

from dockrion.dockfile.expose_structs import ROOT_PATH_PATTERN
from dockrion.errors import InvalidRequest
from dockrion.web.peers import FORWARDED_PREFIX, parse_address

_MAX_LENGTH = 4096  # of all values of one header; bounds the time they take
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, 5.6.2
_PAIR = re.compile(rf'[ \t]*+(?:({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*+)"))?[ \t]*+([;,]|\Z)')
_ESCAPED = re.compile(r"\\(.)")
_PORT = r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]+))?"
_HIDDEN = re.compile(rf"(?:unknown|_[A-Za-z0-9._-]+){_PORT}", re.IGNORECASE)  # RFC 7239, 6.2 and 6.3
_ADDRESS = re.compile(rf"\[([0-9a-f:.]+)\]{_PORT}|([0-9.]+){_PORT}|([0-9a-f:.]+)", re.IGNORECASE)
_HOST = re.compile(r"(?:[a-z0-9._-]{1,255}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(ROOT_PATH_PATTERN)
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}  # WebSockets, as Traefik says it


class Hop(Struct, frozen=True):
    """What one proxy says of a request that it has received.

    Attributes:
        node: From whom, as in the header; None if it does not say.
        scheme: The scheme, None likewise.
        host: The `Host`, None likewise.
    """

    node: str | None
    scheme: str | None
    host: str | None


def standard_hops(headers: CIMultiDictProxy[str]) -> Iterator[Hop]:
    """Yield the elements of `Forwarded`, the last one first.

    Raises:
        InvalidRequest: It is malformed.
    """
    values = _values(headers, hdrs.FORWARDED)
    for value in reversed(values):
        for element in reversed(_elements(value)):
            yield Hop(element.get("for"), element.get("proto"), element.get("host"))


def conventional_hops(headers: CIMultiDictProxy[str]) -> Iterator[Hop]:
    """Yield the items of the `X-Forwarded-…` headers, the last ones first.

    A proxy that replaces a header makes its list shorter than the others: its first item is then that of
    all hops before, too.

    Raises:
        InvalidRequest: They are too long.
    """
    nodes = _items(headers, hdrs.X_FORWARDED_FOR)
    schemes = _items(headers, hdrs.X_FORWARDED_PROTO)
    hosts = _items(headers, hdrs.X_FORWARDED_HOST)
    for index, node in enumerate(nodes):
        yield Hop(node, _item(schemes, index), _item(hosts, index))
    if not nodes and (schemes or hosts):
        yield Hop(None, _item(schemes, 0), _item(hosts, 0))


def removed_prefix(headers: CIMultiDictProxy[str], proxies: int) -> str | None:
    """Return what the last proxies have removed from the beginning of the path; None if they do not say.

    Args:
        headers: The request's headers.
        proxies: How many of them to believe.

    Raises:
        InvalidRequest: It is too long, or not the beginning of a path.
    """
    items = _items(headers, FORWARDED_PREFIX)[:proxies]
    if not items:
        return None
    prefix = "".join(item.rstrip("/") for item in reversed(items))  # the first proxy removes the first part
    if not _PREFIX.fullmatch(prefix):
        raise malformed("the prefix")
    return prefix


@lru_cache(maxsize=1024)
def node_address(node: str) -> str | None:
    """Return the address of who sent a request to a proxy, None if the proxy hides it.

    Raises:
        InvalidRequest: It is malformed.
    """
    if _HIDDEN.fullmatch(node):
        return None
    found = _ADDRESS.fullmatch(node)
    try:
        return str(parse_address(found[found.lastindex or 0] if found else ""))
    except ValueError:
        raise malformed("an address") from None


def scheme_name(value: str | None) -> str | None:
    """Return `http` or `https`, None if the proxy does not say.

    Raises:
        InvalidRequest: It says something else.
    """
    if value is None:
        return None
    scheme = _SCHEMES.get(value.lower())
    if scheme is None:
        raise malformed("the scheme")
    return scheme


def host_name(value: str | None) -> str | None:
    """Return a `Host` in lower case, None if the proxy does not say.

    Raises:
        InvalidRequest: It is malformed.
    """
    if value is None:
        return None
    if not _HOST.fullmatch(host := value.lower()):
        raise malformed("the host")
    return host


def malformed(what: str) -> InvalidRequest:
    """Return the error for something that the headers of a trusted proxy say."""
    return InvalidRequest(f"{what} in Forwarded or X-Forwarded-… is malformed; check the proxy")


def _values(headers: CIMultiDictProxy[str], name: str) -> list[str]:
    values = headers.getall(name, [])
    if values and sum(map(len, values)) > _MAX_LENGTH:
        raise InvalidRequest(f"{name} may have at most {_MAX_LENGTH} characters")
    return values


def _items(headers: CIMultiDictProxy[str], name: str) -> list[str]:
    """Return the items of a list (RFC 9110, 5.6.1), the last one first."""
    items = [item.strip() for value in _values(headers, name) for item in value.split(",")]
    return [item for item in reversed(items) if item]


def _item(items: list[str], index: int) -> str | None:
    return items[min(index, len(items) - 1)] if items else None


def _elements(value: str) -> list[dict[str, str]]:
    """Return the parameters of each element of a `Forwarded` header (RFC 7239, 4)."""
    elements: list[dict[str, str]] = []
    element: dict[str, str] = {}
    end, separator = 0, ","
    while separator:
        pair = _PAIR.match(value, end)
        if pair is None:
            raise malformed("a parameter")
        name, token, quoted, separator = pair.groups()
        if name is not None:
            if name.lower() in element:
                raise malformed("a repeated parameter")
            element[name.lower()] = _ESCAPED.sub(r"\1", quoted) if token is None else token
        if separator != ";" and element:
            elements.append(element)
            element = {}
        end = pair.end()
    return elements
