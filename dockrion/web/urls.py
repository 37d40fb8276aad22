"""Paths of this service: as its routes have them, and as callers find them below a prefix."""

from aiohttp import web
from msgspec import Struct

from dockrion.web.peers import FORWARDED, Forwarded


class Prefixes(Struct, frozen=True):
    """The prefix below which callers find the service.

    Attributes:
        root_path: `expose.root_path`.
        forwarded: Whether there are trusted proxies, which may name another one.
    """

    root_path: str
    forwarded: bool


PREFIXES = web.AppKey("prefixes", Prefixes)


def url_of(request: web.Request, path: str) -> str:
    """Return the URL at which the caller of a request finds a path of this service."""
    return prefix_of(request) + path


def absolute_url(request: web.Request, path: str) -> str:
    """Return the URL with scheme and host at which the caller of a request finds a path of this service."""
    scheme, host = request.scheme, request.host
    if request.app[PREFIXES].forwarded and (forwarded := request.get(FORWARDED)) is not None:
        scheme, host = forwarded.scheme or scheme, forwarded.host or host
    return f"{scheme}://{host}{url_of(request, path)}"


def run_url(request: web.Request, run_id: str) -> str:
    """Return the URL of a run."""
    return url_of(request, f"/runs/{run_id}")


def events_url(request: web.Request, run_id: str) -> str:
    """Return the URL of a run's events."""
    return url_of(request, events_path(run_id))


def events_path(run_id: str) -> str:
    """Return the path of a run's events in this service."""
    return f"/runs/{run_id}/events"


def prefix_of(request: web.Request) -> str:
    """Return the prefix below which the caller of a request finds this service, empty if there is none."""
    prefixes: Prefixes = request.app[PREFIXES]
    if prefixes.forwarded:  # looking up an absent key takes longer than all else here
        forwarded: Forwarded | None = request.get(FORWARDED)
        if forwarded is not None and forwarded.prefix is not None:
            return forwarded.prefix
    return prefixes.root_path


def path_without_root(request: web.Request) -> str:
    """Return the path of a request without `expose.root_path`, whether it begins with it or not."""
    root, path = request.app[PREFIXES].root_path, request.path
    return path[len(root) :] if path.startswith(f"{root}/") else path


def route_pattern(request: web.Request) -> str | None:
    """Return the pattern of the path that a request has matched, None if it has matched none."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical
